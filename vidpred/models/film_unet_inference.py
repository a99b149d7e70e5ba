"""Layers of the forward pass of `FilmUnet` in bfloat16 on CPUs, which takes about half the time of autocast.

Features stay in rows of channels, `(B, H, W, C)`, the layout in which oneDNN convolves bfloat16 fastest. In that layout
PyTorch's group normalization takes longer than the convolutions. Here, its moments come from matrix products, and
normalization and FiLM are one multiplication and addition over long rows. float32 would gain nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Self

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

ROW = 16  # pixels in a row of elementwise operations; PyTorch is slow on rows of a few channels


@dataclass(frozen=True)
class Layer:
    """A convolution, followed by group normalization or not, in the precision of inference.

    Attributes:
        weight: Weight of the convolution, channels last.
        bias: `(C,)`.
        norm: The group normalization, or None.
    """

    weight: Tensor
    bias: Tensor
    norm: nn.GroupNorm | None

    @classmethod
    def of(cls, module: nn.Module, dtype: torch.dtype) -> Self:
        """Build the layer from a 3x3 convolution, or a sequence of it and its group normalization, in a dtype."""
        parts = list(module) if isinstance(module, nn.Sequential) else [module]
        plain, norm = parts[0], parts[1] if len(parts) > 1 else None
        assert isinstance(plain, nn.Conv2d)
        assert plain.bias is not None
        assert norm is None or isinstance(norm, nn.GroupNorm)
        weight = plain.weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        return cls(weight, plain.bias.detach().to(dtype), norm)

    def convolve(self, rows: Tensor) -> Tensor:
        """Convolve `(B, H, W, C)` with zero padding to `(B, H, W, width)`, without the normalization."""
        found = functional.conv2d(rows.permute(0, 3, 1, 2), self.weight, self.bias, padding=1)
        return found.permute(0, 2, 3, 1).contiguous()

    def __call__(self, rows: Tensor, film: Tensor | None) -> Tensor:
        """Convolve, normalize, modulate by FiLM's factor and offset `(B, 2 C)`, and rectify."""
        rows = self.convolve(rows)
        affine = None if self.norm is None else group_affine(rows, self.norm)
        if film is not None:
            scale, shift = film.chunk(2, 1)
            affine = (scale, shift) if affine is None else (affine[0] * scale, torch.addcmul(shift, affine[1], scale))
        if affine is not None:
            rows = _affine(rows, *affine)
        return functional.relu_(rows)


def group_affine(rows: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """Return the factor and the offset of each channel, `(B, C)` float32, that group normalization amounts to.

    Args:
        rows: `(B, H, W, C)`.
        norm: The normalization.
    """
    batch, height, width, channels = rows.shape
    groups, size = norm.num_groups, height * width * channels // norm.num_groups
    pixels = rows.view(batch, height * width, channels)
    sums = torch.bmm(rows.new_ones(1, 1, height * width).expand(batch, -1, -1), pixels).view(batch, groups, -1)
    squares = torch.bmm(pixels.transpose(1, 2), pixels).diagonal(dim1=1, dim2=2).unflatten(1, (groups, -1))
    mean = sums.sum(2, dtype=torch.float32).div_(size)
    variance = torch.addcmul(squares.sum(2, dtype=torch.float32).div_(size), mean, mean, value=-1)
    inverse = variance.clamp_min_(0).add_(norm.eps).rsqrt_()
    factor = inverse[:, :, None] * norm.weight.view(groups, -1)
    offset = torch.addcmul(norm.bias.view(groups, -1), mean[:, :, None], factor, value=-1)
    return factor.view(batch, channels), offset.view(batch, channels)


def _affine(rows: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
    """Compute factor * rows + offset with a factor and an offset for each channel, `(B, C)`."""
    batch, height, width, channels = rows.shape
    count = gcd(height * width, ROW)
    long = rows.new_empty(2, batch, count, channels)
    long[0].copy_(factor[:, None])
    long[1].copy_(offset[:, None])
    factors, offsets = long.view(2, batch, 1, -1)
    return torch.addcmul(offsets, rows.view(batch, -1, count * channels), factors).view(rows.shape)


def upsampled_rows(coarse: Tensor, finer: Tensor) -> Tensor:
    """Repeat each pixel of `(B, H, W, C)` in 2 x 2, and append the channels of `(B, 2 H, 2 W, D)`."""
    batch, height, width, channels = coarse.shape
    joined = coarse.new_empty(batch, 2 * height, 2 * width, channels + finer.shape[-1])
    joined.view(batch, height, 2, width, 2, -1)[..., :channels].copy_(coarse[:, :, None, :, None])
    joined[..., channels:].copy_(finer)
    return joined
