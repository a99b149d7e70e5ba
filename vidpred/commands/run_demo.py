"""The demo: one generator trained three ways where both futures are known, and another one on a real clip."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from torch import Tensor

from vidpred.commands.demo_clip import CLIP, add_both_ends, check_clip
from vidpred.commands.demo_objectives import add_objectives
from vidpred.commands.demo_report import (
    DEFINITIONS,
    RATE,
    ROWS,
    compose_row,
    repeat_images,
    report,
    side_notes,
    text_table,
)
from vidpred.commands.parallel_runs import train_together
from vidpred.config import Config, load_config
from vidpred.data.worlds.forking_ball import ForkingBallWorld
from vidpred.errors import ConfigError, DataError, DivergedError, VidpredError
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
from vidpred.media.render import stack, write_png
from vidpred.media.video_writer import write_video
from vidpred.processes.pool import available_cores
from vidpred.training.settings import TrainingSettings
from vidpred.version import __version__

PRESETS = {  # name in the report, in order -> preset
    "mean squared error": "forking_ball_mse.yaml",
    "l1 + GDL, no adversary": "forking_ball_l1_gdl.yaml",
    "with the adversary": "forking_ball_adversarial.yaml",
}
SECONDS = 390  # total time on two cores with the default numbers of steps
FORKS, WORLD_SEED = 512, 1001  # number of test scenes; training, validation and test splits use other seeds
GHOST = "the mean of both futures"


def run_demo(
    output: Path, seconds: int = SECONDS, seed: int = 0, clip: Path | None = None, steps: int | None = None
) -> str:
    """Train or resume three models, measure them on new scenes, and write a report. Raises VidpredError.

    All three start from the same weights (a short training with squared error) and train on the same samples.

    Args:
        output: Folder for the runs, images and the report.
        seconds: Approximate total time on two cores, by which the presets' steps are scaled.
        seed: Seed of weights and samples.
        clip: The video of the parts on a real clip; None: the one that comes with vidpred.
        steps: Steps of each training, instead of the scaled ones.

    Returns:
        A summary for the terminal.
    """
    began = time.monotonic()
    if clip is not None:
        check_clip(clip)
    scale = seconds / SECONDS
    configs, predictors = train_models(output, seed, scale, steps)
    start = configs.pop("start")
    forks = forks_for(next(iter(predictors.values())))
    predictions = {name: predictor.predict(forks.context, 1)[:, 0] for name, predictor in predictors.items()}
    rows = [compose_row(forks, predictions, index) for index in range(ROWS)]
    write_png(output / "comparison.png", stack(rows))
    for suffix in (".mp4", ".gif"):
        write_video(output / f"comparison{suffix}", repeat_images(rows), RATE, overwrite=True)
    numbers = measure(forks, {GHOST: forks.ghost, **predictions})
    about = {
        "seed": seed, "forks": FORKS, "world_seed": WORLD_SEED, "seconds": round(time.monotonic() - began, 1),
        "steps": {"start": start.training.steps, **{name: c.training.steps for name, c in configs.items()}},
        "versions": {"vidpred": __version__, "torch": torch.__version__}, "cores": available_cores(),
    }  # fmt: skip
    results: dict[str, Any] = {"about": about, "definitions": DEFINITIONS, "models": numbers}
    page = report(output, results, configs)
    # A copy, because a scan stores its index next to the clip.
    clip = clip or Path(copyfile(CLIP, output / CLIP.name))
    results["both_ends"] = add_both_ends(page, output, clip)
    failed = try_clip(page, results, output, clip, seed, scale, steps)
    write_file(output / "results.json", json.dumps(results, indent=1) + "\n")
    page.write(output / "report.html", f"vidpred {__version__}, torch {torch.__version__}, seed {seed}")
    if failed is not None:
        raise failed
    summary = [text_table(numbers, FORKS), *side_notes(numbers), "", f"{clip.name}:", *results["clip"]["found"]]
    images = f"{output / 'comparison.png'} and {output / 'clip.png'}"
    return "\n".join([*summary, f"open {output / 'report.html'}, or {images}"])


def train_models(
    output: Path, seed: int, scale: float, steps: int | None
) -> tuple[dict[str, Config], dict[str, Predictor]]:
    """Train the start and the three models; return their settings, with those of the start first, and the models."""
    start = demo_config("forking_ball_mse.yaml", output / "start", seed, scale, steps)
    configs = {
        name: demo_config(preset, output / Path(preset).stem, seed, scale, steps, start=output / "start")
        for name, preset in PRESETS.items()
    }
    train_together([start], "shared start")
    # The longest first, so that no core idles at the end.
    train_together(list(configs.values())[::-1], "three trainings")
    models = {name: Predictor.load(config.run, "last", device="cpu") for name, config in configs.items()}
    return {"start": start, **configs}, models


def try_clip(
    page: Page, results: dict[str, Any], output: Path, clip: Path, seed: int, scale: float, steps: int | None
) -> VidpredError | None:
    """Add the part on a clip to the page and the results; return the error if it fails, so that the rest is written."""
    try:
        results["clip"] = add_objectives(page, output, clip, seed, scale, steps)
    except (ConfigError, DataError, DivergedError) as error:
        why = f"{error}; the rest of the report is in {output / 'report.html'}"
        return type(error)(f"the part on the clip failed: {why}")
    return None


def demo_config(
    preset: str, run: Path, seed: int, scale: float, steps: int | None, start: Path | None = None
) -> Config:
    """Return a preset for the demo, with scaled steps and without validation or images.

    Args:
        preset: Name of the preset.
        run: Run folder.
        seed: Seed of weights and samples.
        scale: Factor of the preset's steps.
        steps: Number of steps; None: the scaled ones.
        start: Run folder of the initial weights; None: random weights.
    """
    config = load_config(preset)
    changes: dict[str, Any] = {
        "run": str(run), "seed": seed, "training.steps": steps or max(1, round(config.training.steps * scale)),
        "training.image_every": 0, "training.validate_every": 0, "checkpoint.keep": 1,
        "training.best_by": TrainingSettings.model_fields["best_by"].default,  # without validation, not used
    }  # fmt: skip
    if start is not None:
        changes["training.init_from"] = str(start)
    return load_config(preset, changes)


def forks_for(predictor: Predictor, count: int = FORKS) -> ForkingScenes:
    """Return new scenes that fork, in the frame size of a predictor's training."""
    data = predictor.data
    return find_forking_scenes(
        ForkingBallWorld(predictor.history_len, 1, data.crop_size or 32, data.channels, WORLD_SEED), count
    )


def measure(forks: ForkingScenes, predictions: Mapping[str, Tensor]) -> dict[str, dict[str, float | None]]:
    """Compute the metrics of `DEFINITIONS` for each model's predictions; None if undefined."""
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
    """Return the share of near predictions that are near the left future; None if no prediction is near."""
    left = goes_left(images, forks)[is_near(images, forks)]
    return float(left.float().mean()) if len(left) else None
