"""Several runs on one page: numbers, curves, and what they predict."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vidpred.checkpoint import read_metrics, read_settings
from vidpred.data.build import build_source
from vidpred.data.sources import Source, spread, to_frames, window_actions, window_states
from vidpred.evaluation import report
from vidpred.evaluation.evaluate import evaluate_predictors, named
from vidpred.evaluation.measures import MEASURES
from vidpred.evaluation.paper_table import by_method, caption, check_paper, paper_rows
from vidpred.evaluation.protocols import Evaluation, known_frames, with_baselines
from vidpred.inference.predictor import Predictor
from vidpred.media.html_page import Page
from vidpred.media.plots import curve_keys, draw_curves
from vidpred.media.render import Panel, compose, error_map, stack, write_png
from vidpred.models.noise import noise_channels, seeded_noise
from vidpred.models.rollout import rollout
from vidpred.version import __version__

PICTURED_WINDOWS = 4


def compare(
    predictors: Sequence[Predictor],
    runs: Sequence[Path],
    output: Path,
    steps: int = 8,
    split: str = "test",
    windows: int | None = 200,
    root: str | None = None,
    protocol: str = "plain",
    progress: bool = False,
    paper: bool = False,
) -> Evaluation:
    """Measure runs on the same windows and write the page to `output`; returns the numbers.

    runs: the predictors' folders, for their training curves; see `evaluate.evaluate_predictors` for the rest.
    paper: put the table of `paper_table` first. Raises what these raise, and StorageError where the page cannot be
    written.
    """
    if paper:
        check_paper(protocol)
    result = evaluate_predictors(predictors, steps, split, windows, root, progress, protocol)
    page = Page("Comparison of " + ", ".join(named(predictors)), lead=about(predictors, result, split, root))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if paper:
            page.table(*paper_rows(result, methods(predictors, runs)), caption(result))
        add_numbers(page, result, folder)
        add_pictures(page, predictors, result, split, root, folder)
        add_curves(page, dict(zip(named(predictors), runs, strict=True)), folder)
    page.write(output, f"vidpred {__version__}, torch {torch.__version__}")
    return result


def methods(predictors: Sequence[Predictor], runs: Sequence[Path]) -> dict[str, list[str]]:
    """Runs that differ in their seed only, under one title. Raises StorageError where settings cannot be read."""
    return by_method({name: read_settings(run) for name, run in zip(named(predictors), runs, strict=True)})


def about(predictors: Sequence[Predictor], result: Evaluation, split: str, root: str | None) -> str:
    data = root or predictors[0].data.root or "the embedded two-way world"
    return f"{result.windows} windows of the {split} split of {data}, protocol {result.protocol.name}"


def add_numbers(page: Page, result: Evaluation, folder: Path) -> None:
    page.heading("Numbers")
    page.text(
        f"{report.AVERAGING}; n is {result.windows} unless a number says otherwise; {report.better(result.protocol)}."
    )
    for step in report.doubling_steps(result.steps):
        head = [f"frame t+{step}", *(MEASURES[name].title for name in result.protocol.measures)]
        page.table(head, report.rows(result, step))
    report.write_plot(folder / "plot.png", result)
    page.picture(folder / "plot.png", "Each measure against the frames ahead; bands are standard errors.")
    clips, gains = report.clip_rows(result)
    if len(clips) > 1:
        title = MEASURES[result.protocol.shown].title
        page.table(["clip", *result.scores], clips, f"{title}, frame t+1, by clip")
        page.table(["clip", *result.scores], gains, f"{title}, frame t+1: gain over copying, frame by frame")
    page.heading("What each number is")
    for name in result.protocol.measures:
        page.text(f"{MEASURES[name].title}: {MEASURES[name].definition}.")


def add_pictures(
    page: Page, predictors: Sequence[Predictor], result: Evaluation, split: str, root: str | None, folder: Path
) -> None:
    """The last known frame, then truth and predictions at some steps, for windows spread over the split."""
    models = with_baselines({n: p.generator for n, p in zip(named(predictors), predictors, strict=True)}, result.steps)
    data = predictors[0].data if root is None else predictors[0].data.model_copy(update={"root": root})
    source = build_source(data, split, range(known_frames(models) + result.steps))
    page.heading("What they predict")
    for number, index in enumerate(spread(len(source), PICTURED_WINDOWS)):
        file = folder / f"window-{number}.png"
        write_png(file, pictured(models, source, index, result.steps, predictors[0].device))
        page.picture(file, f"{source.clip_name(index)}: known frame, truth, and the predictions")


def pictured(models: dict[str, nn.Module], source: Source, index: int, steps: int, device: torch.device) -> np.ndarray:
    frames = to_frames(source.window(index))[None].to(device)
    known = frames.shape[1] - steps
    actions, states = window_actions(source, index), window_states(source, index, known)
    shown = report.doubling_steps(steps)
    last = Panel("t", frames[0, known - 1].cpu(), "context")
    rows = [compose([last, *(Panel(f"truth t+{k}", frames[0, known + k - 1].cpu(), "truth") for k in shown)])]
    for name, model in models.items():
        noise = seeded_noise(model, 1, 0, index) if noise_channels(model) else None  # one of its futures
        predicted = rollout(model, frames[:, :known], steps, noise, actions, states)[0].cpu()
        panels = [Panel(f"{name} t+{k}", predicted[k - 1], "prediction") for k in shown]
        first = error_map(predicted[0], frames[0, known].cpu())
        rows.append(compose([Panel("error t+1", first, "error"), *panels]))
    return stack(rows)


def add_curves(page: Page, runs: dict[str, Path], folder: Path) -> None:
    """Losses and validation numbers that the runs logged, one panel each."""
    logged = {name: read_metrics(run) for name, run in runs.items()}
    keys = curve_keys(logged)
    if not keys:
        return
    draw_curves(folder / "curves.png", logged, keys)
    page.heading("Training")
    page.picture(folder / "curves.png", "What the runs logged while training.")
