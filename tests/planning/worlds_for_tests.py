"""Small exact models for tests of planning."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidpred.models.dynamics import StateDynamics
from vidpred.planning.planning_model import Bounds

UNIT = Bounds.of([-1.0, -1.0], [1.0, 1.0])


class Brighten(nn.Module):
    """A generator whose actions brighten red and green; it checks that actions and frames match."""

    def __init__(self, context_frames: int = 1) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = context_frames, 1, 1, 3
        self.action_size = 2
        self.largest_batch = 0
        self.place = nn.Parameter(torch.zeros(1))

    def forward(self, context: Tensor, actions: Tensor) -> list[Tensor]:
        self.largest_batch = max(self.largest_batch, len(context))
        change = torch.cat([actions, torch.zeros_like(actions[..., :1])], -1)[..., None, None]
        assert torch.allclose(context.diff(dim=1), change[:, :-1].expand_as(context[:, 1:]), atol=1e-5), "out of line"
        return [context[:, -1:] + change[:, -1:]]


class Stateful(Brighten):
    """A Brighten that adds the first value of the newest state to blue; it checks that states and actions match.

    States grow by the action, (x, y)' = (x, y) + action.
    """

    def __init__(self, context_frames: int = 1) -> None:
        super().__init__(context_frames)
        self.state_size = 2
        self.state_dynamics = StateDynamics(2, 2)
        self.state_dynamics.change[2:4] = torch.eye(2)

    def forward(self, context: Tensor, actions: Tensor, states: Tensor) -> list[Tensor]:  # type: ignore[override]
        self.largest_batch = max(self.largest_batch, len(context))
        assert torch.allclose(states.diff(dim=1), actions[:, : states.shape[1] - 1], atol=1e-5), "out of line"
        grown = context[:, -1:].clone()
        grown[:, :, 2] += states[:, -1:, :1, None]
        return [grown]


def brightened(start: Tensor, moves: Tensor) -> Tensor:
    """Return the frames `(..., n, 3, h, w)` after each of the moves `(..., n, 2)`, from a frame `(3, h, w)`."""
    total = torch.cat([moves, torch.zeros_like(moves[..., :1])], -1).cumsum(-2)
    return start + total[..., None, None]
