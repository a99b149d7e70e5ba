"""Image pyramids of any height and width (average pooling down, nearest neighbor up), padding and clamping."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from einops import rearrange
from torch import Tensor


def pad_to_multiple(frames: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of `(..., H, W)` until H and W are multiples of `multiple`."""
    height, width = frames.shape[-2:]
    if torch.compiler.is_exporting():  # without a branch on the size, which is a symbol then
        for dim, side in ((-2, height), (-1, width)):
            places = torch.arange((side + multiple - 1) // multiple * multiple, device=frames.device)
            frames = frames.index_select(dim, places.clamp(max=side - 1))
        return frames
    bottom, right = -height % multiple, -width % multiple
    if not (bottom or right):
        return frames
    flat = frames.reshape(-1, 1, height, width)
    padded = functional.pad(flat, (0, right, 0, bottom), mode="replicate")
    return padded.reshape(*frames.shape[:-2], *padded.shape[-2:])


def crop(frames: Tensor, height: int, width: int) -> Tensor:
    """Return the upper left part of `(..., H, W)`, which undoes `pad_to_multiple`."""
    if torch.compiler.is_exporting():  # a slice would compare sizes, which are symbols then
        rows, columns = (torch.arange(side, device=frames.device) for side in (height, width))
        return frames.index_select(-2, rows).index_select(-1, columns)
    return frames[..., :height, :width]


def build_pyramid(frames: Tensor, num_scales: int) -> list[Tensor]:
    """Return a clip `(B, T, C, H, W)` at `num_scales` scales, coarse to fine.

    Scale k of n has 1/2^(n-k) of the resolution, by average pooling of the full-resolution clip, so all scales show the
    same image. H and W are first padded to a multiple of 2^(n-1); the finest scale is padded too.
    """
    frames = pad_to_multiple(frames, 2 ** (num_scales - 1))
    batch = frames.shape[0]
    flat = rearrange(frames, "b t c h w -> b (t c) h w")
    pyramid = [flat]
    for level in range(1, num_scales):
        pyramid.append(functional.avg_pool2d(flat, 2**level))
    channels = frames.shape[2]
    return [rearrange(scale, "b (t c) h w -> b t c h w", b=batch, c=channels) for scale in reversed(pyramid)]


def clamp_straight_through(images: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Clamp images with the gradient of the identity: values outside can return, where a clamp's gradient is 0."""
    clamped = images.clamp(low, high)
    return clamped.detach() + (images - images.detach()) if torch.is_grad_enabled() else clamped


def upsample(images: Tensor) -> Tensor:
    """Double the resolution of `(B, C, H, W)` by nearest neighbor."""
    return functional.interpolate(images, scale_factor=2, mode="nearest")


def as_pyramid(images: list[Tensor] | Tensor) -> list[Tensor]:
    """Return a generator's output as a list, coarse to fine: frames `(B, K, C, H, W)` become a list of one."""
    return list(images) if isinstance(images, list | tuple) else [images]


def pyramid_shapes(frames: Tensor, num_scales: int) -> list[tuple[int, ...]]:
    """Return the shapes of predictions of `frames` `(B, K, C, H, W)` at `num_scales` scales, coarse to fine.

    They match `build_pyramid` except for the finest scale, which is not padded.
    """
    *leading, height, width = frames.shape
    multiple = 2 ** (num_scales - 1)
    padded = [side + -side % multiple for side in (height, width)]
    coarse = [(*leading, *(side >> level for side in padded)) for level in range(num_scales - 1, 0, -1)]
    return [*coarse, tuple(frames.shape)]


def check_pyramid(images: list[Tensor], frames: Tensor, num_scales: int | None) -> None:
    """Check that images are predictions of `frames`: losses would silently broadcast other shapes.

    Args:
        images: Predictions, coarse to fine.
        frames: `(B, K, C, H, W)`.
        num_scales: Number of scales that the adversary scores; None: any number.

    Raises:
        ValueError: The shapes differ; the message has both.
    """
    expected = pyramid_shapes(frames, num_scales or len(images) or 1)
    found = [tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__ for image in images]
    if found != expected:
        kind = "tensors (B, K, C, H, W), coarse to fine, of" if len(expected) > 1 else "(B, K, C, H, W) ="
        raise ValueError(
            f"the generator must return {kind} {', '.join(map(str, expected))}; "
            f"it returned {', '.join(map(str, found)) or 'nothing'}"
        )
