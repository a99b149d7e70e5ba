"""Metrics in the conventions of OpenSTL (Tan et al. 2023, arXiv 2306.11249), comparable with its published numbers.

Its errors are sums over channels and pixels, so they grow with the size of the image; its SSIM is scikit-image's with
default settings (7x7 uniform window, sample covariance) and, for images in [0, 1], a data range of 2, which gives
higher values than a range of 1. Every metric takes a prediction and a target `(N, C, H, W)` float in [0, 1] and returns
`(N,)` float32. The arithmetic is float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from vidpred.evaluation.metrics import similarity

SSIM_SIDE = 7
DATA_RANGE = 2.0  # the default of scikit-image for float images
SAMPLE = SSIM_SIDE**2 / (SSIM_SIDE**2 - 1)  # from population to sample covariance
SSIM_CONSTANTS = ((0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2)


def mse_sum(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the squared error summed over channels and pixels of `(N, C, H, W)`: `(N,)`; lower is better."""
    return (prediction.double() - target.double()).square().sum((1, 2, 3)).float()


def mae_sum(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the absolute error summed over channels and pixels of `(N, C, H, W)`: `(N,)`; lower is better."""
    return (prediction.double() - target.double()).abs().sum((1, 2, 3)).float()


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute structural similarity of `(N, C, H, W)`, averaged over channels and whole windows: `(N,)`, 1 if equal."""
    values = similarity(prediction.double(), target.double(), _uniform_mean, SSIM_CONSTANTS, SAMPLE)
    return values.mean((1, 2, 3)).float()


def _uniform_mean(planes: Tensor) -> Tensor:
    return functional.avg_pool2d(planes, SSIM_SIDE, stride=1)


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute 20 log10(1 / root mean squared error) dB of `(N, C, H, W)` in [0, 1]: `(N,)`; infinite if equal."""
    error = (prediction.double() - target.double()).square().mean((1, 2, 3))
    return (-10 * torch.log10(error)).float()
