"""Sharpness that does not depend on the position of details: gradient energy, and distances of patch distributions.

PSNR and SSIM compare details at the same position, so a blurred mean of the possible futures scores well. These numbers
compare the amount and the kind of detail with the true frame. Copying the last frame scores nearly perfectly, so they
are meaningful only together with a metric that depends on position.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from vidpred.models.optical_flow import dense_flow, warp_backward

LEVELS = 3
PATCH = 7  # pixels
PROJECTIONS = 96
LEAST_SIDE = PATCH * 2 ** (LEVELS - 1)
BINOMIAL = (1.0, 4.0, 6.0, 4.0, 1.0)  # the kernel of Burt & Adelson 1983, to be divided by 16


def gradient_energy(images: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the mean of (I[i+1, j] - I[i, j])² + (I[i, j+1] - I[i, j])² over pixels and channels: the detail.

    Args:
        images: `(N, C, H, W)` float in [0, 1], at least 2 pixels a side. The last row and the last column, which lack
            a neighbor, do not count.
        mask: The pixels that count, `(N, H, W)` bool; None: all.

    Returns:
        `(N,)` float64; NaN where the mask has no pixel.
    """
    if images.ndim != 4 or min(images.shape[-2:]) < 2:
        raise ValueError(f"images must be (N, C, H, W) of at least 2 pixels a side, not {tuple(images.shape)}")
    values = images.double()
    down = values.diff(dim=-2)[..., :, :-1]
    right = values.diff(dim=-1)[..., :-1, :]
    energy = (down.square() + right.square()).mean(1)
    if mask is None:
        return energy.mean((1, 2))
    inner = mask[:, :-1, :-1]
    return energy.where(inner, 0).sum((1, 2)) / inner.sum((1, 2))


def gradient_energy_ratio(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the `gradient_energy` of a prediction over that of the true frame.

    Args:
        prediction: `(N, C, H, W)` float in [0, 1].
        target: True frames of the same shape.
        mask: The pixels that count, `(N, H, W)` bool; None: all.

    Returns:
        `(N,)` float64: 1 for as much as the true frame, below 1 for blur, above 1 for noise or false detail; NaN or
        infinite where the true frame is flat.
    """
    return gradient_energy(prediction, mask) / gradient_energy(target, mask)


def laplacian_pyramid(images: Tensor, levels: int = LEVELS) -> list[Tensor]:
    """Split images into bands, fine to coarse (Burt & Adelson 1983).

    Every band except the last is an image minus its blurred, halved and enlarged copy; the last is the remainder. The
    kernel is the binomial [1 4 6 4 1] / 16 in both directions; borders are reflected.

    Args:
        images: `(N, C, H, W)` float, at least 3 pixels a side at every level.
        levels: Number of bands.

    Returns:
        `levels` tensors `(N, C, ⌈H / 2^l⌉, ⌈W / 2^l⌉)`.
    """
    bands = []
    for _ in range(levels - 1):
        halved = blur(images)[..., ::2, ::2]
        bands.append(images - enlarge(halved, images.shape[-2], images.shape[-1]))
        images = halved
    return [*bands, images]


def blur(images: Tensor) -> Tensor:
    """Convolve images `(N, C, H, W)` with the 5x5 binomial kernel, with reflected borders; the shape is kept."""
    weights = images.new_tensor(BINOMIAL) / 16
    kernel = (weights[:, None] * weights).expand(images.shape[1], 1, 5, 5)
    padded = functional.pad(images, (2, 2, 2, 2), mode="reflect")
    return functional.conv2d(padded, kernel, groups=images.shape[1])


def enlarge(images: Tensor, height: int, width: int) -> Tensor:
    """Double the size to `(N, C, height, width)`: insert zeros between the pixels, blur, multiply by 4."""
    spread = images.new_zeros(*images.shape[:2], height, width)
    spread[..., ::2, ::2] = images
    return 4 * blur(spread)


def sliced_wasserstein(prediction: Tensor, target: Tensor, seed: int = 0) -> Tensor:
    """Compute the distance between the distributions of patches in a prediction and in the true frame.

    As Karras et al. 2018 (arXiv 1710.10196, section 5), with every patch of one image instead of a sample of many: the
    7x7 patches of each level of a three-level Laplacian pyramid, channels standardized by the true frame's mean and
    standard deviation at that level, are projected to 96 random directions; the distance is the mean absolute
    difference of the sorted projections, averaged over directions and levels.

    Args:
        prediction: `(N, C, H, W)` float in [0, 1], at least 28 pixels a side.
        target: True frames of the same shape.
        seed: Seed of the directions, which are the same for all images.

    Returns:
        `(N,)` float32, 0 for equal distributions.
    """
    if prediction.shape != target.shape or prediction.ndim != 4:
        shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        raise ValueError(f"prediction and target must both be (N, C, H, W) of one shape, not {shapes}")
    if min(target.shape[-2:]) < LEAST_SIDE:
        raise ValueError(f"images must have at least {LEAST_SIDE} pixels a side, not {tuple(target.shape[-2:])}")
    random = torch.Generator().manual_seed(seed)
    directions = torch.randn(PROJECTIONS, target.shape[1], PATCH, PATCH, generator=random).to(target.device)
    directions = directions / directions.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    distances = []
    pairs = zip(laplacian_pyramid(prediction.float()), laplacian_pyramid(target.float()), strict=True)
    for predicted, true in pairs:
        mean = true.mean((2, 3), keepdim=True)
        deviation = true.std((2, 3), keepdim=True, unbiased=False).clamp(min=1e-4)  # a flat band stays flat
        projections = [
            ascending(functional.conv2d((band - mean) / deviation, directions).flatten(2)) for band in (predicted, true)
        ]
        distances.append((projections[0] - projections[1]).abs().mean((1, 2)))
    return torch.stack(distances).mean(0)


def ascending(values: Tensor) -> Tensor:
    """Sort along the last dimension, with NumPy on a CPU: about 14 times as fast as torch (8 x 96 x 11,250 values)."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.sort(values.detach().numpy(), axis=-1))
    return values.sort(-1).values


def warp_error(before: Tensor, after: Tensor) -> Tensor:
    """Compute the error between a frame and the previous one, warped along the optical flow between them.

    Args:
        before: `(N, C, H, W)` float in [0, 1], C = 1 or 3.
        after: The next frames, of the same shape.

    Returns:
        `(N,)` float32, the root mean squared difference: flicker, torn edges and other change not explained by motion.
    """
    moved = warp_backward(before, dense_flow(after, before))
    return (after.float() - moved).square().mean((1, 2, 3)).sqrt()
