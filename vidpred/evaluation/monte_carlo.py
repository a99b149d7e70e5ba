"""Monte Carlo estimates of expectations under a model: the mean of a statistic over samples, and its error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from vidpred.errors import ConfigError
from vidpred.evaluation.frechet import Moments
from vidpred.inference.sample_images import AT_ONCE, Sampler

Statistic = Callable[[Tensor], Tensor]  # images (N, C, H, W) in [0, 1] -> (N,)


@dataclass(frozen=True)
class Estimate:
    """The mean of `count` independent values and its standard error, their standard deviation over sqrt(count)."""

    mean: float
    error: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.6g} +- {self.error:.2g} (mean and standard error over {self.count:,} samples)"


def estimate(values: Iterable[Tensor]) -> Estimate:
    """Estimate a mean from independent values in parts `(n,)`.

    Raises:
        ValueError: There are fewer than two values, or some are not finite.
    """
    moments = Moments()
    for part in values:
        if not bool(part.isfinite().all()):
            raise ValueError("the statistic is NaN or infinite for some samples, so it has no mean")
        if len(part):
            moments.add(part[:, None])
    if moments.count < 2:
        raise ValueError(f"a standard error needs two samples or more, not {moments.count}")
    error = (float(moments.covariance[0, 0]) / moments.count) ** 0.5
    return Estimate(float(moments.mean[0]), error, moments.count)


def monte_carlo(sampler: Sampler, statistic: Statistic, count: int) -> Estimate:
    """Estimate the expectation of a statistic of the run's images from `count` samples, a few in memory at a time."""

    def values() -> Iterable[Tensor]:
        held: list[Tensor] = []
        for _, image, _ in sampler.samples(count):
            held.append(image)
            if len(held) == AT_ONCE:
                yield statistic(torch.stack(held))
                held = []
        if held:
            yield statistic(torch.stack(held))

    return estimate(values())


def roughness(images: Tensor) -> Tensor:
    """Compute the mean absolute difference `(N,)` of horizontal and vertical neighbors in images `(N, C, H, W)`."""
    across, down = images.diff(dim=3).abs(), images.diff(dim=2).abs()
    return (across.flatten(1).sum(1) + down.flatten(1).sum(1)) / (across[0].numel() + down[0].numel())


STATISTICS: dict[str, Statistic] = {
    "brightness": lambda images: images.flatten(1).mean(1),
    "contrast": lambda images: images.flatten(1).std(1, correction=0),
    "lit": lambda images: (images > 0.5).flatten(1).float().mean(1),
    "roughness": roughness,
}


def named(name: str) -> Statistic:
    """Return the statistic of that name. Raises ConfigError."""
    if name not in STATISTICS:
        raise ConfigError(f"no such statistic [--statistic {name}]; choose from {', '.join(STATISTICS)}")
    return STATISTICS[name]
