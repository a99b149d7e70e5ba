"""The contract of the generator `motion` with its stream and its exported step, which are in separate modules."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from vidpred.models.conditioned import ConditionedPredictor
from vidpred.models.motion_estimation import Motion
from vidpred.models.optical_flow import warp_sharp


class MotionPredictor(ConditionedPredictor):
    """Base class of predictors that take the motion in the context frames."""

    backtests: bool
    """Whether the reliability of motion is measured on the context frames."""

    def from_motion(
        self, motion: Motion, conditions: Tensor | None, height: int, width: int, leads: range | None = None,
        sharp_warp: Callable[[Tensor, Tensor], Tensor] = warp_sharp,
    ) -> list[Tensor]:  # fmt: skip
        """Predict future frames from the motion in the context frames, see `forward`.

        Args:
            motion: See `observe`.
            conditions: Planes `(B, n, 1, 1)`; without refinement, noise is the only one.
            height: Height of the frames in pixels.
            width: Their width.
            leads: Their numbers of frames ahead; None: all.
            sharp_warp: The warp of sharpness above 0, unless in training.
        """
        raise NotImplementedError
