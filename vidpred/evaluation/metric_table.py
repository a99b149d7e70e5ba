"""All frame metrics (a function, a title and a definition each), and the protocols that select them."""

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
from vidpred.evaluation.metric_networks import to_three_channels

CAP = 100.0  # dB; value of an exact frame, so that a mean over windows stays finite


@dataclass(frozen=True)
class TrueFrames:
    """The true frames of a window and quantities derived from them, shared by all predictors.

    Attributes:
        window: `(1, n, C, H, W)` in [0, 1].
        number: Index of the target frame, at least 1.
        network: For the distance of features; None: not measured.
    """

    window: Tensor
    number: int
    network: FeatureNetwork | None = None

    @property
    def target(self) -> Tensor:
        """The true frame to predict, `(1, C, H, W)`."""
        return self.window[:, self.number]

    @cached_property
    def moving(self) -> Tensor:
        """The pixels that moved since the previous true frame, `(1, H, W)` bool."""
        return metrics.moving_pixels(self.window[:, self.number - 1], self.target)

    @cached_property
    def moving_as_released(self) -> Tensor:
        """The pixels that moved between the two previous true frames, `(1, H, W)` bool."""
        first = max(0, self.number - 2)
        return mathieu2016.moving_mask(self.window[:, first], self.window[:, first + 1])

    @cached_property
    def warp_error(self) -> Tensor:
        """The error `(1,)` of the previous true frame, warped along the flow between them, against the target."""
        return sharpness.warp_error(self.window[:, self.number - 1], self.target)

    @cached_property
    def features(self) -> Sequence[Tensor]:
        """The network's feature maps of the target, one `(1, C, h, w)` per layer."""
        assert self.network is not None
        return self.network(to_three_channels(self.target))


Function = Callable[[Tensor, TrueFrames], Tensor]  # prediction (1, C, H, W), true frames -> (1,)


@dataclass(frozen=True)
class Metric:
    """One number of a predicted frame; NaN where it is not defined.

    Attributes:
        title: Its name in tables.
        definition: What it is.
        function: Computes it.
        lower_is_better: Whether lower is better.
        best: The true frames' value, where neither higher nor lower is better.
        least_side: Minimum side of images in pixels.
        protocols: Names of the protocols that print it.
        of_pair: Whether the function takes `(2, C, H, W)`: the previous prediction (or the last context frame), then
            this one.
    """

    title: str
    definition: str
    function: Function
    lower_is_better: bool = False
    best: float | None = None
    least_side: int = 1
    protocols: tuple[str, ...] = ("plain",)
    of_pair: bool = False


