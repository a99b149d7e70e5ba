"""The forward pass of `motion` for the contexts of a stream."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vidpred.models.base import StreamForward
from vidpred.models.motion_estimation import PADDING, observe, prepare
from vidpred.models.motion_predictor import MotionPredictor
from vidpred.models.optical_flow import FlowCache, warp_sharp, warp_sharp_opencv
from vidpred.models.worker_threads import WorkerThreads


class MotionStream(StreamForward):
    """The forward pass for the contexts of one stream: the flow between two frames is computed once.

    On a CPU the sharp warp is OpenCV's, which differs a little, see `warp_sharp_opencv`.

    Attributes:
        generator: The generator, in evaluation mode.
        leads: Numbers of frames ahead to predict.
    """

    def __init__(self, generator: MotionPredictor, leads: range) -> None:
        self.generator, self.leads, self._workers = generator, leads, WorkerThreads()
        self.cache = FlowCache(multiple=PADDING, workers=self._workers)

    def __call__(
        self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None, states: Tensor | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Return the first frames of `generator(context, ...)`."""
        # In a worker too: threads of operations in this one would wait busily on the cores of the workers.
        (motion,) = self._workers.map(lambda frames: observe(frames, self.generator.backtests, self.cache), [context])
        conditions = self.generator.planes(context, noise, actions, states)
        height, width = context.shape[-2:]

        def predict(leads: range, sharp_warp: Callable[[Tensor, Tensor], Tensor] = warp_sharp_opencv) -> Tensor:
            (frames,) = self.generator.from_motion(motion, conditions, height, width, leads, sharp_warp)
            return frames

        if context.device.type != "cpu":
            return [predict(self.leads, warp_sharp)]
        size = -(-len(self.leads) // self._workers.count)
        parts = [self.leads[first : first + size] for first in range(0, len(self.leads), size)]
        return [torch.cat(self._workers.map(predict, parts), 1)]

    def prepare(self, context: Tensor, ahead: int) -> None:
        """Compute flows between the frames, in threads if there are any, and paths; see `StreamForward`."""
        generator = self.generator
        self._workers.map(
            lambda frames: prepare(frames, ahead, generator.context_frames, generator.backtests, self.cache), [context]
        )
