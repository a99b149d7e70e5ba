"""Blurry against sharp: one generator trained three ways on the two-way world, whose two futures are known."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidpred.checkpoint import read_metrics
from vidpred.commands.demo_clip import add_clip
from vidpred.commands.parallel_runs import train_together
from vidpred.config import Config, load_config
from vidpred.data.worlds.forking_ball import ForkingBallWorld
from vidpred.evaluation.forking_ball import (
    ForkingScenes,
    find_forking_scenes,
    goes_left,
    gradient_energy,
    is_near,
    is_sharp,
    pooled_psnr,
)
from vidpred.files import write_file
from vidpred.inference.predictor import Predictor
from vidpred.media.html_page import Page
from vidpred.media.plots import curve_keys, draw_curves
from vidpred.media.render import Panel, compose, stack, write_png
from vidpred.media.text_table import format_table
from vidpred.media.video_writer import write_video
from vidpred.version import __version__

PRESETS = {  # what is shown, in this order -> the preset that it is trained with
    "mean squared error": "forking_ball_mse.yaml",
    "l1 + GDL, no adversary": "forking_ball_l1_gdl.yaml",
    "with the adversary": "forking_ball_adversarial.yaml",
}
SECONDS = 300  # what the presets' steps were chosen for: the whole demo on two cores
FORKS, WORLD_SEED = 512, 1001  # fresh scenes: training, validation and test use other seeds
ROWS = 5  # scenes in the image
SECONDS_A_SCENE, RATE = 1.5, 2.0
GHOST = "the mean of both futures"
DEFINITIONS = {
    "near": "share of the predictions that are nearer to one of the two true futures than to their mean",
    "sharp": "share whose distance to the nearer future is under half of that future's distance to the mean",
    "gradient energy": "squared differences of neighbouring pixels, as a share of the true frames'",
    "PSNR": "of the squared error pooled over all pixels and both outcomes of the coin, in dB; the mean of both "
    "futures is the best that squared error can do, so a sharp prediction has to lose here",
    "to the left": "share of the near predictions that are nearer to the left future; a model without noise answers "
    "every scene in one way, so nothing makes it choose both sides equally often",
}
ONE_SIDED = 0.05  # share of the predictions to one side below which the other is all that a model knows


def run_demo(
    output: Path, seconds: int = SECONDS, seed: int = 0, clip: Path | None = None, steps: int | None = None
) -> str:
    """Train (or resume), measure on fresh forks, render and write the report; returns what to look at.

    All three begin with the same weights, a short training with squared error, and see the same samples in the same
    order for the same number of steps. seconds: about how long it may take on two cores; the presets' steps are scaled
    with it. clip: then train with squared error and with an adversary on this video as well. steps: overrides the
    presets' steps, of each training.
    Raises vidpred's errors.
    """
    began = time.monotonic()
    scale = seconds / SECONDS
    start = demo_config("forking_ball_mse.yaml", output / "start", seed, scale, steps)
    configs = {
        name: demo_config(preset, output / Path(preset).stem, seed, scale, steps, start=output / "start")
        for name, preset in PRESETS.items()
    }
    train_together([start], "the start that all share")
    # The longest first, so that no core is left idle at the end.
    train_together(list(configs.values())[::-1], "three trainings")
    predictors = {name: Predictor.load(config.run, "last", device="cpu") for name, config in configs.items()}
    forks = forks_for(next(iter(predictors.values())))
    predictions = {name: predictor.predict(forks.context, 1)[:, 0] for name, predictor in predictors.items()}
    rows = [compose_row(forks, predictions, index) for index in range(ROWS)]
    write_png(output / "comparison.png", stack(rows))
    for suffix in (".mp4", ".gif"):
        write_video(output / f"comparison{suffix}", repeated(rows), RATE, overwrite=True)
    numbers = measure(forks, {GHOST: forks.ghost, **predictions})
    about = {
        "seed": seed, "forks": FORKS, "world_seed": WORLD_SEED, "seconds": round(time.monotonic() - began, 1),
        "steps": {"start": start.training.steps, **{name: c.training.steps for name, c in configs.items()}},
        "versions": {"vidpred": __version__, "torch": torch.__version__}, "cores": len(os.sched_getaffinity(0)),
    }  # fmt: skip
    results: dict[str, Any] = {"about": about, "definitions": DEFINITIONS, "models": numbers}
    page = report(output, results, configs)
    if clip is not None:
        results["clip"] = add_clip(page, output, clip, seed, scale, steps)
    write_file(output / "results.json", json.dumps(results, indent=1) + "\n")
    page.write(output / "report.html", f"vidpred {__version__}, torch {torch.__version__}, seed {seed}")
    said = [text_table(numbers), *side_notes(numbers)]
    return "\n".join([*said, f"look at {output / 'report.html'} and {output / 'comparison.png'}"])


def demo_config(
    preset: str, run: Path, seed: int, scale: float, steps: int | None, start: Path | None = None
) -> Config:
    """A preset as the demo trains it: its steps scaled, nothing measured or drawn on the way."""
    config = load_config(preset)
    changes: dict[str, Any] = {
        "run": str(run), "seed": seed, "training.steps": steps or max(1, round(config.training.steps * scale)),
        "training.image_every": 0, "training.validate_every": 0, "training.best_by": "last", "checkpoint.keep": 1,
    }  # fmt: skip
    if start is not None:
        changes["training.init_from"] = str(start)
    return load_config(preset, changes)


def forks_for(predictor: Predictor, count: int = FORKS) -> ForkingScenes:
    """Fresh forking scenes in the sizes that a predictor was trained with."""
    data = predictor.data
    return find_forking_scenes(
        ForkingBallWorld(predictor.history_len, 1, data.crop_size or 32, data.channels, WORLD_SEED), count
    )


def measure(forks: ForkingScenes, predictions: Mapping[str, Tensor]) -> dict[str, dict[str, float | None]]:
    """What `DEFINITIONS` says, for each model's predictions; None where it has no meaning."""
    return {
        name: {
            "near": float(is_near(images, forks).float().mean()),
            "sharp": float(is_sharp(images, forks).float().mean()),
            "gradient energy": gradient_energy(images, forks),
            "PSNR": pooled_psnr(images, forks),
            "to the left": left_share(images, forks),
        }
        for name, images in predictions.items()
    }