def _as_released(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Function:
    def measure(prediction: Tensor, true: TrueFrames) -> Tensor:
        images = prediction, true.target, true.moving_as_released
        value = function(*images)
        return value if bool(mathieu2016.counted_samples(*images)) else torch.full_like(value, math.nan)

    return measure


def _sharpness_moving(prediction: Tensor, true: TrueFrames) -> Tensor:
    return metrics.masked_sharpness_difference(prediction, true.target, true.moving)


def _energy_moving(prediction: Tensor, true: TrueFrames) -> Tensor:
    value = finite(sharpness.gradient_energy_ratio(prediction, true.target, true.moving))
    few = true.moving.sum((1, 2)) < metrics.MINIMUM_MOVING_PIXELS
    return value.masked_fill(few, math.nan)


def _features(prediction: Tensor, true: TrueFrames) -> Tensor:
    if true.network is None:
        raise ValueError("the metric features needs a network")
    return 100 * map_distance(true.network(to_three_channels(prediction)), true.features)


def finite(values: Tensor) -> Tensor:
    """Replace infinities by NaN; they come from ratios to a true frame without any detail or change."""
    return values.where(values.isfinite(), torch.full_like(values, math.nan))


_MOVING = (
    "over the moving pixels only: those whose optical flow (DIS) from the previous true frame is longer than 0.2 "
    "pixels; frames with fewer than 16 of them are skipped"
)
_RELEASED = (
    "as computed by the authors' released test code: still pixels set equal in both images and averaged with "
    "the moving ones (red, green or blue of the color-coded flow of the two previous true frames below 0.2; DIS here), "
    "half range 128, samples of 50 dB and more skipped"
)
METRICS: dict[str, Metric] = {
    "psnr": Metric(
        "PSNR", "peak signal-to-noise ratio in dB, peak 1, over all pixels and channels of a frame; at most 100",
        lambda prediction, true: metrics.psnr(prediction, true.target).clamp(max=CAP),
        protocols=("plain", "detail"),
    ),
    "ssim": Metric(
        "SSIM", "structural similarity, 11x11 Gaussian window of sigma 1.5, mean over channels and whole windows",
        lambda prediction, true: metrics.ssim(prediction, true.target), least_side=metrics.SSIM_WINDOW,
        protocols=("plain", "detail"),
    ),
    "sharpness": Metric(
        "sharpness", "sharpness difference in dB (Mathieu et al. 2016), which compares gradients pixel by pixel; at "
        "most 100",
        lambda prediction, true: metrics.sharpness_difference(prediction, true.target).clamp(max=CAP), least_side=2,
    ),
    "psnr_as_released": Metric(
        "PSNR released", f"PSNR {_RELEASED}", _as_released(mathieu2016.psnr), protocols=("mathieu2016",)
    ),
    "ssim_as_released": Metric(
        "SSIM released", f"SSIM of the luma in [0, 255], zeros beyond the border, {_RELEASED}",
        _as_released(mathieu2016.ssim),
        protocols=("mathieu2016",),
    ),
    "sharpness_as_released": Metric(
        "sharp. released", f"sharpness difference without the border pixels, {_RELEASED}",
        _as_released(mathieu2016.sharpness_difference), least_side=3,
        protocols=("mathieu2016",),
    ),
    "psnr_moving": Metric(
        "PSNR moving", f"PSNR {_MOVING}",
        lambda prediction, true: metrics.masked_psnr(prediction, true.target, true.moving).clamp(max=CAP),
        protocols=("plain", "mathieu2016"),
    ),
    "ssim_moving": Metric(
        "SSIM moving", f"the mean of the SSIM map {_MOVING}",
        lambda prediction, true: metrics.masked_ssim(prediction, true.target, true.moving),
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
        "detail, below 1 is blur, above 1 is noise or false detail; copying scores about 1, so read it together with "
        "a metric of position",
        lambda prediction, true: finite(sharpness.gradient_energy_ratio(prediction, true.target)),
        best=1, least_side=2, protocols=("plain", "detail"),
    ),
    "energy_moving": Metric(
        "energy moving", f"energy {_MOVING}",
        lambda prediction, true: _energy_moving(prediction, true), best=1, least_side=2,
        protocols=("plain", "detail"),
    ),
    "patches": Metric(
        "patches",
        "sliced Wasserstein distance, times 100, of the 7x7 patches of a three-level Laplacian pyramid from those of "
        "the true frame, wherever they are (Karras et al. 2018), 96 directions",
        lambda prediction, true: 100 * sharpness.sliced_wasserstein(prediction, true.target),
        lower_is_better=True, least_side=sharpness.LEAST_SIDE, protocols=("detail",),
    ),
    "warp_error": Metric(
        "warp error",
        "root mean squared error of the previous prediction, warped along the flow (DIS) between the two, over that of "
        "the true frames: 1 is as coherent as the true frames, above 1 flickers, below 1 is still or blurred",
        lambda pair, true: finite(sharpness.warp_error(pair[:1], pair[1:]) / true.warp_error), best=1, of_pair=True,
        protocols=("detail",),
    ),
    "features": Metric(
        "features",
        "squared distance, times 100, of the unit-normalized features of a prediction from those of the true frame, "
        "summed over the feature maps of the given network (--feature-distance), without learned weights: not LPIPS, "
        "and comparable only between numbers of one network",
        lambda prediction, true: _features(prediction, true), lower_is_better=True, protocols=(),
    ),
    "openstl_mse_sum": Metric(
        "MSE (sum)", "squared error summed over channels and pixels, values in [0, 1] (OpenSTL)",
        lambda prediction, true: openstl.mse_sum(prediction, true.target), lower_is_better=True,
        protocols=("openstl",),
    ),
    "openstl_mae_sum": Metric(
        "MAE (sum)", "absolute error summed over channels and pixels, values in [0, 1] (OpenSTL)",
        lambda prediction, true: openstl.mae_sum(prediction, true.target), lower_is_better=True,
        protocols=("openstl",),
    ),
    "openstl_ssim": Metric(
        "SSIM (7x7)",
        "SSIM with scikit-image's defaults: 7x7 uniform window, sample covariance, data range 2 (OpenSTL)",
        lambda prediction, true: openstl.ssim(prediction, true.target), least_side=openstl.SSIM_SIDE,
        protocols=("openstl",),
    ),
    "openstl_psnr": Metric(
        "PSNR (peak 1)", "PSNR of whole frames, values in [0, 1] (OpenSTL); at most 100",
        lambda prediction, true: openstl.psnr(prediction, true.target).clamp(max=CAP),
        protocols=("openstl",),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """A choice of metrics and windows.

    Attributes:
        name: Its name.
        shown: The metric of tables by clip.
        one_window_a_clip: Whether to measure only the middle window of every clip.
        added: Metrics that need more than frames, printed last.
    """

    name: str
    shown: str
    one_window_a_clip: bool = False
    added: tuple[str, ...] = ()

    @property
    def compared(self) -> str:
        """The metric by which models are better or worse: `shown`, but PSNR where neither more nor less is better."""
        return self.shown if METRICS[self.shown].best is None else "psnr"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the protocol's metrics, in the order of `METRICS`."""
        own = tuple(name for name, one in METRICS.items() if self.name in one.protocols)
        return (*own, *self.added)


PROTOCOLS: dict[str, Protocol] = {
    "plain": Protocol("plain", "psnr_moving"),
    "mathieu2016": Protocol("mathieu2016", "psnr_moving", one_window_a_clip=True),
    "detail": Protocol("detail", "energy"),
    "openstl": Protocol("openstl", "openstl_psnr"),
}


def measure(name: str, prediction: Tensor, true: TrueFrames, before: Tensor) -> float:
    """Compute one number.

    Args:
        name: A key of `METRICS`.
        prediction: `(1, C, H, W)` in [0, 1].
        true: The true frames of its window.
        before: The previous prediction, or the last context frame, for metrics of pairs.

    Returns:
        The number; NaN where the image is smaller than the metric requires.
    """
    chosen = METRICS[name]
    if min(true.target.shape[-2:]) < chosen.least_side:
        return math.nan
    return float(chosen.function(torch.cat([before, prediction]) if chosen.of_pair else prediction, true))


def find_protocol(name: str) -> Protocol:
    """Return the protocol of that name. Raises ConfigError."""
    if name not in PROTOCOLS:
        hint = "; sharpness was renamed to detail" if name == "sharpness" else ""
        raise ConfigError(f"no such protocol [--protocol {name}]; choose from {', '.join(PROTOCOLS)}{hint}")
    return PROTOCOLS[name]
