"""Base class of recurrent predictors: one step per frame, and which inputs of a training step are true frames."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as functional
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor

from vidpred.bounds import MOST_LAYERS
from vidpred.data.settings import DataSettings
from vidpred.models.conditioned import ConditionedPredictor
from vidpred.models.pyramid import clamp_straight_through, crop, pad_to_multiple
from vidpred.models.settings import ModelSettings


class RecurrentSettings(ModelSettings):
    """Base class of the recurrent predictors' settings."""

    hidden: list[int] = Field(
        [128, 128, 128, 128],
        min_length=1,
        max_length=16,
        description="Hidden channels of each recurrent layer; the list's length is the number of layers.",
    )
    kernel: int = Field(
        5, ge=1, le=MOST_LAYERS, description="Side of the recurrent layers' convolution kernels, in cells; odd."
    )
    cell_size: int = Field(
        4,
        ge=1,
        le=32,
        description="Side in pixels of a cell, whose pixels become channels: the network computes at that many times "
        "fewer cells than pixels per side.",
    )
    context_weight: float = Field(
        1.0,
        ge=0,
        description="Weight, relative to future frames, of the squared error of context frames, each predicted from "
        "those before it.",
    )

    @model_validator(mode="after")
    def _odd_kernel(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel: kernels must be odd to keep the image's size, not {self.kernel}")
        return self


class Rates(NamedTuple):
    """Chances of a true frame, not the predicted one, as the input of a step."""

    context: float
    future: float


class RecurrentPredictor(ConditionedPredictor):
    """Predictor that takes one frame per step and predicts the next.

    The future frames follow from its own predictions. With a lead above 1, the frames in between are predicted too.
    Subclasses define `begin` and `step`, and set `rates` in `grow`.
    """

    takes_target = True
    min_context_frames = 1
    rates = Rates(1.0, 0.0)

    def __init__(self, settings: RecurrentSettings, data: DataSettings) -> None:
        super().__init__(settings, data.context_frames, data.pred_frames, data.lead, data.channels)
        self.cell_size, self.context_weight = settings.cell_size, settings.context_weight
        self.cell_channels = data.channels * settings.cell_size**2

    def begin(self, frame: Tensor) -> Any:
        """Return the state before the first step, for the shape of a frame as cells, `(B, C', h, w)`."""
        raise NotImplementedError

    def step(self, frame: Tensor, state: Any, action: Tensor | None) -> tuple[Tensor, Any]:
        """Predict the next frame.

        Args:
            frame: A frame as cells, `(B, C', h, w)`.
            state: What the previous step returned.
            action: `(B, action_size)`, normalized, from this frame to the next.

        Returns:
            The next frame as cells, `(B, C', h, w)`, and the state.
        """
        raise NotImplementedError

    def forward(
        self, context: Tensor, actions: Tensor | None = None, target: Tensor | None = None
    ) -> list[Tensor]:  # fmt: skip
        """Predict future frames.

        Args:
            context: `(B, T, C, H, W)` in [0, 1]; fewer frames than `context_frames` if there are no actions.
            actions: `(B, N-1, action_size)` in the data's units, for N frames from the first context to the last future
                one.
            target: `(B, K, C, H, W)`, the true future frames, in training.

        Returns:
            A list of one, `(B, K, C, H, W)` in [0, 1].

        Raises:
            ValueError: The actions have another shape, or the model takes none.
        """
        found = self.conditions(context, None, actions, None).get("actions")
        moves = None if found is None else found.unflatten(1, (self.moves, -1))
        frames = self.cells(context if target is None else torch.cat([context, target], 1))
        given, future = context.shape[1], self.lead - 1 + self.pred_frames
        true = None if target is None else self.true_inputs(frames, given, future)
        state, predictions = self.begin(frames[:, 0]), list[Tensor]()
        for number in range(given + future - 1):
            source = self.source_index(number, given, frames.shape[1])
            frame = predictions[-1] if source is None else frames[:, source]
            if true is not None and source:
                frame = torch.where(true[:, number, None, None, None], frame, predictions[-1])
            cells, state = self.step(frame, state, None if moves is None else moves[:, number])
            predictions.append(clamp_straight_through(cells.float()))
        images = self.images(torch.stack(predictions, 1), context.shape[-2:])
        self.extra_losses = self.losses(images[:, : given - 1], context[:, 1:], state) if target is not None else {}
        return [images[:, -self.pred_frames :]]

    def losses(self, predicted: Tensor, context: Tensor, state: Any) -> dict[str, Tensor]:
        """Return the weighted losses of a training step in addition to those of the future frames.

        Args:
            predicted: Predictions `(B, T-1, C, H, W)` of the context frames after the first.
            context: These context frames.
            state: The state after the last step.
        """
        return context_losses(self.context_weight, predicted, context, self.pred_frames)

    def source_index(self, number: int, given: int, count: int) -> int | None:
        """Return the place of frame `number` among the frames of a training sample; None: it is not among them.

        Args:
            number: Frame, from 0, in the consecutive sequence of context and future.
            given: Number of context frames.
            count: Number of context and target frames; with a lead above 1 the target begins lead - 1 frames later.
        """
        if number < given:
            return number
        index = number - self.lead + 1
        return index if given <= index < count else None

    def true_inputs(self, frames: Tensor, given: int, future: int) -> Tensor:
        """Draw by `rates` which inputs of a training step are true frames, `(B, given + future - 1)` bool.

        Args:
            frames: Of these, batch size and device count.
            given: Number of context frames.
            future: Number of steps after them.
        """
        chances = frames.new_tensor([self.rates.context] * given + [self.rates.future] * (future - 1))
        return torch.rand(len(frames), len(chances), device=frames.device) < chances

    def cells(self, frames: Tensor) -> Tensor:
        """Rearrange frames `(B, T, C, H, W)`, padded to whole cells, to `(B, T, C', h, w)`, C' = C * cell_size^2."""
        return functional.pixel_unshuffle(pad_to_multiple(frames, self.cell_size), self.cell_size)

    def images(self, cells: Tensor, size: torch.Size) -> Tensor:
        """Rearrange cells `(B, T, C', h, w)` to frames `(B, T, C, H, W)`, cropped to size = (H, W)."""
        flat = functional.pixel_shuffle(rearrange(cells, "b t c h w -> (b t) c h w"), self.cell_size)
        return torch.unflatten(crop(flat, size[0], size[1]), 0, (cells.shape[0], -1))


def context_losses(weight: float, predicted: Tensor, context: Tensor, pred_frames: int) -> dict[str, Tensor]:
    """Return the weighted squared error of context frames in [-1, 1] as "context", a scalar; none without weight.

    Args:
        weight: Weight relative to future frames.
        predicted: Predictions `(B, T-1, C, H, W)` of the context frames after the first, in [0, 1].
        context: These context frames. Where they have a graph, they are predictions themselves (`data.unroll`), whose
            errors count as those of future frames: the loss is 0.
        pred_frames: Number of future frames that the objective averages over.
    """
    if not weight or not predicted.shape[1]:
        return {}
    if context.requires_grad:
        return {"context": context.new_zeros(())}
    share = predicted.shape[1] / pred_frames  # all frames count alike, as in a mean over both
    return {"context": weight * share * functional.mse_loss(predicted * 2 - 1, context * 2 - 1)}
