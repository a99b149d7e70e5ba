"""Every number that an evaluation can print: a function, a title, a definition; and the protocols that choose them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vidpred.errors import ConfigError
from vidpred.evaluation import mathieu2016, metrics, openstl, sharpness
from vidpred.evaluation.feature_distance import FeatureNetwork, map_distance
from vidpred.evaluation.metric_networks import in_color

CAP = 100.0  # dB: what an exact frame counts, so that a mean over windows stays finite


@dataclass(frozen=True)
class TrueFrames:
    """The true frames around the one that is judged, and what of it moves: shared by all predictors.

    window: `(1, n, C, H, W)` in [0, 1]; number: the place of the frame judged, at least 1. network: for the distance of
    features, where one is given.
    """

    window: Tensor
    number: int
    network: FeatureNetwork | None = None

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

    @cached_property
    def warp_error(self) -> Tensor:
        """`(1,)`: how badly the true frame before, moved along the flow between them, agrees with this one."""
        return sharpness.warp_error(self.window[:, self.number - 1], self.truth)

    @cached_property
    def features(self) -> Sequence[Tensor]:
        """The network's feature maps of the true frame."""
        assert self.network is not None
        return self.network(in_color(self.truth))


Function = Callable[[Tensor, TrueFrames], Tensor]  # prediction (1, C, H, W), the truth -> (1,)


@dataclass(frozen=True)
class Metric:
    """One number of a predicted frame; NaN where it is not defined.

    protocols: names of the protocols that print it, in the order of `METRICS`.
    """

    title: str
    definition: str
    function: Function
    lower_is_better: bool = False
    best: float | None = None  # where neither higher nor lower is better: the true frames' own value
    least_side: int = 1  # pixels a side that it needs
    protocols: tuple[str, ...] = ("plain",)
    of_pair: bool = False  # the function takes (2, C, H, W): the prediction before, or the last context frame, and this


