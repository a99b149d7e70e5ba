"""Scores of generated images by the features of any network, and tests for copies. Pure functions, in float64.

With Inception's features these are the Frechet inception distance and the inception score; with any other network they
are the same statistics on other features: comparable only with themselves, and not to be called by those names.
"""

from __future__ import annotations

import math
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
