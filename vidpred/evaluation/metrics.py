"""Image quality: PSNR, SSIM and sharpness difference, over whole images or over the pixels that move.

Every metric takes a prediction and a target, `(N, C, H, W)` float in [0, 1] (uint8 in [0, 255] is scaled), and returns
`(N,)` float32, one value per image; higher is better. The arithmetic is float64, which prevents cancellation in SSIM's
small variances and is not affected by autocast. Shapes that do not match raise ValueError.

A masked metric takes a bool mask `(N, H, W)` and averages the same per-pixel map over the masked pixels. The mask is
cropped by the border that a map lacks. An image with fewer than `MINIMUM_MOVING_PIXELS` masked pixels left gets NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor

from vidpred.data.batch import to_float
from vidpred.models.optical_flow import dense_flow

MINIMUM_MOVING_PIXELS = 16
SSIM_WINDOW = 11  # pixels
SSIM_SIGMA = 1.5  # pixels
SSIM_CONSTANTS = (0.01**2, 0.03**2)  # (K1 L)^2 and (K2 L)^2 with L = 1


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB, `(N,)`: -10 log10(mean squared error); infinite for equal images.

    Prediction and target are `(N, C, H, W)` in [0, 1].
    """
    return _decibels(_average(_squared_error(prediction, target)))


