"""Models without training, to compare a trained one with: true simulators and copy-last."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vidpred.planning.planning_model import PlanningModel, Plans


class SimulatorModel(PlanningModel):
    """Base class of models that ignore past actions and states and are not differentiable."""

    def simulate(self, context: Tensor, actions: Tensor) -> Tensor:
        """Return the frames `(B, S, K, C, H, W)` of plans `(B, S, K, A)`."""
        raise NotImplementedError

    def predict(self, plans: Plans) -> Iterator[tuple[Tensor, Tensor]]:
        owners = torch.arange(len(plans.actions)).repeat_interleave(plans.actions.shape[1])
        yield self.simulate(plans.context, plans.actions).flatten(0, 1), owners


class CopyLastModel(SimulatorModel):
    """A model that repeats the last frame for any action, so that all plans cost the same."""

    def __init__(self, size: int, history_len: int = 1) -> None:
        self.action_size, self.history_len = size, history_len

    def simulate(self, context: Tensor, actions: Tensor) -> Tensor:
        return context[:, None, -1:].expand(-1, *actions.shape[1:3], -1, -1, -1)