def left_share(images: Tensor, forks: ForkingScenes) -> float | None:
    """Of the predictions that are near a future, the share that are near the left one; None where none is near."""
    left = goes_left(images, forks)[is_near(images, forks)]
    return float(left.float().mean()) if len(left) else None


def cells(values: Mapping[str, float | None]) -> list[str]:
    formats = {"near": ".1%", "sharp": ".1%", "gradient energy": ".2f", "PSNR": ".2f", "to the left": ".1%"}
    shown = {name: values[name] for name in DEFINITIONS}
    return ["-" if value is None else f"{value:{formats[name]}}" for name, value in shown.items()]


def side_notes(numbers: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """A sentence for every model that knows one side only."""
    notes = []
    for name, values in numbers.items():
        left = values["to the left"]
        if left is not None and min(left, 1 - left) < ONE_SIDED:
            side = "left" if left > ONE_SIDED else "right"
            notes.append(
                f"{name}: {max(left, 1 - left):.1%} of the balls go to the {side}. Each is sharp and possible, but "
                "together they are no sample of what can happen; a model with noise draws both sides "
                "(vidpred train --config forking_ball_samples.yaml)"
            )
    return notes


def text_table(numbers: Mapping[str, Mapping[str, float | None]]) -> str:
    """The table for the terminal."""
    title = f"{FORKS} fresh forks, next frame"
    rows = [[name, *cells(values)] for name, values in numbers.items()]
    return "\n".join(format_table([title, *DEFINITIONS], rows, 15, 3))


def compose_row(forks: ForkingScenes, predictions: Mapping[str, Tensor], index: int) -> np.ndarray:
    """Known frame, both futures, each prediction."""
    panels = [
        Panel("last known frame", forks.context[index, -1], "context"),
        Panel("future: left", forks.left[index], "truth"),
        Panel("future: right", forks.right[index], "truth"),
        *(Panel(name, prediction[index], "prediction") for name, prediction in predictions.items()),
    ]
    return compose(panels)


def repeated(rows: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Every scene for as long as one needs to look at it."""
    return (row for row in rows for _ in range(round(SECONDS_A_SCENE * RATE)))


def report(output: Path, results: Mapping[str, Any], configs: Mapping[str, Config]) -> Page:
    """The page, still to be written."""
    about = results["about"]
    page = Page(
        "Blurry against sharp",
        "A ball falls onto a wedge and leaves to the left or to the right by a fair coin. From the same past, both "
        "futures are right; their mean is neither.",
    )
    page.image(output / "comparison.png", "Known frame, both true futures, and what each model predicts.")
    page.heading("Numbers")
    page.table(
        ["", *DEFINITIONS], [[name, *cells(values)] for name, values in results["models"].items()],
        f"next frame, {about['forks']} fresh forking scenes, one prediction each, seed {about['seed']}",
    )  # fmt: skip
    for note in side_notes(results["models"]):
        page.text(f"{note}.")
    for name, definition in DEFINITIONS.items():
        page.text(f"{name}: {definition}.")
    page.heading("How they were trained")
    steps = about["steps"]
    page.text(
        f"One generator, {steps['start']} steps with squared error, then three continuations from those same weights "
        f"with the same samples in the same order: {', '.join(f'{name} {steps[name]} steps' for name in configs)}. "
        f"{about['seconds']:.0f} seconds on {about['cores']} cores in all."
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
