"""Mode coverage of a generator of points in a world of Gaussians (Srivastava et al. 2017, "VEEGAN", section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vidpred.data.worlds.points import Gaussians, to_points
from vidpred.models.base import Generator
from vidpred.models.conditions import Conditions
from vidpred.models.noise import seeded_noise
from vidpred.models.pyramid import as_pyramid

POINTS, GOOD = 2500, 3.0  # points to draw; maximum distance of a good one from a center, in standard deviations


@dataclass(frozen=True)
class Coverage:
    """Coverage of a world of Gaussians by points; a good point lies within `GOOD` standard deviations of a center.

    Attributes:
        modes_covered: Number of Gaussians with at least one good point.
        high_quality_share: Share of good points.
        divergence: KL(share of each Gaussian among the good points | equal shares), 0 for equal shares; infinite
            without good points.
    """

    modes_covered: int
    high_quality_share: float
    divergence: float

    def logged(self) -> dict[str, float]:
        """Return the numbers by the names that training logs, which stay the same for runs of any age."""
        return {"covered": float(self.modes_covered), "good": self.high_quality_share, "divergence": self.divergence}


def measure_coverage(points: np.ndarray, world: Gaussians) -> Coverage:
    """Measure which Gaussians of a world points `(N, 2)` cover, and how many points are close to one."""
    distances = np.linalg.norm(points[:, None] - world.centers[None], axis=2)
    good = distances.min(1) <= GOOD * world.std
    counts = np.bincount(distances.argmin(1)[good], minlength=len(world.centers))
    shares = counts[counts > 0] / max(1, counts.sum())
    divergence = float((shares * np.log(shares * len(counts))).sum()) if len(shares) else float("inf")
    return Coverage(int((counts > 0).sum()), float(good.mean()), divergence)


@torch.inference_mode()
def draw_points(generator: Generator, count: int = POINTS, seed: int = 0) -> np.ndarray:
    """Draw points `(count, 2)` from a generator of points, as a function of the seed."""
    noise = seeded_noise(generator, count, seed)
    classes = generator.num_labels
    training = generator.training
    device = next(generator.parameters()).device
    conditions = Conditions(noise.to(device), labels=torch.arange(count, device=device) % classes if classes else None)
    context = generator.empty_context(count, device)
    images = as_pyramid(generator.eval()(context, **conditions.generator_kwargs(generator, 0, 0)))[-1]
    generator.train(training)
    return to_points(images.float().cpu())
