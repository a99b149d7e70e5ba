"""How states go on where frames are predicted and nothing measures them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from vidpred.models.normalizer import Normalizer

REACH = 5.0  # deviations from the mean within which predicted states stay, at least


class StateDynamics(nn.Module):
    """The linear map (state, action, 1) -> next state, by least squares over the training data. Finn, Goodfellow &
    Levine 2016 ("Unsupervised learning for physical interaction through video prediction") learn such a map for the
    same purpose.

    In units of the data's deviation, x for states and a for actions: x' = x + (x, a, 1) W. Of the W that fit as well
    the smallest is taken, so what never changes stays. No x' lies further from the mean than the training data does, or
    `REACH`, or x itself: long rollouts cannot explode. Everything is a buffer, so checkpoints hold it. Until `fit`,
    states stay as they are.
    """

    change: Tensor  # W, (S + A + 1, S)
    reach: Tensor  # (S,)

    def __init__(self, state_size: int, action_size: int = 0) -> None:
        super().__init__()
        self.state_size, self.action_size = state_size, action_size
        self.states = Normalizer(state_size)
        self.actions = Normalizer(action_size) if action_size else None
        self.register_buffer("change", torch.zeros(state_size + action_size + 1, state_size))
        self.register_buffer("reach", torch.full((state_size,), REACH))

    def fit(self, sequences: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> None:
        """Fit W to (states `(n, S)`, actions `(n - 1, A)`, row i of which leads from state i to the next), once the
        scales are fitted. Actions are left out where the model takes none."""
        width = self.change.shape[0]
        squares = torch.zeros(width, width, dtype=torch.float64)
        products = torch.zeros(width, self.state_size, dtype=torch.float64)
        reach = self.reach.cpu()
        for rows, moves in sequences:
            states = self.states(torch.from_numpy(rows.astype(np.float64)))
            parts = [states[:-1], torch.ones(len(states) - 1, 1, dtype=torch.float64)]
            if self.actions is not None:
                assert moves is not None
                parts.insert(1, self.actions(torch.from_numpy(moves.astype(np.float64))))
            given = torch.cat(parts, 1)
            squares += given.T @ given
            products += given.T @ states.diff(dim=0)
            reach = torch.maximum(reach, states.abs().amax(0).float())
        # Values that are functions of others (one-hot actions, joints that never move) make the squares singular.
        self.change.copy_(torch.linalg.pinv(squares, rtol=1e-10, hermitian=True) @ products)
        self.reach.copy_(reach)

    def forward(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        """The states after these, `(B, S)` and `(B, A)` -> `(B, S)`, all in the data's units."""
        with torch.autocast(states.device.type, enabled=False):  # in bfloat16 roundings would add up over the steps
            scaled = self.states(states.float())
            parts = [scaled, torch.ones_like(scaled[:, :1])]
            if self.actions is not None:
                assert actions is not None
                parts.insert(1, self.actions(actions.float()))
            coming = scaled + torch.cat(parts, 1) @ self.change
            limit = torch.maximum(self.reach, scaled.abs())
            return self.states.undo(torch.maximum(torch.minimum(coming, limit), -limit))
