"""The Frechet distance between Gaussians fitted to two sets of features: the arithmetic of FID and FVD."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Moments:
    """Mean and covariance of features, accumulated batch by batch in float64."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, features: Tensor) -> None:
        """Add features `(N, F)`, with the same F in every call."""
        features = features.detach().double().cpu()
        if not self.count:
            self.origin = features[0]  # subtracted before summing, so that large means do not swallow small variances
            self.total = torch.zeros_like(self.origin)
            self.products = torch.zeros(len(self.origin), len(self.origin), dtype=torch.float64)
        apart = features - self.origin
        self.count += len(features)
        self.total += apart.sum(0)
        self.products += apart.T @ apart

    @property
    def mean(self) -> Tensor:
        """The mean of all features so far, `(F,)`."""
        return self.origin + self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """The covariance `(F, F)`, with N - 1 in the denominator."""
        return (self.products - torch.outer(self.total, self.total) / self.count) / (self.count - 1)


def distance(first: Moments, second: Moments) -> float:
    """Compute the `frechet_distance` between two sets of features; NaN where one has fewer than two."""
    if min(first.count, second.count) < 2:
        return math.nan
    return frechet_distance(first.mean, first.covariance, second.mean, second.covariance)


def distance_of(one: Tensor, other: Tensor) -> float:
    """Compute the Fréchet distance between Gaussians fitted to two sets of features `(N, F)`, as FID and FVD do."""
    sets = Moments(), Moments()
    for moments, features in zip(sets, (one, other), strict=True):
        moments.add(features)
    return distance(*sets)


def frechet_distance(mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor) -> float:
    """Compute |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson & Landau 1982; Heusel et al. 2017, equation 6).

    The trace of the root is computed from S C2 S with S = C1^(1/2), which has the eigenvalues of C1 C2 and is
    symmetric: no complex roots, no added epsilon.

    Args:
        mean_1: `(F,)`.
        covariance_1: `(F, F)`, symmetric.
        mean_2: `(F,)`.
        covariance_2: `(F, F)`, symmetric.

    Returns:
        The squared distance, at least 0.
    """
    values, vectors = torch.linalg.eigh(covariance_1.double())
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    between = torch.linalg.eigvalsh(root @ covariance_2.double() @ root).clamp(min=0).sqrt().sum()
    apart = (mean_1.double() - mean_2.double()).square().sum()
    return max(0.0, float(apart + covariance_1.double().trace() + covariance_2.double().trace() - 2 * between))
