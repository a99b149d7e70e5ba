"""Models that learnt nothing, to compare a learned one with: true simulators, and a world that never moves."""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.planning.world_model import Cost, summed


class SimulatorModel:
    """Base of these models: neither past actions nor states change what they imagine, and nothing is differentiable.

    Implements vidpred.planning.world_model.Imagines.
    """

    state_size = 0

    def imagined(self, context: Tensor, actions: Tensor) -> Tensor:
        """`(B, S, K, C, H, W)`: what every plan `(B, S, K, A)` leads to."""
        raise NotImplementedError

    def costs_of(self, context: Tensor, actions: Tensor, cost: Cost) -> Tensor:
        """`(B * S,)`: the cost of every plan."""
        return summed(cost(self.imagined(context, actions).flatten(0, 1)))

    def rollout(
        self, context: Tensor, actions: Tensor, past_actions: Tensor | None = None, *, states: Tensor | None = None
    ) -> Tensor:
        return self.imagined(context, actions)

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
    """Copy-last as a model: whatever is done, the last frame stays. Who trusts it cannot tell plans apart."""

    def __init__(self, size: int, history_len: int = 1) -> None:
        self.action_size, self.history_len = size, history_len

    def imagined(self, context: Tensor, actions: Tensor) -> Tensor:
        return context[:, None, -1:].expand(-1, *actions.shape[1:3], -1, -1, -1)
