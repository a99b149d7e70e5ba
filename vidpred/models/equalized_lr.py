"""The parts of progressive growing (Karras et al. 2018) and StyleGAN (Karras et al. 2019), one by one."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from vidpred.models.multiscale import as_channels_last

RELU_GAIN, SLOPE, EPSILON = math.sqrt(2), 0.2, 1e-8


class EqualisedLinear(nn.Module):
    """A linear layer whose weights are N(0, 1) and scaled by gain / sqrt(inputs) whenever they are used, so that every
    layer learns at the same rate (Karras et al. 2018, section 4.1). rate: of its learning as a share of the others'."""

    def __init__(
        self, features: int, width: int, gain: float = RELU_GAIN, rate: float = 1.0, bias: float = 0.0
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, features) / rate)
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale, self.rate = gain / math.sqrt(features) * rate, rate

    def forward(self, features: Tensor) -> Tensor:
        return functional.linear(features, self.weight * self.scale, self.bias * self.rate)


class EqualisedConv(nn.Module):
    """The same for a convolution that keeps the image's size."""

    def __init__(self, channels: int, width: int, kernel: int, gain: float = RELU_GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale, self.padding = gain / math.sqrt(channels * kernel**2), kernel // 2

    def forward(self, features: Tensor) -> Tensor:
        return functional.conv2d(as_channels_last(features), self.weight * self.scale, self.bias, padding=self.padding)


def leaky(features: Tensor) -> Tensor:
    return functional.leaky_relu(features, SLOPE)


def pixel_norm(features: Tensor) -> Tensor:
    """a / sqrt(mean over the channels of a^2 + 1e-8), at every pixel (Karras et al. 2018, section 4.2)."""
    return features * torch.rsqrt(features.float().square().mean(1, keepdim=True) + EPSILON).to(features)


def minibatch_std(features: Tensor, group: int = 4) -> Tensor:
    """`(B, C, H, W)` with one more plane: the standard deviation over each group of samples, the mean of it over all
    channels and pixels (Karras et al. 2018, section 3). Samples b, b + B / group, ... are a group."""
    group = min(group, len(features))
    while len(features) % group:
        group -= 1
    grouped = features.float().unflatten(0, (group, -1))
    deviation = (grouped.var(0, correction=0) + EPSILON).sqrt().mean((1, 2, 3))  # of each group
    plane = deviation.repeat(group)[:, None, None, None].expand(-1, 1, *features.shape[2:])
    return torch.cat([features, plane.to(features)], 1)


def adaptive_instance_norm(features: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """AdaIN (Karras et al. 2019, equation 1): every channel of every sample normalised over its pixels, then
    scale * x + bias. features `(B, C, H, W)`, scale and bias `(B, C)`."""
    values = features.float()
    mean, variance = values.mean((2, 3), keepdim=True), values.var((2, 3), correction=0, keepdim=True)
    normed = (values - mean) * torch.rsqrt(variance + EPSILON)
    return (normed * scale[:, :, None, None] + bias[:, :, None, None]).to(features)


class Growing(nn.Module):
    """Base of networks that begin at 4x4 pixels and grow by doubling. `progress`, a buffer, says how far: k is whole
    scales, what is between k-1 and k the share of scale k that has been faded in."""

    progress: Tensor

    def prepare_growth(self, doublings: int, growing: bool) -> None:
        self.doublings, self.growing = doublings, growing
        self.register_buffer("progress", torch.tensor(0.0 if growing else float(doublings)))

    def grow(self, share: float) -> None:
        """Set `progress` for a share in [0, 1] of the training: 4x4 is trained, then every scale is faded in and
        trained, equally long each."""
        if self.growing:
            self.progress.fill_(progress_at(share, self.doublings))

    @property
    def pixel_repeat(self) -> int:
        """The side, in pixels of the whole image, of a pixel at the finest scale."""
        return 1 << (self.doublings - self.stage()[0])

    def stage(self) -> tuple[int, float]:
        """The finest scale (0: 4x4) and its share."""
        progress = float(self.doublings) if self.progress.is_meta else float(self.progress)
        level = math.ceil(progress)
        return level, 1.0 if level == progress else progress - (level - 1)


def progress_at(share: float, doublings: int) -> float:
    """0 up to share 1 / (2n + 1), then for each scale k a rise from k-1 to k and a rest, as long each."""
    phase = share * (2 * doublings + 1)
    level = min(doublings, int((phase + 1) // 2))
    return level - 1 + min(1.0, phase - (2 * level - 1)) if level else 0.0


def feature_maps(width: int, level: int) -> int:
    """min(16 width / 2^level, width): with width 512 those of the papers, min(8192 / 2^level, 512)."""
    return max(1, min(16 * width >> level, width))
