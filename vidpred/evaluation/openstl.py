"""Measures in the conventions of OpenSTL (Tan et al. 2023, arXiv 2306.11249), so that numbers can be set beside theirs.

Their errors are sums over channels and pixels, so they grow with the size of the image; their SSIM is scikit-image's
with its defaults (7x7 uniform window, sample covariance) and, for images in [0, 1], a data range of 2, which gives
higher values than a range of 1. Every measure takes a prediction and a target `(N, C, H, W)` float in [0, 1] and
returns `(N,)` float32. The arithmetic is float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor

from vidpred.evaluation.metrics import similarity

SSIM_SIDE = 7
DATA_RANGE = 2.0  # of float images, as scikit-image assumed it where none was given
SAMPLE = SSIM_SIDE**2 / (SSIM_SIDE**2 - 1)  # for the covariance of a sample
SSIM_CONSTANTS = ((0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2)


def mse_sum(prediction: Tensor, target: Tensor) -> Tensor:
    """Squared error summed over channels and pixels; lower is better."""
    return (prediction.double() - target.double()).square().sum((1, 2, 3)).float()


def mae_sum(prediction: Tensor, target: Tensor) -> Tensor:
    """Absolute error summed over channels and pixels; lower is better."""
    return (prediction.double() - target.double()).abs().sum((1, 2, 3)).float()


def ssim(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity, mean over channels and whole windows; 1 for equal images."""
    values = similarity(prediction.double(), target.double(), _uniform_mean, SSIM_CONSTANTS, SAMPLE)
    return values.mean((1, 2, 3)).float()


def _uniform_mean(planes: Tensor) -> Tensor:
    return functional.avg_pool2d(planes, SSIM_SIDE, stride=1)


def psnr(prediction: Tensor, target: Tensor) -> Tensor:
    """20 log10(1 / root mean squared error), peak 1; infinite for equal images."""
    error = (prediction.double() - target.double()).square().mean((1, 2, 3))
    return (-10 * torch.log10(error)).float()
