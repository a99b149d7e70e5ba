"""Linear model of the states of predicted frames."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from vidpred.models.normalizer import Normalizer

REACH = 5.0  # standard deviations from the mean within which predicted states always may lie


class StateDynamics(nn.Module):
    """Linear map (state, action, 1) -> next state, by least squares over the training data.

    Finn, Goodfellow & Levine 2016 ("Unsupervised learning for physical interaction through video prediction") learn
    such a map for the same purpose. With normalized states x and actions a: x' = x + (x, a, 1) W. Among equally good W
    the smallest is chosen, so constant values stay constant. x' lies no further from the mean than the training data,
    `REACH` or x: long rollouts cannot explode. All parameters are buffers, so checkpoints hold them. Before `fit`,
    states stay unchanged.
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
        """Fit W to sequences, after the normalizers have been fitted.

        Args:
            sequences: Pairs of states `(n, S)` and actions `(n - 1, A)`; action i leads from state i to state i + 1.
                Actions are ignored where the model takes none.
        """
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
            inputs = torch.cat(parts, 1)
            squares += inputs.T @ inputs
            products += inputs.T @ states.diff(dim=0)
            reach = torch.maximum(reach, states.abs().amax(0).float())
        # Linearly dependent values (one-hot actions, joints that never move) make the squares singular.
        self.change.copy_(torch.linalg.pinv(squares, rtol=1e-10, hermitian=True) @ products)
        self.reach.copy_(reach)

    def forward(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        """Return the next states `(B, S)` for states `(B, S)` and actions `(B, A)`, all in the data's units."""
        with torch.autocast(states.device.type, enabled=False):  # in bfloat16 rounding errors would add up
            scaled = self.states(states.float())
            parts = [scaled, torch.ones_like(scaled[:, :1])]
            if self.actions is not None:
                assert actions is not None
                parts.insert(1, self.actions(actions.float()))
            following = scaled + torch.cat(parts, 1) @ self.change
            limit = torch.maximum(self.reach, scaled.abs())
            return self.states.undo(torch.maximum(torch.minimum(following, limit), -limit))
