"""Tables, images and the HTML page of the demo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vidpred.checkpoint import read_metrics
from vidpred.config import Config
from vidpred.evaluation import report as tables
from vidpred.evaluation.forking_ball import ForkingScenes
from vidpred.evaluation.metric_table import METRICS
from vidpred.evaluation.protocols import Evaluation
from vidpred.inference.predict_video import PredictRequest, VideoPrediction
from vidpred.inference.predictor import Predictor
from vidpred.media.html_page import Page
from vidpred.media.plots import curve_keys, draw_curves
from vidpred.media.prediction_files import Output, write_prediction
from vidpred.media.render import Panel, compose
from vidpred.media.text_table import format_table

ROWS = 5  # scenes in the image
SECONDS_PER_SCENE, RATE = 1.5, 2.0  # RATE in frames per second
DEFINITIONS = {
    "near": "share of the predictions that are nearer to one of the two true futures than to their mean",
    "sharp": "share whose distance to the nearer future is less than half of that future's distance to the mean",
    "gradient energy": "squared differences of neighboring pixels, relative to the true frames",
    "PSNR": "from the squared error pooled over all pixels and both outcomes of the coin, in dB; the mean of both "
    "futures minimizes the squared error, so sharp predictions necessarily have a lower PSNR",
    "to the left": "share of the near predictions that are nearer to the left future; a model without noise makes one "
    "prediction per scene, so nothing makes it choose both sides equally often",
}
ONE_SIDED = 0.05  # share of near predictions on one side below which a model counts as one-sided


def cells(values: Mapping[str, float | None]) -> list[str]:
    """Format the metrics of one model as the cells of its table row; `DEFINITIONS` has their order."""
    formats = {"near": ".1%", "sharp": ".1%", "gradient energy": ".2f", "PSNR": ".2f", "to the left": ".1%"}
    ordered = {name: values[name] for name in DEFINITIONS}
    return ["-" if value is None else f"{value:{formats[name]}}" for name, value in ordered.items()]


def side_notes(numbers: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Return a sentence for every model that predicts one side only."""
    notes = []
    for name, values in numbers.items():
        left = values["to the left"]
        if left is not None and min(left, 1 - left) < ONE_SIDED:
            side = "left" if left > ONE_SIDED else "right"
            notes.append(
                f"{name}: {max(left, 1 - left):.1%} of the balls go to the {side}. Each prediction is plausible, but "
                "together they do not cover both futures; a model with noise samples both sides "
                "(vidpred train --config forking_ball_samples.yaml)"
            )
    return notes


def text_table(numbers: Mapping[str, Mapping[str, float | None]], forks: int) -> str:
    """Return the table for the terminal: a row per model, a column for each of `DEFINITIONS`."""
    title = f"{forks} fresh forks, next frame"
    rows = [[name, *cells(values)] for name, values in numbers.items()]
    return "\n".join(format_table([title, *DEFINITIONS], rows, 15, 3))


def compose_row(forks: ForkingScenes, predictions: Mapping[str, Tensor], index: int) -> np.ndarray:
    """Draw the last context frame, both true futures and each prediction of a scene."""
    panels = [
        Panel("last context frame", forks.context[index, -1], "context"),
        Panel("future: left", forks.left[index], "truth"),
        Panel("future: right", forks.right[index], "truth"),
        *(Panel(name, prediction[index], "prediction") for name, prediction in predictions.items()),
    ]
    return compose(panels)


def repeat_images(rows: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Repeat every scene's image for `SECONDS_PER_SCENE` of video."""
    return (row for row in rows for _ in range(round(SECONDS_PER_SCENE * RATE)))


def write_images(path: Path, request: PredictRequest, predictors: Sequence[Predictor]) -> None:
    """Predict the last frames of a clip, and write them as a video, an animation and an image: path + suffix."""
    prediction = VideoPrediction.open(request, predictors)
    context = prediction.context()
    steps = list(prediction.steps(context))
    for suffix in (".mp4", ".gif", ".png"):
        target = Output.of(path.with_suffix(suffix), rate=4.0, overwrite=True)
        write_prediction(target, context, steps, request.num_frames)


def add_tables(page: Page, result: Evaluation) -> None:
    """Add a table for each of the frames ahead 1, 2, 4, ... and the last."""
    names = [METRICS[name].title for name in result.protocol.metrics]
    for ahead in tables.doubling_steps(result.num_frames):
        page.table([f"frame t+{ahead}", *names], tables.table_rows(result, ahead))


def report(output: Path, results: Mapping[str, Any], configs: Mapping[str, Config]) -> Page:
    """Build the HTML page and draw its curves.

    Args:
        output: The demo's folder.
        results: The content of results.json.
        configs: The runs by the name of their model.

    Returns:
        The page, which is not written yet.
    """
    about = results["about"]
    page = Page(
        "Blurry and sharp predictions",
        "A ball falls onto a wedge and bounces to the left or to the right with equal probability. Both futures are "
        "correct; their mean is not.",
    )
    page.image(output / "comparison.png", "The last context frame, both true futures, and each model's prediction.")
    page.heading("Metrics")
    page.table(
        ["", *DEFINITIONS], [[name, *cells(values)] for name, values in results["models"].items()],
        f"next frame, {about['forks']} fresh forking scenes, one prediction each, seed {about['seed']}",
    )  # fmt: skip
    for note in side_notes(results["models"]):
        page.text(f"{note}.")
    for name, definition in DEFINITIONS.items():
        page.text(f"{name}: {definition}.")
    page.heading("Training")
    steps = about["steps"]
    page.text(
        f"One generator was trained for {steps['start']} steps with squared error, then continued three times from "
        "these weights, with the same samples in the same order: "
        f"{', '.join(f'{name} {steps[name]} steps' for name in configs)}. "
        f"Total time: {about['seconds']:.0f} seconds on {about['cores']} cores."
    )
    logged = {name: read_metrics(Path(config.run)) for name, config in configs.items()}
    keys = curve_keys(logged)
    if keys:
        draw_curves(output / "curves.png", logged, keys)
        caption = (
            "Losses of the three continuations (lp is squared for mean squared error, absolute for the others), and "
            "the discriminator's accuracy."
        )
        page.image(output / "curves.png", caption)
    page.image(output / "comparison.mp4", "The same scenes as a video.")
    return page
