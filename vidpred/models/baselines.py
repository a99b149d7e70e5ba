"""Baselines without learned parameters, with the interface of a generator."""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.data.batch import to_float
from vidpred.models.base import Generator
from vidpred.models.optical_flow import Care, dense_flow, warp_backward


class CopyLast(Generator):
    """Baseline that repeats the last context frame."""

    def __init__(self, context_frames: int = 1) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead = context_frames, 1, 1

    def forward(self, context: Tensor) -> list[Tensor]:
        """Predict from `(B, T, C, H, W)` in [0, 1]; returns a list of one, `(B, 1, C, H, W)` in [0, 1]."""
        return [to_float(context[:, -1:])]


class FlowExtrapolation(Generator):
    """Baseline of constant velocity: frame_t+1(x) = frame_t(x + flow_t->t-1(x)), with the flow of `dense_flow`.

    The flow is read where a pixel arrives, not where it starts, which is the same wherever the motion is smooth.
    Background uncovered by a moving object is therefore not filled in.
    """

    def __init__(self, care: Care = "medium") -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead = 2, 1, 1
        self.care: Care = care

    def forward(self, context: Tensor) -> list[Tensor]:
        """Predict from `(B, T, C, H, W)` in [0, 1].

        Args:
            context: C = 1 or 3, or 3n for n cameras, each with its own flow; T >= 2; only the last two frames are used.

        Returns:
            A list of one, `(B, 1, C, H, W)` in [0, 1].
        """
        shape, channels = context[:, -1:].shape, min(3, context.shape[2])
        earlier, last = (to_float(context[:, t]).reshape(-1, channels, *shape[-2:]) for t in (-2, -1))
        return [warp_backward(last, dense_flow(last, earlier, self.care)).reshape(shape)]


class HalfAndHalf(Generator):
    """Mean of the two other baselines, hard to beat far ahead: squared error favors the mean of the possible futures.

    Each baseline recurses separately: step k is the mean of the last context frame and the k-th frame of the flow's own
    rollout, not a flow of means. That is why all frames are predicted at once.
    """

    def __init__(self, pred_frames: int = 1) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead = 2, pred_frames, 1
        self.flow = FlowExtrapolation()

    def forward(self, context: Tensor) -> list[Tensor]:
        """Predict from `(B, T, C, H, W)` in [0, 1].

        Args:
            context: C = 1 or 3, T >= 2.

        Returns:
            A list of one, `(B, pred_frames, C, H, W)` in [0, 1].
        """
        last = to_float(context[:, -1:])
        recent, images = to_float(context[:, -2:]), []
        for _ in range(self.pred_frames):
            (moved,) = self.flow(recent)
            images.append((last + moved) / 2)
            recent = torch.cat([recent[:, -1:], moved], 1)
        return [torch.cat(images, 1)]


BASELINES: dict[str, type[CopyLast] | type[FlowExtrapolation] | type[HalfAndHalf]] = {
    "copy last": CopyLast,
    "optical flow": FlowExtrapolation,
    "copy/flow average": HalfAndHalf,
}


def build_baselines(num_frames: int) -> dict[str, Generator]:
    """Build one of each baseline, for rollouts of `num_frames` frames."""
    return {name: kind(pred_frames=num_frames) if kind is HalfAndHalf else kind() for name, kind in BASELINES.items()}
