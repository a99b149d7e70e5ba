"""What planning requires of a model, trained or a simulator, and the bounds of actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from vidpred.errors import warn
from vidpred.inference.predictor import Predictor
from vidpred.planning.inputs import Cost, FrameSize, checked_costs, evaluate_costs


@dataclass(frozen=True)
class Bounds:
    """Minimum and maximum of each action value, `(A,)` float32, and its names, if any. Raises ValueError for others."""

    low: Tensor
    high: Tensor
    names: tuple[str, ...] = ()

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

        if len(self.names) not in (0, len(low)):
            raise ValueError(f"{len(self.names)} names of {len(low)} action values: {', '.join(self.names)}")

    @classmethod
    def of(cls, low: object, high: object, names: Sequence[str] = ()) -> Self:
        """Convert arrays or lists of A lowest and A highest values to bounds, with optional names of the values."""
        ends = [torch.as_tensor(values, dtype=torch.float32) for values in (low, high)]
        return cls(ends[0], ends[1], tuple(names))

    def check(self, size: int, trained: Bounds | None) -> None:
        """Check that a model suits these bounds; warn where they exceed the range of its training by over a tenth.

        Args:
            size: Number of values in the model's actions.
            trained: Range and names of the actions that it was trained on; None: unknown.

        Raises:
            ValueError: The number or the names of the action values differ.
        """
        if len(self.low) != size:
            raise ValueError(f"the bounds are of {len(self.low)} action values, but the model takes {size}")
        if trained is None:
            return
        if self.names and trained.names and self.names != trained.names:
            raise ValueError(
                f"the model was trained on the actions {', '.join(trained.names)}, in this order, not "
                f"{', '.join(self.names)}"
            )
        slack = 0.1 * (trained.high - trained.low)
        beyond = ((self.low < trained.low - slack) | (self.high > trained.high + slack)).nonzero().flatten().tolist()
        names = trained.names or [f"value {place}" for place in range(size)]
        found = "; ".join(
            f"{names[place]}: [{float(self.low[place]):g}, {float(self.high[place]):g}], trained on "
            f"[{float(trained.low[place]):g}, {float(trained.high[place]):g}]"
            for place in beyond[:4]
        )
        if found:
            warn(f"the bounds exceed the actions of the model's training ({found})")

    def clip(self, actions: Tensor) -> Tensor:
        """Clip actions `(..., A)` to [low, high] of each value."""
        return torch.minimum(torch.maximum(actions, self.low.to(actions)), self.high.to(actions))

    def contain(self, actions: Tensor) -> bool:
        """Return whether all actions `(..., A)` are within bounds, up to rounding errors."""
        low, high = self.low.to(actions), self.high.to(actions)
        slack = 1e-5 * (high - low) + 1e-6 * torch.maximum(low.abs(), high.abs())  # the latter for low = high
        inside = (actions >= low - slack) & (actions <= high + slack)
        return bool(inside.all())


def trained_bounds(predictor: Predictor) -> Bounds | None:
    """Return the range and the names of the actions that a run was trained on; None if its checkpoint lacks them."""
    state = {} if predictor.checkpoint is None else predictor.checkpoint.state
    bounds = state.get("action_bounds")
    return Bounds.of(bounds[0], bounds[1], state.get("action_names") or ()) if bounds else None


NoiseSeed = int | Sequence[int] | None


@dataclass(frozen=True)
class Plans:
    """Plans to predict, with what they start from; see `PlanningModel.rollout`."""

    context: Tensor
    actions: Tensor
    past_actions: Tensor | None = None
    states: Tensor | None = None
    noise_seed: NoiseSeed = None
    differentiable: bool = False


class PlanningModel:
    """Base class of the models that planners use, trained ones and simulators; subclasses implement `predict`.

    Attributes:
        action_size: Number of values in an action.
        state_size: Number of values in a state; 0: it takes no states.
        noise_channels: Size of the noise that determines an outcome; 0: it takes no noise.
        frame_size: Height and width of the frames that it takes, or only their short side, in pixels; None: any.
        channels: Channels of the frames that it takes; None: any.
        trained_bounds: Range and names of the actions that it was trained on; None: unknown.
        bounds: Bounds of the actions that it takes; None: any.
        history_len: Number of context frames.
    """

    action_size: int
    state_size: int = 0
    noise_channels: int = 0
    frame_size: FrameSize = None
    channels: int | None = None
    trained_bounds: Bounds | None = None
    bounds: Bounds | None = None
    history_len: int

    def predict(self, plans: Plans) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the frames `(n, K, C, H, W)` of the next n plans, and their situations `(n,)`, in ascending order."""
        raise NotImplementedError

    def score(self, plans: Plans, cost: Cost | Sequence[Cost]) -> Tensor:
        """Return the costs `(B * S,)` of the plans of B situations, S each, situation after situation.

        Args:
            plans: The plans.
            cost: One cost for all situations, or one for each.
        """
        return torch.cat([evaluate_costs(cost, frames, owners) for frames, owners in self.predict(plans)])

    def rollout(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None = None,
        differentiable: bool = False,
        *,
        states: Tensor | None = None,
        noise_seed: NoiseSeed = None,
    ) -> Tensor:
        """Predict the frames of plans.

        Args:
            context: Context frames `(B, T, C, H, W)`, the newest last; T >= history_len.
            actions: S plans of K steps for each context, `(B, S, K, A)`; step 0 leads from the last context frame to
                the first future frame.
            past_actions: `(B, T-1, A)`, between the context frames; not needed for T = 1.
            differentiable: Whether to keep the graph from the frames back to the actions, if the model supports it.
            states: States of the context frames, `(B, T, state_size)`, for a model that takes states.
            noise_seed: Seed of the outcome, for a model that takes noise, or one for each context; None: drawn from
                torch's random stream.

        Returns:
            `(B, S, K, C, H, W)` float32 in [0, 1].

        Raises:
            ValueError: A shape does not match, or values are not finite or out of bounds.
        """
        plans = Plans(context, actions, past_actions, states, noise_seed, differentiable)
        return torch.unflatten(torch.cat([frames for frames, _ in self.predict(plans)]), 0, actions.shape[:2])

    def costs(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None,
        cost: Cost | Sequence[Cost],
        differentiable: bool = False,
        *,
        states: Tensor | None = None,
        noise_seed: NoiseSeed = None,
    ) -> Tensor:
        """Compute the costs `(B, S)` of plans, on their device, with the frames of only one chunk in memory.

        Args:
            context: See `rollout`.
            actions: See `rollout`.
            past_actions: See `rollout`.
            cost: Maps the frames `(N, K, C, H, W)` of N plans to costs `(N,)`, or `(N, K)`, which are summed over K. A
                sequence of B costs has one for each situation.
            differentiable: See `rollout`.
            states: See `rollout`.
            noise_seed: See `rollout`.

        Raises:
            ValueError: See `rollout`; or a cost returns another shape, or values that are not finite.
        """
        checked_costs(cost, len(context))
        plans = Plans(context, actions, past_actions, states, noise_seed, differentiable)
        return torch.unflatten(self.score(plans, cost), 0, actions.shape[:2]).to(actions.device)
