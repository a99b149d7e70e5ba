"""What `vidpred sample` writes for a generator of points in the plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vidpred.data.worlds.points import EXTENT, POINTS, to_points
from vidpred.errors import ConfigError
from vidpred.files import atomic_write, check_output
from vidpred.inference.sample_images import Sampler

COUNT = 2500  # by default
SUFFIXES = (".png", ".npz")


def write_points(sampler: Sampler, count: int | None, output: Path, overwrite: bool) -> str:
    """Write samples as coordinates (.npz) or as a plot with the Gaussians of the data (.png); return a line about it.

    Raises:
        ConfigError: The suffix is another.
        StorageError: The output exists, or cannot be written.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"[--output {output}] the run generates points of the plane; give an .npz or a .png file")
    check_output(output, overwrite, "--output", SUFFIXES)
    points = to_points(torch.stack([image for _, image, _ in sampler.samples(count or COUNT)]))
    with atomic_write(output) as temporary:
        if output.suffix.lower() == ".npz":
            np.savez_compressed(temporary, points=points)
        else:
            _plot(temporary, points, POINTS[sampler.predictor.data.world_settings.name].centers)
    return f"{output}: {len(points):,} points of the plane"


def _plot(path: Path, points: np.ndarray, centers: np.ndarray) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(centers[:, 0], centers[:, 1], s=90, facecolors="none", edgecolors="tab:green", label="data")
    axes.scatter(points[:, 0], points[:, 1], s=3, label="samples")
    axes.set(xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT), aspect="equal")
    axes.legend(loc="upper right", fontsize=8)
    figure.savefig(path, format="png")
