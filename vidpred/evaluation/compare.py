"""Compare several runs on one page: numbers, predictions and training curves."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidpred.checkpoint import read_settings
from vidpred.data.sources import Source, evenly_spaced
from vidpred.errors import counted
from vidpred.evaluation import report
from vidpred.evaluation.compare_images import compare_images
from vidpred.evaluation.evaluate import (
    EvaluationRequest,
    PrintedEvaluation,
    about_evaluation,
    evaluate_predictors,
    models_and_baselines,
)
from vidpred.evaluation.images import ImageEvaluation, ImageRequest, are_image_models
from vidpred.evaluation.metric_table import METRICS, find_protocol
from vidpred.evaluation.paper_table import by_method, caption, check_paper, paper_rows
from vidpred.evaluation.protocols import AVERAGING, Evaluation, load_window, max_history_len
from vidpred.evaluation.training_curves import add_curves
from vidpred.files import check_output
from vidpred.inference.load_models import Data, as_predictors, by_name, evaluation_mode
from vidpred.inference.predictor import Predictor
from vidpred.media.html_page import Page
from vidpred.media.render import Panel, compose, error_map, stack, write_png
from vidpred.models.base import Generator
from vidpred.models.noise import seeded_noise
from vidpred.models.rollout import rollout
from vidpred.version import __version__

SHOWN_WINDOWS = 4


def compare(
    models: Any,
    output: str | Path = "compare.html",
    data: Data | None = None,
    num_frames: int = 8,
    split: str = "test",
    windows: int | None = 200,
    protocol: str = "plain",
    count: int = 2000,
) -> PrintedEvaluation | ImageEvaluation:
    """Compare models on one self-contained HTML page: metrics, curves, images.

    Args:
        models: Several models, in a list or by name; see `vidpred.evaluate`, also for the other arguments.
        output: The page's file; an existing one is replaced.
        data: Data to use instead of the first run's.
        num_frames: Number of frames ahead.
        split: Split of the data.
        windows: Maximum number of windows; None: all.
        protocol: Set of metrics.
        count: Number of samples of each image generator; these use only `models`, `output`, `data` and `split`.

    Returns:
        The numbers; `print` shows the tables.

    Raises:
        VidpredError: See `vidpred.evaluate`, or the page cannot be written.
    """
    output = Path(output)
    check_output(output, True, "--output", (".html",))
    with evaluation_mode(models):
        predictors = as_predictors(models, data)
        if are_image_models(predictors):
            return compare_images(predictors, output, ImageRequest(split, count))
        request = EvaluationRequest(num_frames, windows, find_protocol(protocol), progress=True, split=split)
        found = compare_predictors(predictors, output, request)
    return PrintedEvaluation(**vars(found), about=about_evaluation(predictors, request))


def compare_predictors(
    predictors: Sequence[Predictor], output: Path, request: EvaluationRequest, paper: bool = False
) -> Evaluation:
    """Measure models on the same windows, write the page and return the numbers.

    Args:
        predictors: Models that predict frames.
        output: The page's file.
        request: What to measure.
        paper: Whether to put the table of `paper_table` first.

    Raises:
        ConfigError, DataError: See `evaluate_predictors` and `check_paper`.
        StorageError: The page cannot be written.
    """
    if paper:
        check_paper(request.protocol.name)
    result = evaluate_predictors(predictors, request)
    page = Page("Comparison of " + ", ".join(by_name(predictors)), describe_measurement(predictors, result, request))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if paper:
            page.table(*paper_rows(result, group_by_seed(predictors)), caption(result))
        add_numbers(page, result, folder)
        add_images(page, predictors, request, folder)
        add_curves(page, predictors, folder)
    page.write(output, f"vidpred {__version__}, torch {torch.__version__}")
    return result


def group_by_seed(predictors: Sequence[Predictor]) -> dict[str, list[str]]:
    """Return title -> names of the runs that differ only in their seed; own generators are left out."""
    found = {name: predictor.checkpoint for name, predictor in by_name(predictors).items()}
    return by_method({name: read_settings(one.path) for name, one in found.items() if one is not None})


def describe_measurement(predictors: Sequence[Predictor], result: Evaluation, request: EvaluationRequest) -> str:
    """Return one line about what was measured: number of windows, split, data, frames and protocol."""
    about = about_evaluation(predictors, request)
    data = f"{about['split']} split of {about['data']}, {about['frames']}"
    return f"{counted(result.windows, 'window')} of the {data}, protocol {result.protocol.name}"


def add_numbers(page: Page, result: Evaluation, folder: Path) -> None:
    """Add the tables, the plot and the definitions of all metrics to a page; the plot is written to `folder` first."""
    page.heading("Numbers")
    page.text(
        f"{AVERAGING}; n is {result.windows} unless stated otherwise; {report.describe_directions(result.protocol)}."
    )
    for step in report.doubling_steps(result.num_frames):
        head = [f"frame t+{step}", *(METRICS[name].title for name in result.protocol.metrics)]
        page.table(head, report.table_rows(result, step))
    report.write_plot(folder / "plot.png", result)
    page.image(folder / "plot.png", "Each metric against the frames ahead; bands are standard errors.")
    clips, gains = report.clip_rows(result)
    if len(clips) > 1:
        title = METRICS[result.protocol.shown].title
        page.table(["clip", *result.scores], clips, f"{title}, frame t+1, by clip")
        page.table(["clip", *result.scores], gains, f"gain in {title} over copying on the same frames, frame t+1")
    page.heading("Definitions")
    for name in result.protocol.metrics:
        page.text(f"{METRICS[name].title}: {METRICS[name].definition}.")


def add_images(page: Page, predictors: Sequence[Predictor], request: EvaluationRequest, folder: Path) -> None:
    """Add the last context frame, then ground truth and predictions, for windows spread over the split."""
    models = models_and_baselines(predictors, request.num_frames)
    source = replace(request, progress=False).build_source(predictors[0].data, max_history_len(models))
    page.heading("Predictions")
    for number, index in enumerate(evenly_spaced(len(source), SHOWN_WINDOWS)):
        file = folder / f"window-{number}.png"
        write_png(file, draw_image(models, source, index, request.num_frames, predictors[0].device))
        page.image(file, f"{source.clip_name(index)}: last context frame, ground truth and predictions")


def draw_image(
    models: dict[str, Generator], source: Source, index: int, num_frames: int, device: torch.device
) -> np.ndarray:
    """Render a window's frames and every model's predictions, one row each: `(H, W, 3)` uint8."""
    frames, actions, states = load_window(source, index, num_frames, device)
    context_len = frames.shape[1] - num_frames
    context, future = frames[:, :context_len], frames[0, context_len:].cpu()
    shown = report.doubling_steps(num_frames)
    last = Panel("t", context[0, -1].cpu(), "context")
    rows = [compose([last, *(Panel(f"truth t+{k}", future[k - 1], "truth") for k in shown)])]
    for name, model in models.items():
        draws = model.noise_channels and not model.noise_optional
        noise = seeded_noise(model, 1, 0, index) if draws else None  # one of its futures
        predicted = rollout(model, context, num_frames, noise, actions, states)[0].cpu()
        panels = [Panel(f"{name} t+{k}", predicted[k - 1], "prediction") for k in shown]
        first = error_map(predicted[0], future[0])
        rows.append(compose([Panel("error t+1", first, "error"), *panels]))
    return stack(rows)
