"""The step of `motion` in a file for other runtimes, which receives optical flow as an input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vidpred.models.export_steps import FrameStep
from vidpred.models.exported_step import Port, Sizes
from vidpred.models.motion_estimation import PADDING, backtest, flow_origins, flows_at, motion_of, paths_of
from vidpred.models.motion_predictor import MotionPredictor
from vidpred.models.pyramid import pad_to_multiple

FINE = "OpenCV's DIS, medium preset with finest scale 0 and patch stride 4"
SMOOTH = "OpenCV's DIS, medium preset with variational refinement alpha 80"


class MotionStep(FrameStep):
    """The networks and warps of `motion`; optical flow is an input, `(B, pairs, 2, H, W)`."""

    generator: MotionPredictor
    as_onnx = False  # the conversion of its warps takes over four minutes

    def __init__(self, generator: MotionPredictor, state: Mapping[str, Any]) -> None:
        super().__init__(generator, state)
        # The newest ten frames are used; two are taken as three by the model, whose flows a caller would not expect.
        self.origins = flow_origins(generator.context_frames, generator.backtests)
        pairs = [(0, FINE), (1, FINE), *((origin, SMOOTH) for origin in self.origins)]
        listed = "; ".join(
            f"{index}: t-{origin} to t-{origin + 1}, {care}" for index, (origin, care) in enumerate(pairs)
        )
        meaning = f"displacement (x, y) in pixels of every pixel from one frame to the one before it: {listed}"
        flows = Port("flows", ("batch", len(pairs), 2, "height", "width"), "float32", None, meaning)
        self.inputs = [self.context, flows, *self.conditions]

    def predict(self, history: Tensor, first: Tensor | None, conditions: Mapping[str, Tensor]) -> Tensor:
        assert first is not None
        context = history[:, : self.generator.context_frames]
        fine, older, smooth, *old_flows = pad_to_multiple(first, PADDING).unbind(1)
        frames = pad_to_multiple(context[:, -10:], PADDING)
        motion = motion_of(frames, [fine, older], smooth, backtest(frames, paths_of(self.origins, old_flows)))
        given = (conditions.get(name) for name in ("noise", "actions", "states"))
        planes = self.generator.planes(context, *given)
        (predicted,) = self.generator.from_motion(motion, planes, context.shape[-2], context.shape[-1])
        return predicted.float()

    def example(self, sizes: Sizes, seed: int = 0) -> tuple[Tensor, ...]:
        context, _, *rest = super().example(sizes, seed)
        frames = context[:, : self.generator.context_frames][:, -10:]
        flows = [*flows_at(frames, [0, 1], "fine"), *flows_at(frames, self.origins, "smooth")]
        stacked = torch.stack(flows, 1)[..., : sizes.height, : sizes.width]
        return (context, stacked, *rest)
