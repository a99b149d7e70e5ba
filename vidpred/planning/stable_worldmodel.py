"""Lets stable-worldmodel's solvers drive a `WorldModel`: its CEMSolver asks `get_cost(info, action_candidates)`.

Written for 0.1.1 of that package, which is not needed to import this.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vidpred.errors import ConfigError
from vidpred.planning.costs import GoalImage
from vidpred.planning.world_model import Cost, WorldModel


class CostModel:
    """cost: of predicted frames, for all situations; None: `GoalImage` of each situation's info["goal"]."""

    def __init__(self, model: WorldModel, cost: Cost | None = None) -> None:
        """Raises ConfigError for a model that takes states: solvers hand on none that it could read."""
        if model.state_size:
            raise ConfigError(
                f"the model takes states [model.state_size={model.state_size}], and these solvers give it none; train "
                "one with model.state_size=0, or plan with vidpred.planning.MPCController"
            )
        self.model, self.cost = model, cost

    def get_cost(self, info: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """`(B, S)`: what each of S plans costs in each of B situations.

        info: "pixels" `(B, S, T, C, H, W)`, known frames, the same for all S (solvers expand them); "action_history"
        `(B, S, T-1, A)` where T > 1; "goal" `(B, S, n, C, H, W)`, its last frame, where no cost is given. Frames are
        uint8 or float in [0, 1]. action_candidates: `(B, S, K, A)`; where the model has bounds, those outside cost what
        the nearest inside do, for these solvers do not clip.
        """
        if self.model.bounds is not None:
            action_candidates = self.model.bounds.clip(action_candidates)
        pixels = torch.as_tensor(info["pixels"])[:, 0]
        past = info.get("action_history")
        moves = None if past is None or pixels.shape[1] == 1 else torch.as_tensor(past)[:, 0]
        if self.cost is not None:
            return self.model.costs(pixels, action_candidates, moves, self.cost)
        found = []
        for row in range(len(pixels)):
            goal = torch.as_tensor(info["goal"])[row, 0, -1]
            goal = goal.float() / 255 if goal.dtype == torch.uint8 else goal
            past_row = None if moves is None else moves[row : row + 1]
            one = slice(row, row + 1)
            found.append(self.model.costs(pixels[one], action_candidates[one], past_row, GoalImage(goal)))
        return torch.cat(found)

    def criterion(self, info: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """The same under the name that later versions ask for."""
        return self.get_cost(info, action_candidates)

    def parameters(self) -> Any:
        """Solvers look at the first one's dtype."""
        return self.model.generator.parameters()
