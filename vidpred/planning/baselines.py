"""Models without training, to compare a trained one with: true simulators and copy-last."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vidpred.planning.inputs import Cost, checked_costs, evaluate_costs


class SimulatorModel:
    """Base class of models that ignore past actions and states and are not differentiable.

    Implements `vidpred.planning.planning_model.PlanningModel`.
    """

    state_size = noise_channels = 0
    frame_size: int | None = None

    def simulate(self, context: Tensor, actions: Tensor) -> Tensor:
        """Return the frames `(B, S, K, C, H, W)` of plans `(B, S, K, A)`."""
        raise NotImplementedError

    def costs_of(self, context: Tensor, actions: Tensor, cost: Cost | Sequence[Cost]) -> Tensor:
        """Return the costs `(B * S,)` of plans `(B, S, K, A)`."""
        checked_costs(cost, len(actions))
        owners = torch.arange(len(actions)).repeat_interleave(actions.shape[1])
        return evaluate_costs(cost, self.simulate(context, actions).flatten(0, 1), owners)

    def rollout(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None = None,
        *,
        states: Tensor | None = None,
        noise_seed: int | None = None,
    ) -> Tensor:
        return self.simulate(context, actions)

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
        return torch.unflatten(self.costs_of(context, actions, cost), 0, actions.shape[:2])


class CopyLastModel(SimulatorModel):
    """A model that repeats the last frame for any action, so that all plans cost the same."""

    def __init__(self, size: int, history_len: int = 1) -> None:
        self.action_size, self.history_len = size, history_len

    def simulate(self, context: Tensor, actions: Tensor) -> Tensor:
        return context[:, None, -1:].expand(-1, *actions.shape[1:3], -1, -1, -1)
