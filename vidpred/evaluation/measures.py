"""Every number that an evaluation can print: a function, a title, a definition; and the protocols that choose them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vidpred.errors import ConfigError
from vidpred.evaluation import mathieu2016, metrics, openstl

CAP = 100.0  # dB: what an exact frame counts, so that a mean over windows stays finite


@dataclass(frozen=True)
class TrueFrames:
    """The true frames around the one that is judged, and what of it moves: shared by all predictors.

    window: `(1, n, C, H, W)` in [0, 1]; number: the place of the frame judged, at least 1.
    """

    window: Tensor
    number: int

    @property
    def truth(self) -> Tensor:
        """`(1, C, H, W)`."""
        return self.window[:, self.number]

    @cached_property
    def moving(self) -> Tensor:
        """`(1, H, W)` bool: the pixels that moved since the true frame before."""
        return metrics.moving_pixels(self.window[:, self.number - 1], self.truth)

    @cached_property
    def moving_as_released(self) -> Tensor:
        """`(1, H, W)` bool: those that moved between the two true frames before (of two known ones, at least)."""
        first = max(0, self.number - 2)
        return mathieu2016.moving_mask(self.window[:, first], self.window[:, first + 1])


Function = Callable[[Tensor, TrueFrames], Tensor]  # prediction (1, C, H, W), the truth -> (1,)


@dataclass(frozen=True)
class Measure:
    """One number of a predicted frame; NaN where it is not defined.

    protocols: names of the protocols that print it, in the order of `MEASURES`.
    """

    title: str
    definition: str
    function: Function
    lower_is_better: bool = False
    least_side: int = 1  # pixels a side that it needs
    protocols: tuple[str, ...] = ("plain",)


def _as_released(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Function:
    def measure(prediction: Tensor, true: TrueFrames) -> Tensor:
        pictures = prediction, true.truth, true.moving_as_released
        value = function(*pictures)
        return value if bool(mathieu2016.counts(*pictures)) else torch.full_like(value, math.nan)

    return measure


def _sharpness_moving(prediction: Tensor, true: TrueFrames) -> Tensor:
    return metrics.masked_sharpness_difference(prediction, true.truth, true.moving)


_MOVING = (
    "over the moving pixels only: those whose optical flow (DIS) from the true frame before is longer than 0.2 pixels; "
    "frames with fewer than 16 of them are left out"
)
_RELEASED = (
    "in the arithmetic of the authors' released test code: still pixels set equal in both pictures and averaged with "
    "the moving ones (red, green or blue of the colour-coded flow of the two true frames before under 0.2; DIS here), "
    "half range 128, samples from 50 dB on left out"
)
MEASURES: dict[str, Measure] = {
    "psnr": Measure(
        "PSNR", "peak signal-to-noise ratio in dB, peak 1, over all pixels and channels of a frame; at most 100",
        lambda prediction, true: metrics.psnr(prediction, true.truth).clamp(max=CAP),
    ),
    "ssim": Measure(
        "SSIM", "structural similarity, 11x11 Gaussian window of sigma 1.5, mean over channels and whole windows",
        lambda prediction, true: metrics.ssim(prediction, true.truth), least_side=metrics.SSIM_WINDOW,
    ),
    "sharpness": Measure(
        "sharpness", "sharpness difference in dB (Mathieu et al. 2016), sharper in the right places; at most 100",
        lambda prediction, true: metrics.sharpness_difference(prediction, true.truth).clamp(max=CAP), least_side=2,
    ),
    "psnr_as_released": Measure(
        "PSNR released", f"psnr {_RELEASED}", _as_released(mathieu2016.psnr), protocols=("mathieu2016",)
    ),
    "ssim_as_released": Measure(
        "SSIM released", f"ssim of the luma in [0, 255], zeros beyond the border, {_RELEASED}",
        _as_released(mathieu2016.ssim),
        protocols=("mathieu2016",),
    ),
    "sharpness_as_released": Measure(
        "sharp. released", f"sharpness difference, a border of one pixel left out, {_RELEASED}",
        _as_released(mathieu2016.sharpness_difference), least_side=3,
        protocols=("mathieu2016",),
    ),
    "psnr_moving": Measure(
        "PSNR moving", f"psnr {_MOVING}",
        lambda prediction, true: metrics.masked_psnr(prediction, true.truth, true.moving).clamp(max=CAP),
        protocols=("plain", "mathieu2016"),
    ),
    "ssim_moving": Measure(
        "SSIM moving", f"the mean of the ssim map {_MOVING}",
        lambda prediction, true: metrics.masked_ssim(prediction, true.truth, true.moving),
        least_side=metrics.SSIM_WINDOW,
        protocols=("plain", "mathieu2016"),
    ),
    "sharpness_moving": Measure(
        "sharpness moving", f"sharpness difference {_MOVING}",
        lambda prediction, true: _sharpness_moving(prediction, true).clamp(max=CAP), least_side=2,
        protocols=("plain", "mathieu2016"),
    ),
    "openstl_mse_sum": Measure(
        "MSE (sum)", "squared error summed over channels and pixels, values in [0, 1] (OpenSTL)",
        lambda prediction, true: openstl.mse_sum(prediction, true.truth), lower_is_better=True,
        protocols=("openstl",),
    ),
    "openstl_mae_sum": Measure(
        "MAE (sum)", "absolute error summed over channels and pixels, values in [0, 1] (OpenSTL)",
        lambda prediction, true: openstl.mae_sum(prediction, true.truth), lower_is_better=True,
        protocols=("openstl",),
    ),
    "openstl_ssim": Measure(
        "SSIM (7x7)",
        "ssim with scikit-image's defaults: 7x7 uniform window, sample covariance, data range 2 (OpenSTL)",
        lambda prediction, true: openstl.ssim(prediction, true.truth), least_side=openstl.SSIM_SIDE,
        protocols=("openstl",),
    ),
    "openstl_psnr": Measure(
        "PSNR (peak 1)", "psnr of whole frames, values in [0, 1] (OpenSTL); at most 100",
        lambda prediction, true: openstl.psnr(prediction, true.truth).clamp(max=CAP),
        protocols=("openstl",),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """What is measured, and on which windows.

    shown: the measure of tables by clip.
    """

    name: str
    shown: str
    one_window_a_clip: bool = False

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of its measures, in the order of `MEASURES`."""
        return tuple(name for name, one in MEASURES.items() if self.name in one.protocols)


PROTOCOLS: dict[str, Protocol] = {
    "plain": Protocol("plain", "psnr_moving"),
    "mathieu2016": Protocol("mathieu2016", "psnr_moving", one_window_a_clip=True),
    "openstl": Protocol("openstl", "openstl_psnr"),
}


def measure(name: str, prediction: Tensor, true: TrueFrames) -> float:
    """One number; NaN where the picture is smaller than the measure needs."""
    chosen = MEASURES[name]
    if min(true.truth.shape[-2:]) < chosen.least_side:
        return math.nan
    return float(chosen.function(prediction, true))


def find_protocol(name: str) -> Protocol:
    """Return the protocol of that name. Raises ConfigError."""
    if name not in PROTOCOLS:
        raise ConfigError(f"no such protocol [--protocol {name}]; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
