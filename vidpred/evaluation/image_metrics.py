"""Scores of generated images by the features of any network, and tests for copies. Pure functions, in float64.

With Inception's features these are the Frechet and kernel inception distances and the inception score; with any other
network they are the same statistics on other features: comparable only with themselves, and not to be called by those
names.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor


def classifier_score(logits: Tensor, parts: int = 10) -> tuple[float, float]:
    """Compute exp E KL(p(y | x) | p(y)) (Salimans et al. 2016, section 4).

    Args:
        logits: A classifier's logits `(N, K)`.
        parts: Number of parts that the images are split into.

    Returns:
        Mean and standard deviation over the parts, from 1 (all images have the same class probabilities) to K.
    """
    scores = []
    for part in logits.double().chunk(parts):
        log_shares = part.log_softmax(1)
        log_mean = log_shares.logsumexp(0) - math.log(len(part))
        scores.append((log_shares.exp() * (log_shares - log_mean)).sum(1).mean().exp())
    values = torch.stack(scores)
    return float(values.mean()), float(values.std(correction=0))


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over blocks of the squared maximum mean discrepancy (`kernel_distance`)."""

    mean: float
    std: float


def kernel_distance(
    sampled: Tensor, true: Tensor, block: int = 1000, blocks: int = 50, seed: int = 0
) -> KernelDistance:
    """Compute the unbiased squared maximum mean discrepancy with the kernel (<x, y> / F + 1)^3.

    Binkowski et al. 2018, "Demystifying MMD GANs", section 4: unlike the Frechet distance it has no bias that falls
    with the number of images, and may be below 0.

    Args:
        sampled: Features `(N, F)`.
        true: Features `(M, F)`.
        block: Maximum number of features drawn from each set for a block; at most half of the smaller set, so that
            blocks differ.
        blocks: Number of blocks.
        seed: Seed of the draws.

    Raises:
        ValueError: A set has fewer than four features.
    """
    if min(len(sampled), len(true)) < 4:
        raise ValueError("a kernel distance needs at least four features of either set")
    size, generator = min(block, len(sampled) // 2, len(true) // 2), torch.Generator().manual_seed(seed)
    values = []
    for _ in range(blocks):
        pair = [part[torch.randperm(len(part), generator=generator)[:size]].double().cpu() for part in (sampled, true)]
        values.append(squared_discrepancy(*pair))
    return KernelDistance(statistics.fmean(values), statistics.stdev(values) if blocks > 1 else 0.0)


def squared_discrepancy(one: Tensor, other: Tensor) -> float:
    """Return the unbiased estimate of the squared discrepancy of features `(N, F)` and `(M, F)` by one block."""

    def kernel(left: Tensor, right: Tensor) -> Tensor:
        return (left @ right.T / left.shape[1] + 1) ** 3

    within = 0.0
    for part in (one, other):
        values, count = kernel(part, part), len(part)
        within += float(values.sum() - values.trace()) / (count * (count - 1))
    return within - 2 * float(kernel(one, other).mean())


def precision_and_recall(sampled: Tensor, true: Tensor, neighbors: int = 3) -> tuple[float, float]:
    """Compute the shares of samples near true images and of true images near samples.

    Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative models", equations 1 and 2:
    near is within the ball around any member of the other set that reaches its k-th nearest member.

    Args:
        sampled: Features `(N, F)`.
        true: Features `(M, F)`.
        neighbors: k, below N and M.

    Returns:
        Precision and recall, from 0 to 1.

    Raises:
        ValueError: A set has too few features.
    """
    if min(len(sampled), len(true)) <= neighbors:
        raise ValueError(f"{neighbors} neighbors need more features of either set")
    one, other = sampled.double(), true.double()
    return share_within(one, other, neighbors), share_within(other, one, neighbors)


def share_within(points: Tensor, others: Tensor, neighbors: int, block: int = 512) -> float:
    """Return the share of points `(N, F)` within the ball of any of the others `(M, F)`, `block` of them at a time."""
    exact = "donot_use_mm_for_euclid_dist"  # the other way rounds equal points apart
    radii = torch.cat([
        torch.cdist(part, others, compute_mode=exact).kthvalue(neighbors + 1).values for part in others.split(block)
    ])  # fmt: skip
    near = [(torch.cdist(part, others, compute_mode=exact) <= radii).any(1) for part in points.split(block)]
    return float(torch.cat(near).double().mean())


@dataclass(frozen=True)
class Neighbors:
    """The nearest true image of each generated one: its index and its root mean squared distance, `(N,)` each."""

    numbers: Tensor
    distances: Tensor


def nearest_neighbors(generated: Tensor, true: Tensor, block: int = 512) -> Neighbors:
    """Find the nearest of the images (or features) `(M, ...)` for each of `(N, ...)`, `block` of them at a time."""
    flat, reference = generated.flatten(1).double(), true.flatten(1).double()
    found = [torch.cdist(part, reference).min(1) for part in flat.split(block)]
    distances = torch.cat([part.values for part in found]) / math.sqrt(flat.shape[1])
    return Neighbors(torch.cat([part.indices for part in found]), distances)


def memorized_share(generated: Tensor, held_out: Tensor, true: Tensor) -> float:
    """Compute the share of generated images that are nearer to a training image than half of the held-out images are.

    Args:
        generated: `(N, ...)`.
        held_out: `(L, ...)`.
        true: Training images `(M, ...)`.

    Returns:
        1/2 for images as new as the held-out ones, 1 for copies.
    """
    usual = nearest_neighbors(held_out, true).distances.median()
    return float((nearest_neighbors(generated, true).distances < usual).double().mean())
