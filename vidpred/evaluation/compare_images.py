"""Compare runs that generate images on one page: a table, samples side by side, nearest training images, curves."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from vidpred.evaluation.images import SHOWN, ImageEvaluation, ImageRequest, evaluate_images
from vidpred.evaluation.training_curves import add_curves
from vidpred.inference.load_models import by_name
from vidpred.inference.predictor import Predictor
from vidpred.inference.sample_grids import draw_samples
from vidpred.inference.sample_images import Sampler, write_grid
from vidpred.media.html_page import Page
from vidpred.media.render import write_png
from vidpred.version import __version__

GRID = 36  # samples of a run without classes on the page
ROW = 10  # samples of each class


def compare_images(predictors: Sequence[Predictor], output: Path, request: ImageRequest) -> ImageEvaluation:
    """Measure image generators against the same images, write the page and return the numbers.

    Args:
        predictors: Runs that generate images, or points.
        output: The page's file.
        request: What to measure.

    Raises:
        ConfigError, DataError: See `evaluate_images`.
        StorageError: The page cannot be written.
    """
    runs = by_name(predictors)
    found = evaluate_images(runs, request)
    page = Page("Comparison of " + ", ".join(runs), lead=_about(predictors, found, request))
    page.heading("Numbers")
    page.table(*found.table())
    page.heading("Definitions")
    for name in found.metrics:
        page.text(f"{name}: {found.definitions[name]}.")
    with tempfile.TemporaryDirectory() as name:
        _add_samples(page, runs, found, request, Path(name))
        add_curves(page, predictors, Path(name))
    page.write(output, f"vidpred {__version__}, torch {torch.__version__}")
    return found


def _about(predictors: Sequence[Predictor], found: ImageEvaluation, request: ImageRequest) -> str:
    data = predictors[0].data
    if data.has_points:
        return f"{found.count:,} points of each run against the Gaussians of {data.world_settings.name}"
    root = request.root or data.root
    return f"{found.count:,} samples of each run against the images of the {request.split} split of {root}"


def _add_samples(
    page: Page, runs: dict[str, Predictor], found: ImageEvaluation, request: ImageRequest, folder: Path
) -> None:
    """Add samples of every run, then samples with their nearest training images."""
    if any(predictor.data.has_points for predictor in runs.values()):
        return
    page.heading("Samples")
    samples, neighbors = [], []
    for number, (name, predictor) in enumerate(runs.items()):
        classes = predictor.generator.num_labels
        image, _ = draw_samples(Sampler(predictor, request.seed), ROW * classes if classes > 1 else GRID)
        write_png(file := folder / f"samples-{number}.png", image)
        samples.append((file, f"{name}, step {predictor.step}, seed {request.seed}"))
    for number, (name, images) in enumerate(found.neighbors.items()):
        write_grid(file := folder / f"neighbors-{number}.png", images, SHOWN)
        neighbors.append((file, f"{name}: {SHOWN} samples; below each, the training image with the nearest pixels"))
    page.side_by_side(samples)
    page.heading("Nearest training images")
    page.side_by_side(neighbors)