def masked_psnr(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Compute `psnr` over the pixels of a bool mask `(N, H, W)`: `(N,)`, NaN where they are too few."""
    return _decibels(_average(_squared_error(prediction, target), mask))


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the mean of `ssim_map` over positions, `(N,)` in [-1, 1]; 1 for equal images."""
    return _average(_ssim_map(prediction, target)).float()


def masked_ssim(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Compute `ssim` over the windows whose center a bool mask `(N, H, W)` holds: `(N,)`, NaN where they are too few.

    The mask's 5 border pixels are no centers and do not count.
    """
    return _average(_ssim_map(prediction, target), mask, border=(SSIM_WINDOW // 2, SSIM_WINDOW // 2)).float()


def sharpness_difference(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the sharpness difference in dB (Mathieu, Couprie & LeCun 2016, arXiv 1511.05440, section 3).

    10 log10(1 / mean |(∇i Y + ∇j Y) - (∇i Ŷ + ∇j Ŷ)|) with ∇i Y = |Y_ij - Y_i-1,j| and ∇j Y = |Y_ij - Y_i,j-1|.
    The mean is over the channels and the (H-1)(W-1) pixels with i >= 1 and j >= 1, which have both neighbors. Infinite
    for equal images. Raises ValueError for images with a side below 2.
    """
    return _decibels(_average(_sharpness_error(prediction, target)))


def masked_sharpness_difference(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Compute `sharpness_difference` over the pixels of a mask, except its first row and first column.

    `mathieu2016.sharpness_difference` instead replaces the pixels outside of the mask.

    Args:
        prediction: `(N, C, H, W)` in [0, 1].
        target: The same shape.
        mask: The pixels that count, `(N, H, W)` bool.

    Returns:
        `(N,)` in dB, higher is better; NaN where fewer than `MINIMUM_MOVING_PIXELS` pixels count.
    """
    return _decibels(_average(_sharpness_error(prediction, target), mask, border=(1, 0)))


def ssim_map(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute structural similarity around every pixel, averaged over the channels: `(N, H-10, W-10)` float32.

    Wang et al. 2004, equation 13: an 11x11 Gaussian window of sigma 1.5, K = (0.01, 0.03), the population covariance.
    Only windows inside the image count, so the map's pixel (0, 0) is the image's (5, 5). Raises ValueError for images
    with a side below 11.
    """
    return _ssim_map(prediction, target).float()


def moving_pixels(previous: Tensor, current: Tensor, threshold: float = 0.2) -> Tensor:
    """Find the pixels of `current` that moved by more than `threshold` pixels since `previous`.

    The motion is the optical flow from t back to t-1 (`optical_flow.dense_flow`), so the mask lies on the pixels of
    frame t, where predictions are measured. Small images are enlarged for the flow, but the threshold remains in their
    own pixels. In flat regions, which have no texture to match, the flow spreads from the moving objects.

    Args:
        previous: True frames t-1, `(N, C, H, W)` in [0, 1] with 1 or 3 channels.
        current: True frames t, of the same shape.
        threshold: Length of the flow in pixels.

    Returns:
        `(N, H, W)` bool.
    """
    return torch.gt(torch.linalg.vector_norm(dense_flow(current, previous), dim=1), threshold)


def _squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    prediction, target = _pair(prediction, target)
    return (prediction - target).square().mean(1)


def _sharpness_error(prediction: Tensor, target: Tensor) -> Tensor:
    prediction, target = _pair(prediction, target, smallest_side=2)
    return (_gradient_sum(target) - _gradient_sum(prediction)).abs().mean(1)


def _gradient_sum(images: Tensor) -> Tensor:
    return images.diff(dim=-2).abs()[..., :, 1:] + images.diff(dim=-1).abs()[..., 1:, :]


def _ssim_map(prediction: Tensor, target: Tensor) -> Tensor:
    first, second = _pair(prediction, target, smallest_side=SSIM_WINDOW)
    return similarity(first, second, gaussian_mean, SSIM_CONSTANTS).mean(1)


def similarity(
    first: Tensor,
    second: Tensor,
    window_mean: Callable[[Tensor], Tensor],
    constants: tuple[float, float],
    sample: float = 1.0,
) -> Tensor:
    """Compute structural similarity around every pixel (Wang et al. 2004, equation 13).

    Args:
        first: Images `(N, C, H, W)`.
        second: Images of the same shape.
        window_mean: Computes the weighted mean over the window around each pixel, `(M, H, W)` -> `(M, h, w)`.
        constants: C1 and C2, which depend on the range of the values.
        sample: Factor of the population variances; n / (n - 1) for those of a sample of n.

    Returns:
        `(N, C, h, w)`.
    """
    moments = torch.stack([first, second, first * first, second * second, first * second])
    mean_1, mean_2, square_1, square_2, product = window_mean(moments.flatten(0, 2)).unflatten(0, moments.shape[:3])
    variances = sample * ((square_1 - mean_1**2) + (square_2 - mean_2**2))
    covariance = sample * (product - mean_1 * mean_2)
    c1, c2 = constants
    numerator = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    return torch.div(numerator, (mean_1**2 + mean_2**2 + c1) * (variances + c2))


def gaussian_mean(planes: Tensor, padding: int = 0) -> Tensor:
    """Average over an 11x11 Gaussian window of sigma 1.5: `(M, H, W)` -> `(M, H - 10 + 2 padding, ...)`."""
    offsets = torch.arange(SSIM_WINDOW, dtype=planes.dtype, device=planes.device) - SSIM_WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    weights = weights / weights.sum()
    columns = functional.conv2d(planes[:, None], weights.view(1, 1, -1, 1), padding=(padding, 0))
    return functional.conv2d(columns, weights.view(1, 1, 1, -1), padding=(0, padding))[:, 0]


def _pair(prediction: Tensor, target: Tensor, smallest_side: int = 1) -> tuple[Tensor, Tensor]:
    """Convert both images to float64. Raises ValueError where their shapes do not match."""
    if prediction.shape != target.shape or prediction.ndim != 4:
        shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        raise ValueError(f"prediction and target must both be (N, C, H, W) of one shape, not {shapes}")
    height, width = prediction.shape[-2:]
    if min(height, width) < smallest_side:
        raise ValueError(f"this metric needs images of at least {smallest_side} pixels a side, not {height}x{width}")
    return to_float(prediction).double(), to_float(target).double()


def _average(values: Tensor, mask: Tensor | None = None, border: tuple[int, int] = (0, 0)) -> Tensor:
    """Average maps `(N, h, w)` over all pixels, or over those of a mask.

    border: number of rows and columns of the image that the map lacks at the start and at the end; the mask has them.
    """
    if mask is None:
        return values.mean((1, 2))
    before, after = border
    count, height, width = values.shape
    expected = (count, height + before + after, width + before + after)
    if mask.dtype != torch.bool or mask.shape != expected:
        raise ValueError(f"the mask must be bool {expected}, not {mask.dtype} {tuple(mask.shape)}")
    mask = mask[:, before : before + height, before : before + width]
    pixels = mask.sum((1, 2))
    mean = values.where(mask, 0).sum((1, 2)) / pixels
    return mean.where(pixels >= MINIMUM_MOVING_PIXELS, torch.nan)


def _decibels(error: Tensor) -> Tensor:
    """Compute 10 log10(1 / error) as float32: the peak value is 1, and an error of 0 is infinitely many dB."""
    return (-10 * torch.log10(error)).float()
