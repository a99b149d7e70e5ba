"""Predictors that learn nothing, under the interface of a trained generator: what a model has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.data.batch import to_float
from vidpred.models.base import Generator
from vidpred.models.optical_flow import Care, dense_flow, warp_backward


class CopyLast(Generator):
    """Nothing moves: the next frame is the last known one."""

    def __init__(self, context_frames: int = 1) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead = context_frames, 1, 1

    def forward(self, context: Tensor) -> list[Tensor]:
        """`(B, T, C, H, W)` in [0, 1] -> a list of one prediction, `(B, 1, C, H, W)` in [0, 1]."""
        return [to_float(context[:, -1:])]


class FlowExtrapolation(Generator):
    """Everything keeps its velocity: frame_t+1(x) = frame_t(x + flow_t->t-1(x)), the flow by `dense_flow`, with `care`.

    The flow is read where a pixel arrives and not where it leaves from, which is the same wherever the motion is
    smooth. The background that a moving thing uncovers is therefore not painted in.
    """

    def __init__(self, care: Care = "medium") -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead = 2, 1, 1
        self.care: Care = care

    def forward(self, context: Tensor) -> list[Tensor]:
        """`(B, T, C, H, W)` in [0, 1], C = 1 or 3, T >= 2 (the last two count) -> a list of one, `(B, 1, C, H, W)`."""
        earlier, last = to_float(context[:, -2]), to_float(context[:, -1])
        return [warp_backward(last, dense_flow(last, earlier, self.care))[:, None]]


class HalfAndHalf(Generator):
    """The mean of the two above: hard to beat far ahead, where squared error asks for the mean of what may come.

    Each of them recurses by itself: at step k it is the mean of the last known frame and of the k-th frame of the
    flow's own rollout, not a flow of means. That is why its frames come all at once.
    """

    def __init__(self, pred_frames: int = 1) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead = 2, pred_frames, 1
        self.flow = FlowExtrapolation()

    def forward(self, context: Tensor) -> list[Tensor]:
        """`(B, T, C, H, W)` in [0, 1], C = 1 or 3, T >= 2 -> a list of one, `(B, pred_frames, C, H, W)` in [0, 1]."""
        last = to_float(context[:, -1:])
        known, images = to_float(context[:, -2:]), []
        for _ in range(self.pred_frames):
            (moved,) = self.flow(known)
            images.append((last + moved) / 2)
            known = torch.cat([known[:, -1:], moved], 1)
        return [torch.cat(images, 1)]


BASELINES: dict[str, type[CopyLast] | type[FlowExtrapolation] | type[HalfAndHalf]] = {
    "copy last": CopyLast,
    "optical flow": FlowExtrapolation,
    "half copy, half flow": HalfAndHalf,
}


def build_baselines(steps: int) -> dict[str, Generator]:
    """One of each, for rollouts of `steps` frames."""
    return {name: kind(pred_frames=steps) if kind is HalfAndHalf else kind() for name, kind in BASELINES.items()}
