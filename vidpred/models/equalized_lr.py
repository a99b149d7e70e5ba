"""Building blocks of progressive growing (Karras et al. 2018) and StyleGAN (Karras et al. 2019)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from vidpred.models.multiscale import as_channels_last

RELU_GAIN, SLOPE, EPSILON = math.sqrt(2), 0.2, 1e-8


class EqualizedLinear(nn.Module):
    """Linear layer with equalized learning rate (Karras et al. 2018, section 4.1).

    Weights are stored as N(0, 1) and scaled by gain / sqrt(inputs) at every use, so that all layers learn at the same
    rate. `rate` scales this layer's learning rate relative to the others.
    """

    def __init__(
        self, features: int, width: int, gain: float = RELU_GAIN, rate: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, features) / rate)
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale, self.rate = gain / math.sqrt(features) * rate, rate

    def forward(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.weight * self.scale, self.bias * self.rate)


class EqualizedConv(nn.Module):
    """Size-preserving convolution with equalized learning rate, like `EqualizedLinear`."""

    def __init__(self, channels: int, width: int, kernel: int, gain: float = RELU_GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale, self.padding = gain / math.sqrt(channels * kernel**2), kernel // 2

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv2d(as_channels_last(features), self.weight * self.scale, self.bias, padding=self.padding)


def leaky(features: Tensor) -> Tensor:
    """Apply LeakyReLU with slope 0.2 to features of any shape."""
    return functional.leaky_relu(features, SLOPE)


def pixel_norm(features: Tensor) -> Tensor:
    """Return a / sqrt(mean of a^2 over the channels + 1e-8) at every pixel (Karras et al. 2018, section 4.2)."""
    return features * torch.rsqrt(features.float().square().mean(1, keepdim=True) + EPSILON).to(features)


def minibatch_std(features: Tensor, group: int = 4) -> Tensor:
    """Append the minibatch standard deviation to features as one more plane (Karras et al. 2018, section 3).

    Args:
        features: `(B, C, H, W)`.
        group: Number of samples in a group; samples b, b + B / group, ... form one.

    Returns:
        `(B, C + 1, H, W)`: the plane holds the standard deviation over the group, averaged over channels and pixels.
    """
    group = min(group, len(features))
    while len(features) % group:
        group -= 1
    grouped = features.float().unflatten(0, (group, -1))
    std = (grouped.var(0, correction=0) + EPSILON).sqrt().mean((1, 2, 3))  # of each group
    plane = std.repeat(group)[:, None, None, None].expand(-1, 1, *features.shape[2:])
    return torch.cat([features, plane.to(features)], 1)


def adaptive_instance_norm(features: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Normalize every channel of every sample over its pixels, then scale and shift it (AdaIN).

    Karras et al. 2019, equation 1.

    Args:
        features: `(B, C, H, W)`.
        scale: `(B, C)`.
        bias: `(B, C)`.
    """
    values = features.float()
    mean, variance = values.mean((2, 3), keepdim=True), values.var((2, 3), correction=0, keepdim=True)
    normed = (values - mean) * torch.rsqrt(variance + EPSILON)
    return (normed * scale[:, :, None, None] + bias[:, :, None, None]).to(features)


class Growing(nn.Module):
    """Base class of networks that start at 4x4 pixels and grow by doubling.

    The buffer `progress` counts whole scales; a value between k - 1 and k is the share of scale k faded in.
    """

    progress: Tensor

    def prepare_growth(self, doublings: int, growing: bool) -> None:
        """Register the buffer `progress`: 0 (4x4 pixels) if growing, else `doublings` (full size)."""
        self.doublings, self.growing = doublings, growing
        self.register_buffer("progress", torch.tensor(0.0 if growing else float(doublings)))

    def grow(self, share: float) -> None:
        """Set `progress` for a share, in [0, 1], of the training.

        4x4 is trained first, then every scale is faded in and trained, equally long each.
        """
        if self.growing:
            self.progress.fill_(progress_at(share, self.doublings))

    @property
    def pixel_repeat(self) -> int:
        """Side, in pixels of the full-size image, of a pixel at the finest active scale."""
        return 1 << (self.doublings - self.stage()[0])

    def stage(self) -> tuple[int, float]:
        """Return the finest active scale (0: 4x4, 1: 8x8, ...) and the share in [0, 1] of it that is faded in."""
        progress = float(self.doublings) if self.progress.is_meta else float(self.progress)
        level = math.ceil(progress)
        return level, 1.0 if level == progress else progress - (level - 1)


def progress_at(share: float, doublings: int) -> float:
    """Return the growth, in [0, doublings], at a share in [0, 1] of the training.

    It is 0 up to 1 / (2n + 1), then for each of n doublings an equal rise and rest.
    """
    phase = share * (2 * doublings + 1)
    level = min(doublings, int((phase + 1) // 2))
    return level - 1 + min(1.0, phase - (2 * level - 1)) if level else 0.0


def feature_maps(width: int, level: int) -> int:
    """Return min(16 width / 2^level, width), the feature maps at 4 * 2^level pixels per side.

    For width 512 the papers have min(4096 / 2^level, 512), which is half of that from 64x64 on (Karras et al. 2018,
    table 2).
    """
    return max(1, min(16 * width >> level, width))
