"""Several runs on one page: numbers, curves, and what they predict."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from vidpred import __version__
from vidpred.config import flatten
from vidpred.data.build import build_source
from vidpred.data.clips import Source, to_frames, window_actions, window_states
from vidpred.errors import StorageError
from vidpred.evaluation import report
from vidpred.evaluation.measures import MEASURES
from vidpred.evaluation.page import Page
from vidpred.evaluation.paper_table import by_method, caption, check_paper, paper_rows
from vidpred.evaluation.protocols import Evaluation, known_frames, spread, with_baselines
from vidpred.inference.predictor import Predictor
from vidpred.inference.render import Panel, compose, error_map, stack, write_png
from vidpred.inference.rollout import rollout
from vidpred.models.noise import noise_channels, seeded_noise
from vidpred.run import evaluate_predictors, named

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

    runs: the predictors' folders, for their training curves; see `vidpred.run.evaluate_predictors` for the rest.
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


def read_settings(run: Path) -> dict[str, object]:
    """The settings of a run or checkpoint folder by dotted key. Raises StorageError."""
    file = run / "config.yaml"
    try:
        return dict(flatten(yaml.safe_load(file.read_text(encoding="utf-8"))))
    except (OSError, yaml.YAMLError, ValueError, AttributeError):
        raise StorageError(f"cannot read the run's settings [{file}]; is it a run folder?") from None


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


def curve_keys(logged: dict[str, list[dict[str, float]]]) -> list[str]:
    """The losses and validation numbers among what runs logged; the monitors' are for `vidpred doctor`."""
    keys = {key for lines in logged.values() for line in lines for key in line if "/" in key}
    return sorted(key for key in keys if not key.startswith("monitor/"))


def read_metrics(run: Path) -> list[dict[str, float]]:
    """The lines of a run's metrics.jsonl, but for one that is still being written; none where there is no such file."""
    file = run / "metrics.jsonl"
    lines: list[dict[str, float]] = []
    for text in file.read_text().splitlines() if file.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and "step" in line:
            lines.append(line)
    return lines


def draw_curves(path: Path, logged: dict[str, list[dict[str, float]]], keys: Sequence[str]) -> None:
    """One panel for each key, one line for each run, the same colour in every panel, against the step."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 2.7 * rows), layout="constrained", squeeze=False
    )
    shown: dict[str, Any] = {}  # a run's first line stands for all of them in the legend
    for axis, key in zip(axes.flat, keys, strict=False):
        for number, (name, lines) in enumerate(logged.items()):
            points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
            if points:
                marker = "." if len(points) < 30 else ""
                (curve,) = axis.plot(*zip(*points, strict=True), color=f"C{number}", linewidth=1, marker=marker)
                shown.setdefault(name, curve)
        axis.set_title(key)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(keys) :]:
        axis.axis("off")
    if len(logged) > 1:
        ordered = {name: shown[name] for name in logged if name in shown}
        figure.legend(ordered.values(), ordered.keys(), loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
