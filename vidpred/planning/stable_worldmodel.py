"""Adapter from `WorldModel` to the solvers of stable-worldmodel, which call `get_cost(info, action_candidates)`.

It is written for version 0.1.1 of that package, and does not import it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vidpred.data.batch import to_float
from vidpred.errors import ConfigError
from vidpred.planning.costs import GoalImage
from vidpred.planning.inputs import Cost
from vidpred.planning.world_model import WorldModel


class CostModel:
    """The costs of a model's predictions in the interface of stable-worldmodel."""

    def __init__(self, model: WorldModel, cost: Cost | None = None) -> None:
        """Store the model and the cost.

        Args:
            model: A model that takes no states.
            cost: Cost of predicted frames, for all batch items; None: `GoalImage` of each item's info["goal"].

        Raises:
            ConfigError: The model takes states, which these solvers do not pass on.
        """
        if model.state_size:
            raise ConfigError(
                f"the model takes states [model.state_size={model.state_size}], and these solvers pass none; train "
                "one with model.state_size=0, or plan with vidpred.planning.MPCController"
            )
        self.model, self.cost = model, cost

    def get_cost(self, info: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """Compute the costs `(B, S)` of S plans for each of B batch items.

        Args:
            info: "pixels", context frames `(B, S, T, C, H, W)`, equal for all S (solvers expand them);
                "action_history" `(B, S, T-1, A)` for T > 1; "goal" `(B, S, n, C, H, W)`, of which the last frame
                counts, if there is no cost. Frames are uint8 or float in [0, 1].
            action_candidates: Plans `(B, S, K, A)`, clipped to the model's bounds because these solvers do not clip.
        """
        if self.model.bounds is not None:
            action_candidates = self.model.bounds.clip(action_candidates)
        pixels = torch.as_tensor(info["pixels"])[:, 0]
        past = info.get("action_history")
        moves = None if past is None or pixels.shape[1] == 1 else torch.as_tensor(past)[:, 0]
        if self.cost is not None:
            return self.model.costs(pixels, action_candidates, moves, self.cost)
        goals = to_float(torch.as_tensor(info["goal"])[:, 0, -1])
        return self.model.costs(pixels, action_candidates, moves, [GoalImage(goal) for goal in goals])

    def criterion(self, info: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """Compute `get_cost`, under the name that later versions call."""
        return self.get_cost(info, action_candidates)

    def parameters(self) -> Any:
        """Return the generator's parameters; solvers use the dtype of the first."""
        return self.model.generator.parameters()
