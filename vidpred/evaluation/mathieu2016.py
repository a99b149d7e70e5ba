"""The metrics of Mathieu, Couprie & LeCun 2016 (arXiv 1511.05440) in the arithmetic of their released test code.

It differs from the plain metrics in ways that change the numbers by many decibels, so these have different names:
pixels that do not move are set to the same value in both images and then *all* pixels are averaged, which adds
10 log10(1 / share of moving pixels) dB; half the range of values counts as 128 instead of 127.5; SSIM is of the luma,
with zeros beyond the border; windows whose masked PSNR reaches 50 dB are dropped.

Every metric takes a prediction and a target `(N, C, H, W)` float in [0, 1], C = 1 or 3, and a bool mask `(N, H, W)` of
the pixels that move, and returns `(N,)` float32; higher is better. The arithmetic is float64.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from vidpred.evaluation.metrics import SSIM_WINDOW, gaussian_mean, similarity
from vidpred.models.optical_flow import LUMA, dense_flow

HALF_RANGE = 128.0  # scale of [-1, 1]; 127.5 would be exact
PEAK = 255.0
STILL = -1.0  # value in [-1, 1] of pixels that do not move
FLOW_THRESHOLD = 0.2  # of a color channel of the flow's image, in [0, 1]
DROPPED_FROM = 50.0  # dB
SSIM_CONSTANTS = ((0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2)


def moving_mask(first: Tensor, second: Tensor) -> Tensor:
    """Find the moving pixels: those whose flow, drawn as a color, has a red, green or blue below 0.2.

    The colors are Baker et al.'s wheel (2011), white for no motion, saturated for the fastest pixel of the image: a
    pixel counts if it moves at roughly 0.8 of that speed or more. The flow is DIS; the authors' method is not part of
    their released code.

    Args:
        first: True frames `(N, C, H, W)` in [0, 1].
        second: The next frames, of the same shape.

    Returns:
        `(N, H, W)` bool.
    """
    from torchvision.utils import flow_to_image  # lazily: torchvision imports torch's compiler, which takes seconds

    flow = dense_flow(first, second)
    still = flow.flatten(1).abs().amax(1) == 0  # nothing to scale by
    colors: Tensor = flow_to_image(torch.where(still.view(-1, 1, 1, 1), torch.ones_like(flow), flow)).float() / 255
    return (colors < FLOW_THRESHOLD).any(1) & ~still.view(-1, 1, 1)


def psnr(prediction: Tensor, target: Tensor, moving: Tensor) -> Tensor:
    """Compute 10 log10(255^2 / (128^2 mean (y - y')^2)) dB, `(N,)`, of values in [-1, 1] over all pixels.

    Prediction and target are `(N, C, H, W)` in [0, 1]; pixels outside `moving`, `(N, H, W)` bool, are set equal.
    """
    first, second = _masked(prediction, target, moving)
    error = (first - second).square().mean((1, 2, 3)) * HALF_RANGE**2
    return (10 * torch.log10(PEAK**2 / error)).float()


def sharpness_difference(prediction: Tensor, target: Tensor, moving: Tensor) -> Tensor:
    """Compute 10 log10(255^2 / (128^2 mean(||dx y| - |dx y'|| + ||dy y| - |dy y'||))) without the border pixels.

    The gradients are differences to the left and upper neighbor; the mean is over channels and the inner pixels.
    """
    first, second = _masked(prediction, target, moving)
    horizontal = (first.diff(dim=-1).abs() - second.diff(dim=-1).abs()).abs()[..., 1:-1, :-1]
    vertical = (first.diff(dim=-2).abs() - second.diff(dim=-2).abs()).abs()[..., :-1, 1:-1]
    error = (horizontal + vertical).mean((1, 2, 3)) * HALF_RANGE**2
    return (10 * torch.log10(PEAK**2 / error)).float()


def ssim(prediction: Tensor, target: Tensor, moving: Tensor) -> Tensor:
    """Compute the SSIM (Wang et al. 2004) of the luma in [0, 255], `(N,)`: 11x11 Gaussian of sigma 1.5, zeros outside.

    For the arguments see `psnr`.
    """
    first, second = (_luma(images) for images in _masked(prediction, target, moving))
    values = similarity(first, second, partial(gaussian_mean, padding=SSIM_WINDOW // 2), SSIM_CONSTANTS)
    return values.mean((1, 2, 3)).float()


def counted_samples(prediction: Tensor, target: Tensor, moving: Tensor) -> Tensor:
    """Return which samples count, `(N,)` bool: those with a `psnr` below 50 dB; at more nothing moves, or errs.

    For the arguments see `psnr`.
    """
    return psnr(prediction, target, moving) < DROPPED_FROM


def _masked(prediction: Tensor, target: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
    """Convert both images to float64 in [-1, 1], with one value for still pixels. Raises ValueError."""
    if prediction.shape != target.shape or moving.shape != prediction[:, 0].shape:
        shapes = f"{tuple(prediction.shape)}, {tuple(target.shape)}, {tuple(moving.shape)}"
        raise ValueError(f"prediction, target (N, C, H, W) and mask (N, H, W) do not fit: {shapes}")
    still = ~moving[:, None]
    first, second = prediction.double() * 2 - 1, target.double() * 2 - 1
    return first.masked_fill(still, STILL), second.masked_fill(still, STILL)


def _luma(images: Tensor) -> Tensor:
    """Convert `(N, C, H, W)` in [-1, 1] to luma `(N, 1, H, W)` in [0, 255]."""
    scaled = (images + 1) / 2 * PEAK
    if scaled.shape[1] == 1:
        return scaled
    return (scaled * scaled.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
