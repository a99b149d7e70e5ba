"""Adapters from `WorldModel` to stable-worldmodel, which they do not import.

`CostModel` is for its solvers, which call `get_cost(info, action_candidates)` (version 0.1.1 and later).
`FrameDynamics` is for the `ShootingCostEvaluator` of versions after 0.1.1, which combines a model with an objective.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

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
                f"the model takes states, and these solvers pass none [model.state_size={model.state_size}]; train "
                "one without, or plan with vidpred.planning.MPCController"
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


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of normalized pixels


class FrameDynamics(nn.Module):
    """A model as `Dynamics` (`encode`, `rollout`), whose embeddings are its frames, flattened.

    What that package does to observations and actions is undone: normalized pixels of any size become frames in [0, 1]
    of the size of the model's training, standardized actions those of the data.
    """

    def __init__(
        self,
        model: WorldModel,
        normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = IMAGENET,
        action_scale: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Store the model.

        Args:
            model: A model that takes no states; with `model.frame_size`, pixels are scaled to that short side.
            normalization: Mean and standard deviation of each channel of the pixels; None: they are in [0, 1] or uint8.
            action_scale: Mean and standard deviation, `(A,)`, of the actions before they were standardized; None: they
                are not.

        Raises:
            ConfigError: The model takes states.
        """
        super().__init__()
        self.costs = CostModel(model)  # checks the model
        self.model, self.generator, self.normalization = model, model.generator, normalization
        self.action_scale = action_scale

    def encode(self, info: dict[str, Any]) -> dict[str, Any]:
        """Add "emb" `(B, T, D)` for "pixels" `(B, T, C, H, W)`."""
        return {**info, "emb": self._frames(torch.as_tensor(info["pixels"])).flatten(2)}

    @torch.no_grad()
    def rollout(self, info: dict[str, Any], action_candidates: Tensor) -> dict[str, Any]:
        """Add "predicted_emb" `(B, S, H + K, D)`: the H context frames first, then the predicted ones.

        Args:
            info: "pixels" `(B, S, H, C, H, W)`, equal for all S; "action_history" `(B, S, H-1, A)` for H > 1.
            action_candidates: Plans `(B, S, K, A)`, clipped to the model's bounds.
        """
        context = self._frames(torch.as_tensor(info["pixels"])[:, 0])
        plans, past = self._actions(action_candidates), info.get("action_history")
        if self.model.bounds is not None:
            plans = self.model.bounds.clip(plans)
        moves = None if past is None or context.shape[1] == 1 else self._actions(torch.as_tensor(past)[:, 0])
        frames = self.model.rollout(context, plans, moves)
        shown = context[:, None].expand(-1, plans.shape[1], -1, -1, -1, -1)
        info["predicted_emb"] = torch.cat([shown.to(frames), frames], 2).flatten(3)
        return info

    def _frames(self, pixels: Tensor) -> Tensor:
        """Return frames `(B, T, C, h, w)` in [0, 1] of the model's size."""
        frames = to_float(pixels)
        if self.normalization is not None and pixels.is_floating_point():
            mean, std = (torch.tensor(values).to(frames)[:, None, None] for values in self.normalization)
            frames = (frames * std + mean).clamp(0, 1)  # rounding errors
        side, size = self.model.frame_size, frames.shape[-2:]
        if side is None or min(size) == side:
            return frames
        target = [round(length * side / min(size)) for length in size]
        scaled = functional.interpolate(frames.flatten(0, 1), target, mode="bilinear", antialias=True)
        return torch.unflatten(scaled, 0, frames.shape[:2]).clamp(0, 1)

    def _actions(self, actions: Tensor) -> Tensor:
        if self.action_scale is None:
            return actions
        mean, std = (values.to(actions) for values in self.action_scale)
        return actions * std + mean
