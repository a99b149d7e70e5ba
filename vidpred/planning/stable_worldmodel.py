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

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of normalized pixels
Normalization = tuple[tuple[float, ...], tuple[float, ...]]


class Inputs:
    """Undoes what that package does to observations and actions before a model receives them."""

    def __init__(
        self, model: WorldModel, normalization: Normalization | None, action_scale: tuple[Tensor, Tensor] | None
    ) -> None:
        """Store the model.

        Args:
            model: A model that takes no states; with `model.frame_size`, pixels are scaled to that size.
            normalization: Mean and standard deviation of each channel of float pixels; None: they are in [0, 1].
            action_scale: Mean and standard deviation, `(A,)`, of the actions before they were standardized; None: they
                are not.

        Raises:
            ConfigError: The model takes states, which these solvers do not pass on.
        """
        if model.state_size:
            raise ConfigError(
                f"the model takes states, and these solvers pass none [model.state_size={model.state_size}]; train "
                "one without, or plan with vidpred.planning.MPCController"
            )
        self.model, self.normalization, self.action_scale = model, normalization, action_scale

    def frames(self, pixels: Any) -> Tensor:
        """Return frames `(..., C, h, w)` in [0, 1] of the model's size, for pixels `(..., C, H, W)`.

        Channels may be last, as `World` has them, unless the policy has a transform.
        """
        pixels = torch.as_tensor(pixels)
        if pixels.shape[-1] == self.model.channels != pixels.shape[-3]:
            pixels = pixels.movedim(-1, -3)
        frames = to_float(pixels)
        if self.normalization is not None and pixels.is_floating_point():
            mean, std = (torch.tensor(values).to(frames)[:, None, None] for values in self.normalization)
            frames = (frames * std + mean).clamp(0, 1)  # rounding errors
        size = (frames.shape[-2], frames.shape[-1])
        target = self.model.frame_size or size
        if isinstance(target, int):
            target = (round(size[0] * target / min(size)), round(size[1] * target / min(size)))
        if target == size:
            return frames
        scaled = functional.interpolate(frames.flatten(0, -4), target, mode="bilinear", antialias=True)
        return torch.unflatten(scaled, 0, frames.shape[:-3]).clamp(0, 1)

    def plans(self, actions: Any) -> Tensor:
        """Return plans `(..., A)` in the data's units, clipped to the model's bounds, as these solvers do not clip."""
        found = self.past(actions)
        return found if self.model.bounds is None else self.model.bounds.clip(found)

    def past(self, actions: Any) -> Tensor:
        """Return actions `(..., A)` in the data's units, not clipped."""
        values = torch.as_tensor(actions)
        if self.action_scale is None:
            return values
        mean, std = (each.to(values) for each in self.action_scale)
        return values * std + mean


class CostModel:
    """The costs of a model's predictions in the interface of stable-worldmodel."""

    def __init__(
        self,
        model: WorldModel,
        cost: Cost | None = None,
        normalization: Normalization | None = None,
        action_scale: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Store the model and the cost.

        Args:
            model: See `Inputs`, which also raises the errors.
            cost: Cost of predicted frames, for all batch items; None: `GoalImage` of each item's info["goal"].
            normalization: See `Inputs`; `IMAGENET` for a policy whose transform normalizes.
            action_scale: See `Inputs`, for a policy that processes actions.
        """
        self.inputs, self.model, self.cost = Inputs(model, normalization, action_scale), model, cost

    def get_cost(self, info: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """Compute the costs `(B, S)` of S plans for each of B batch items.

        Args:
            info: "pixels", context frames `(B, S, T, C, H, W)`, equal for all S (solvers expand them);
                "action_history" `(B, S, T-1, A)` for T > 1; "goal" `(B, S, n, C, H, W)`, of which the last frame
                counts, if there is no cost. Frames as in `Inputs.frames`.
            action_candidates: Plans `(B, S, K, A)`.
        """
        frames, plans = self.inputs.frames(torch.as_tensor(info["pixels"])[:, 0]), self.inputs.plans(action_candidates)
        past = info.get("action_history")
        moves = None if past is None or frames.shape[1] == 1 else self.inputs.past(torch.as_tensor(past)[:, 0])
        if self.cost is not None:
            return self.model.costs(frames, plans, moves, self.cost)
        goals = self.inputs.frames(torch.as_tensor(info["goal"])[:, 0, -1])
        return self.model.costs(frames, plans, moves, [GoalImage(goal) for goal in goals])

    def criterion(self, info: dict[str, Any], action_candidates: Tensor) -> Tensor:
        """Return the costs `(B, S)` of `get_cost`, under the name that later versions call."""
        return self.get_cost(info, action_candidates)

    def parameters(self) -> Any:
        """Return the generator's parameters; solvers use the dtype of the first."""
        return self.model.generator.parameters()


class FrameDynamics(nn.Module):
    """A model as `Dynamics` (`encode`, `rollout`), whose embeddings are its frames, flattened.

    What that package does to observations and actions is undone: normalized pixels of any size become frames in [0, 1]
    of the size of the model's training, standardized actions those of the data.
    """

    def __init__(
        self,
        model: WorldModel,
        normalization: Normalization | None = IMAGENET,
        action_scale: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Store the model; see `Inputs` for the arguments and errors."""
        super().__init__()
        self.inputs, self.model, self.generator = Inputs(model, normalization, action_scale), model, model.generator

    def encode(self, info: dict[str, Any]) -> dict[str, Any]:
        """Return `info` with "emb" `(B, T, D)` for "pixels" `(B, T, C, H, W)`: D = C * h * w values of a frame."""
        return {**info, "emb": self.inputs.frames(info["pixels"]).flatten(2)}

    @torch.no_grad()
    def rollout(self, info: dict[str, Any], action_candidates: Tensor) -> dict[str, Any]:
        """Add "predicted_emb" `(B, S, T + K, D)` to `info` and return it: T context frames, then K predicted ones.

        D = C * h * w: an embedding is a frame of the model's size h x w, flattened.

        Args:
            info: "pixels" `(B, S, T, C, H, W)`, equal for all S; "action_history" `(B, S, T-1, A)` for T > 1.
            action_candidates: Plans `(B, S, K, A)`, clipped to the model's bounds.
        """
        context = self.inputs.frames(torch.as_tensor(info["pixels"])[:, 0])
        plans, past = self.inputs.plans(action_candidates), info.get("action_history")
        moves = None if past is None or context.shape[1] == 1 else self.inputs.past(torch.as_tensor(past)[:, 0])
        frames = self.model.rollout(context, plans, moves)
        shown = context[:, None].expand(-1, plans.shape[1], -1, -1, -1, -1)
        info["predicted_emb"] = torch.cat([shown.to(frames), frames], 2).flatten(3)
        return info
