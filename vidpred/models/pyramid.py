"""Image pyramids: average pooling down, nearest neighbour up, any height and width."""

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
    the same image. H and W are first padded to a multiple of 2^(n-1); the finest scale is padded too.
    """
    frames = pad_to_multiple(frames, 2 ** (num_scales - 1))
    batch = frames.shape[0]
    flat = rearrange(frames, "b t c h w -> b (t c) h w")
    pyramid = [flat]
    for level in range(1, num_scales):
        pyramid.append(functional.avg_pool2d(flat, 2**level))
    channels = frames.shape[2]
    return [rearrange(scale, "b (t c) h w -> b t c h w", b=batch, c=channels) for scale in reversed(pyramid)]


def upsample(images: Tensor) -> Tensor:
    """Double the resolution of `(B, C, H, W)` by nearest neighbour."""
    return functional.interpolate(images, scale_factor=2, mode="nearest")


def as_pyramid(images: list[Tensor] | Tensor) -> list[Tensor]:
    """A generator of one scale may return its frames `(B, K, C, H, W)` without a list."""
    return list(images) if isinstance(images, list | tuple) else [images]


def pyramid_shapes(frames: Tensor, num_scales: int) -> list[tuple[int, ...]]:
    """The shapes that predictions of `frames` `(B, K, C, H, W)` have at `num_scales` scales, coarse to fine: those of
    `build_pyramid`, but for the finest, which is not padded."""
    *leading, height, width = frames.shape
    multiple = 2 ** (num_scales - 1)
    padded = [side + -side % multiple for side in (height, width)]
    coarse = [(*leading, *(side >> level for side in padded)) for level in range(num_scales - 1, 0, -1)]
    return [*coarse, tuple(frames.shape)]


def check_pyramid(images: list[Tensor], frames: Tensor, num_scales: int | None) -> None:
    """Whether these are predictions of `frames` `(B, K, C, H, W)`: losses would broadcast other shapes in silence.

    num_scales: how many the adversary judges; None: any number. Raises ValueError with the expected and found shapes.
    """
    expected = pyramid_shapes(frames, num_scales or len(images) or 1)
    found = [tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__ for image in images]
    if found != expected:
        kind = "tensors (B, K, C, H, W), coarse to fine, of" if len(expected) > 1 else "(B, K, C, H, W) ="
        raise ValueError(
            f"the generator must return {kind} {', '.join(map(str, expected))}; "
            f"it returned {', '.join(map(str, found)) or 'nothing'}"
        )