def _as_released(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Function:
    def measure(prediction: Tensor, true: TrueFrames) -> Tensor:
        images = prediction, true.truth, true.moving_as_released
        value = function(*images)
        return value if bool(mathieu2016.counts(*images)) else torch.full_like(value, math.nan)

    return measure


def _sharpness_moving(prediction: Tensor, true: TrueFrames) -> Tensor:
    return metrics.masked_sharpness_difference(prediction, true.truth, true.moving)


def _energy_moving(prediction: Tensor, true: TrueFrames) -> Tensor:
    value = finite(sharpness.gradient_energy_ratio(prediction, true.truth, true.moving))
    few = true.moving.sum((1, 2)) < metrics.MINIMUM_MOVING_PIXELS
    return value.masked_fill(few, math.nan)


def _features(prediction: Tensor, true: TrueFrames) -> Tensor:
    if true.network is None:
        raise ValueError("the measure features needs a network")
    return 100 * map_distance(true.network(in_color(prediction)), true.features)


def finite(values: Tensor) -> Tensor:
    """NaN for what is infinite: a ratio to a true frame without any detail or change."""
    return values.where(values.isfinite(), torch.full_like(values, math.nan))


_MOVING = (
    "over the moving pixels only: those whose optical flow (DIS) from the true frame before is longer than 0.2 pixels; "
    "frames with fewer than 16 of them are left out"
)
_RELEASED = (
    "in the arithmetic of the authors' released test code: still pixels set equal in both images and averaged with "
    "the moving ones (red, green or blue of the colour-coded flow of the two true frames before under 0.2; DIS here), "
    "half range 128, samples from 50 dB on left out"
)
METRICS: dict[str, Metric] = {
    "psnr": Metric(
        "PSNR", "peak signal-to-noise ratio in dB, peak 1, over all pixels and channels of a frame; at most 100",
        lambda prediction, true: metrics.psnr(prediction, true.truth).clamp(max=CAP),
        protocols=("plain", "sharpness"),
    ),
    "ssim": Metric(
        "SSIM", "structural similarity, 11x11 Gaussian window of sigma 1.5, mean over channels and whole windows",
        lambda prediction, true: metrics.ssim(prediction, true.truth), least_side=metrics.SSIM_WINDOW,
        protocols=("plain", "sharpness"),
    ),
    "sharpness": Metric(
        "sharpness", "sharpness difference in dB (Mathieu et al. 2016), sharper in the right places; at most 100",
        lambda prediction, true: metrics.sharpness_difference(prediction, true.truth).clamp(max=CAP), least_side=2,
    ),
    "psnr_as_released": Metric(
        "PSNR released", f"psnr {_RELEASED}", _as_released(mathieu2016.psnr), protocols=("mathieu2016",)
    ),
    "ssim_as_released": Metric(
        "SSIM released", f"ssim of the luma in [0, 255], zeros beyond the border, {_RELEASED}",
        _as_released(mathieu2016.ssim),
        protocols=("mathieu2016",),
    ),
    "sharpness_as_released": Metric(
        "sharp. released", f"sharpness difference, a border of one pixel left out, {_RELEASED}",
        _as_released(mathieu2016.sharpness_difference), least_side=3,
        protocols=("mathieu2016",),
    ),
    "psnr_moving": Metric(
        "PSNR moving", f"psnr {_MOVING}",
        lambda prediction, true: metrics.masked_psnr(prediction, true.truth, true.moving).clamp(max=CAP),
        protocols=("plain", "mathieu2016"),
    ),
    "ssim_moving": Metric(
        "SSIM moving", f"the mean of the ssim map {_MOVING}",
        lambda prediction, true: metrics.masked_ssim(prediction, true.truth, true.moving),
        least_side=metrics.SSIM_WINDOW,
        protocols=("plain", "mathieu2016"),
    ),
    "sharpness_moving": Metric(
        "sharpness moving", f"sharpness difference {_MOVING}",
        lambda prediction, true: _sharpness_moving(prediction, true).clamp(max=CAP), least_side=2,
        protocols=("plain", "mathieu2016"),
    ),
    "energy": Metric(
        "energy",
        "mean squared gradient of a prediction over that of the true frame, wherever its details are: 1 is as much "
        "detail, below 1 is blur, above 1 noise or false detail; copying has about 1, so it proves nothing alone",
        lambda prediction, true: finite(sharpness.gradient_energy_ratio(prediction, true.truth)),
        best=1, least_side=2, protocols=("plain", "sharpness"),
    ),
    "energy_moving": Metric(
        "energy moving", f"energy {_MOVING}",
        lambda prediction, true: _energy_moving(prediction, true), best=1, least_side=2,
        protocols=("plain", "sharpness"),
    ),
    "patches": Metric(
        "patches",
        "sliced Wasserstein distance, times 100, of the 7x7 patches of a three-level Laplacian pyramid from those of "
        "the true frame, wherever they lie (Karras et al. 2018), 96 directions",
        lambda prediction, true: 100 * sharpness.sliced_wasserstein(prediction, true.truth),
        lower_is_better=True, least_side=sharpness.LEAST_SIDE, protocols=("sharpness",),
    ),
    "warp_error": Metric(
        "warp error",
        "how badly a prediction agrees with the prediction before it, moved along the flow (DIS) between the two: root "
        "mean squared error over that of the true frames: 1 is as coherent as the truth, above 1 flickers, below 1 is "
        "still or blurred",
        lambda pair, true: finite(sharpness.warp_error(pair[:1], pair[1:]) / true.warp_error), best=1, of_pair=True,
        protocols=("sharpness",),
    ),
    "features": Metric(
        "features",
        "squared distance, times 100, of the unit-normalized features of a prediction from those of the true frame, "
        "summed over the feature maps of the network given (--feature-distance), without learned weights: not LPIPS, "
        "and only numbers of one network compare",
        lambda prediction, true: _features(prediction, true), lower_is_better=True, protocols=(),
    ),
    "openstl_mse_sum": Metric(
        "MSE (sum)", "squared error summed over channels and pixels, values in [0, 1] (OpenSTL)",
        lambda prediction, true: openstl.mse_sum(prediction, true.truth), lower_is_better=True,
        protocols=("openstl",),
    ),
    "openstl_mae_sum": Metric(
        "MAE (sum)", "absolute error summed over channels and pixels, values in [0, 1] (OpenSTL)",
        lambda prediction, true: openstl.mae_sum(prediction, true.truth), lower_is_better=True,
        protocols=("openstl",),
    ),
    "openstl_ssim": Metric(
        "SSIM (7x7)",
        "ssim with scikit-image's defaults: 7x7 uniform window, sample covariance, data range 2 (OpenSTL)",
        lambda prediction, true: openstl.ssim(prediction, true.truth), least_side=openstl.SSIM_SIDE,
        protocols=("openstl",),
    ),
    "openstl_psnr": Metric(
        "PSNR (peak 1)", "psnr of whole frames, values in [0, 1] (OpenSTL); at most 100",
        lambda prediction, true: openstl.psnr(prediction, true.truth).clamp(max=CAP),
        protocols=("openstl",),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """What is measured, and on which windows.

    shown: the measure of tables by clip. added: measures that need more than frames, printed last.
    """

    name: str
    shown: str
    one_window_a_clip: bool = False
    added: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of its measures, in the order of `METRICS`."""
        own = tuple(name for name, one in METRICS.items() if self.name in one.protocols)
        return (*own, *self.added)


PROTOCOLS: dict[str, Protocol] = {
    "plain": Protocol("plain", "psnr_moving"),
    "mathieu2016": Protocol("mathieu2016", "psnr_moving", one_window_a_clip=True),
    "sharpness": Protocol("sharpness", "energy"),
    "openstl": Protocol("openstl", "openstl_psnr"),
}


def measure(name: str, prediction: Tensor, true: TrueFrames, before: Tensor) -> float:
    """Compute one number.

    Args:
        name: a key of `METRICS`.
        prediction: `(1, C, H, W)` in [0, 1].
        true: the true frames of its window.
        before: the prediction before it, or the last context frame, for measures of pairs.

    Returns:
        The number; NaN where the image is smaller than the measure needs.
    """
    chosen = METRICS[name]
    if min(true.truth.shape[-2:]) < chosen.least_side:
        return math.nan
    return float(chosen.function(torch.cat([before, prediction]) if chosen.of_pair else prediction, true))


def find_protocol(name: str) -> Protocol:
    """Return the protocol of that name. Raises ConfigError."""
    if name not in PROTOCOLS:
        raise ConfigError(f"no such protocol [--protocol {name}]; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
