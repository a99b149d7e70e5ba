"""Toy worlds of points in the plane, for counting missed modes: eight Gaussians on a ring, or twenty-five on a grid.

A point is an image of one column and two rows, `(1, 2, 1)`: its coordinates, scaled from [-5, 5] to [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vidpred.data.batch import Batch
from vidpred.data.counter_random import uniform
from vidpred.data.sources import Source

EXTENT = 5.0  # half the side of the square that images cover


@dataclass(frozen=True)
class Gaussians:
    """A mixture of equally likely isotropic Gaussians.

    Attributes:
        centers: `(modes, 2)`.
        std: Standard deviation of each coordinate.
    """

    centers: np.ndarray
    std: float

    def sample(self, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert uniform numbers to points.

        Args:
            chances: `(N, 3)` in [0, 1); one column chooses the Gaussian, two yield normal numbers (Box & Muller 1958).

        Returns:
            Points `(N, 2)` and the index of the Gaussian of each, `(N,)`.
        """
        modes = (chances[:, 0] * len(self.centers)).astype(np.int64)
        radius = np.sqrt(-2 * np.log(1 - chances[:, 1])) * self.std
        angle = 2 * np.pi * chances[:, 2]
        return self.centers[modes] + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), modes


_ANGLES = np.arange(8) * np.pi / 4
_GRID = np.arange(-4.0, 5.0, 2.0)
POINTS: dict[str, Gaussians] = {
    # Metz et al. 2017, "Unrolled generative adversarial networks", appendix A: radius 2, standard deviation 0.02.
    "eight_gaussians": Gaussians(2 * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1), 0.02),
    # Srivastava et al. 2017, "VEEGAN", section 4.1: a grid from -4 to 4, standard deviation 0.05.
    "twenty_five_gaussians": Gaussians(np.stack(np.meshgrid(_GRID, _GRID), -1).reshape(-1, 2), 0.05),
}


def to_images(points: np.ndarray) -> np.ndarray:
    """Convert points `(N, 2)` to images `(N, 1, 2, 1)`, float32 clipped to [0, 1]."""
    return np.clip((points + EXTENT) / (2 * EXTENT), 0, 1).astype(np.float32)[:, None, :, None]


def to_points(images: torch.Tensor) -> np.ndarray:
    """Convert images `(N, 1, 2, 1)` in [0, 1] to points `(N, 2)` float64, the inverse of `to_images`."""
    return images.reshape(-1, 2).double().numpy() * 2 * EXTENT - EXTENT


class PointWindows(Source):
    """A source of points, named by a key of `POINTS`; the class of a point is its Gaussian."""

    context_frames = 0

    def __init__(self, name: str, count: int, seed: int) -> None:
        self.name, self.world, self.count, self.seed = name.replace("_", " "), POINTS[name], count, seed
        self.classes = [str(number) for number in range(len(self.world.centers))]
        self.labels = self.world.sample(uniform(seed, np.arange(count), 3))[1]

    def __len__(self) -> int:
        return self.count

    def window(self, index: int) -> np.ndarray:
        """Return a point as `(n, H, W, C)` = `(1, 2, 1, 1)` float32 in [0, 1]."""
        points, _ = self.world.sample(uniform(self.seed, np.array([index]), 3))
        return to_images(points).transpose(0, 2, 3, 1)

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        points, modes = self.world.sample(uniform(self.seed, np.asarray(windows), 3))
        future = torch.from_numpy(to_images(points))[:, None]
        return Batch(future[:, :0], future, torch.tensor(positions), labels=torch.from_numpy(modes))
