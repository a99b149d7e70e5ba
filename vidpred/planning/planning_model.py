"""What planning requires of a model, trained or a simulator, and the bounds of actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from vidpred.planning.inputs import Cost


@dataclass(frozen=True)
class Bounds:
    """Minimum and maximum of each action value, `(A,)` float32. Raises ValueError for others."""

    low: Tensor
    high: Tensor

    def __post_init__(self) -> None:
        low, high = self.low, self.high
        if low.dim() != 1 or low.shape != high.shape or not len(low):
            raise ValueError(
                f"bounds must be two vectors (A,), one value for each action value, not {tuple(low.shape)} and "
                f"{tuple(high.shape)}"
            )
        if not bool(low.isfinite().all() and high.isfinite().all()):
            raise ValueError(
                f"bounds must be finite, not {low.tolist()} to {high.tolist()}; choose limits to plan within"
            )
        if bool((low > high).any()):
            raise ValueError(f"the lower bounds {low.tolist()} must not exceed the upper ones {high.tolist()}")

    @classmethod
    def of(cls, low: object, high: object) -> Self:
        """Convert arrays or lists to bounds."""
        return cls(torch.as_tensor(low, dtype=torch.float32), torch.as_tensor(high, dtype=torch.float32))

    def clip(self, actions: Tensor) -> Tensor:
        """Clip actions `(..., A)`."""
        return torch.minimum(torch.maximum(actions, self.low.to(actions)), self.high.to(actions))

    def contain(self, actions: Tensor) -> bool:
        """Return whether all actions are within bounds, up to rounding errors."""
        slack = 1e-5 * (self.high - self.low).to(actions)
        inside = (actions >= self.low.to(actions) - slack) & (actions <= self.high.to(actions) + slack)
        return bool(inside.all())


class PlanningModel(Protocol):
    """The model that planning requires, trained or a simulator.

    Attributes:
        action_size: Number of values in an action.
        state_size: Number of values in a state; 0: it takes no states.
        noise_channels: Size of the noise that determines an outcome; 0: it takes no noise.
        frame_size: Short side of the frames that it takes, in pixels; None: any.
        history_len: Number of context frames.
    """

    action_size: int
    state_size: int
    noise_channels: int
    frame_size: int | None
    history_len: int

    def costs(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None,
        cost: Cost | Sequence[Cost],
        differentiable: bool = False,
        *,
        states: Tensor | None = None,
        noise_seed: int | None = None,
    ) -> Tensor:
        """Return the costs `(B, S)` of plans `(B, S, K, A)`, with their graph if `differentiable` and supported."""

    def rollout(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None = None,
        *,
        states: Tensor | None = None,
        noise_seed: int | None = None,
    ) -> Tensor:
        """Return the frames `(B, S, K, C, H, W)` of plans `(B, S, K, A)`."""
