"""Picture pyramids: average pooling down, nearest neighbour up, any height and width."""

from __future__ import annotations

import torch.nn.functional as functional
from einops import rearrange
from torch import Tensor


def pad_to_multiple(frames: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of `(..., H, W)` until both are multiples of `multiple`."""
    height, width = frames.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not (bottom or right):
        return frames
    flat = frames.reshape(-1, 1, height, width)
    padded = functional.pad(flat, (0, right, 0, bottom), mode="replicate")
    return padded.reshape(*frames.shape[:-2], *padded.shape[-2:])


def build_pyramid(frames: Tensor, num_scales: int) -> list[Tensor]:
    """The clip at every scale, coarse to fine: `(B, T, C, H, W)` -> `num_scales` tensors.

    Scale k of n has 1/2^(n-k) of the resolution, by average pooling of the full-resolution clip, so every scale sees
    the same picture. H and W are first padded to a multiple of 2^(n-1); the finest scale is padded too.
    """
    frames = pad_to_multiple(frames, 2 ** (num_scales - 1))
    batch = frames.shape[0]
    flat = rearrange(frames, "b t c h w -> b (t c) h w")
    pyramid = [flat]
    for level in range(1, num_scales):
        pyramid.append(functional.avg_pool2d(flat, 2**level))
    channels = frames.shape[2]
    return [rearrange(scale, "b (t c) h w -> b t c h w", b=batch, c=channels) for scale in reversed(pyramid)]


def upsample(pictures: Tensor) -> Tensor:
    """Double the resolution of `(B, C, H, W)` by nearest neighbour."""
    return functional.interpolate(pictures, scale_factor=2, mode="nearest")


def as_pyramid(pictures: list[Tensor] | Tensor) -> list[Tensor]:
    """A generator of one scale may return its frames `(B, K, C, H, W)` without a list."""
    return [pictures] if isinstance(pictures, Tensor) else pictures
