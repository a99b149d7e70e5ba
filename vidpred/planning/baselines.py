"""Models without training, to compare a trained one with: true simulators and copy-last."""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.planning.world_model import Cost, summed


class SimulatorModel:
    """Base class of models that ignore past actions and states and are not differentiable.

    Implements `vidpred.planning.world_model.PlanningModel`.
    """

    state_size = 0

    def simulate(self, context: Tensor, actions: Tensor) -> Tensor:
        """Return the frames `(B, S, K, C, H, W)` of plans `(B, S, K, A)`."""
        raise NotImplementedError

    def costs_of(self, context: Tensor, actions: Tensor, cost: Cost) -> Tensor:
        """Return the costs `(B * S,)` of plans `(B, S, K, A)`."""
        return summed(cost(self.simulate(context, actions).flatten(0, 1)))

    def rollout(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None, *, states: Tensor | None = None
    ) -> Tensor:
        return self.simulate(context, actions)

    def costs(
        self,
        context: Tensor,
        actions: Tensor,
        past_actions: Tensor | None,
        cost: Cost,
        differentiable: bool = False,
        *,
        states: Tensor | None = None,
    ) -> Tensor:
        return torch.unflatten(self.costs_of(context, actions, cost), 0, actions.shape[:2])


class CopyLastModel(SimulatorModel):
    """A model that repeats the last frame for any action, so that all plans cost the same."""

    def __init__(self, size: int, history_len: int = 1) -> None:
        self.action_size, self.history_len = size, history_len

    def simulate(self, context: Tensor, actions: Tensor) -> Tensor:
        return context[:, None, -1:].expand(-1, *actions.shape[1:3], -1, -1, -1)
