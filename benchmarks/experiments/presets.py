"""Ten steps of the presets for predictors and R3GAN, on one process, on two, and in bfloat16."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.experiments.base import Experiment, real_clips, weights_difference
from benchmarks.markdown import grid
from benchmarks.predictors import PREDICTORS, QUIET, clips, preset_of, small_settings
from benchmarks.results import Result
from vidpred.checkpoint import read_metrics
from vidpred.config import load_config
from vidpred.data.videos.read_video import read_video

NAME = "presets, ten steps"
STEPS, IMAGES = 10, 200
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
TRAININGS = {  # name -> how Python is started, settings
    "one process": ([], ["training.precision=float32"]),
    "two processes": (LAUNCHER, ["training.precision=float32"]),
    "bfloat16": ([], ["training.precision=bfloat16"]),
}
OTHERS = ("two processes", "bfloat16")
IMAGE_PRESETS = ("r3gan_32.yaml", "r3gan_64.yaml", "few_images.yaml")


def images(folder: Path) -> Path:
    """Write frames of real clips as images, unless they are there."""
    if not folder.is_dir():
        from torchvision.utils import save_image  # lazily: torchvision imports torch's compiler, which takes seconds

        folder.mkdir(parents=True)
        frames = [frame for file in sorted(Path(real_clips()).iterdir()) for frame in read_video(file, size=(64, 64))]
        for number, frame in enumerate(frames[:: len(frames) // IMAGES][:IMAGES]):
            save_image(frame, folder / f"{number:03d}.png")
    return folder


def ten_steps(folder: Path, seed: int) -> dict[str, Any]:
    """Train every preset's small variant ten steps in three ways; return how far the weights are from each other."""
    moving_mnist, photos = clips(folder / "moving_mnist"), images(folder / "images")
    presets: dict[str, Path | None] = {preset_of(name): moving_mnist for name in PREDICTORS}
    presets |= {**dict.fromkeys(IMAGE_PRESETS, photos), "gaussians_r3gan.yaml": None}
    return {"presets": {preset: differences(folder / preset, preset, root, seed) for preset, root in presets.items()}}


def differences(folder: Path, preset: str, root: Path | None, seed: int) -> dict[str, float]:
    """Return the differences of a preset's trainings from that on one process; finished trainings are kept.

    Raises:
        CalledProcessError: A training fails.
        ValueError: A loss is not finite.
    """
    settings = QUIET | {"training.steps": STEPS, "training.batch_size": 4, "training.log_every": 1, "seed": seed}
    settings |= {} if root is None else {"data.root": root}
    if not load_config(preset).data.context_frames:
        del settings["training.validate_every"]  # generators of images have no validation
    words = [*small_settings(preset), *(f"{key}={value}" for key, value in settings.items())]
    for name, (launch, precision) in TRAININGS.items():
        run = folder / name.replace(" ", "_")
        command = [sys.executable, *launch, "-m", "vidpred", "train", "--config", preset, *words, *precision]
        if not (run / "checkpoints" / f"step-{STEPS}").is_dir():
            subprocess.run([*command, f"run={run}"], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        losses = [value for line in read_metrics(run) for value in line.values() if isinstance(value, float)]
        if not all(map(math.isfinite, losses)):
            raise ValueError(f"{preset}, {name}: a loss is not finite")
    runs = {name: folder / name.replace(" ", "_") for name in TRAININGS}
    return {name: weights_difference(runs[name], runs["one process"], STEPS) for name in OTHERS}


def table(results: Mapping[tuple[str, int], Result]) -> str:
    """Return the differences of every preset's trainings from that on one process, as a Markdown table."""
    found = results[NAME, 0].values["presets"]
    rows = [[f"`{preset}`", *(f"{values[name]:.1g}" for name in OTHERS)] for preset, values in found.items()]
    return grid(["preset", *OTHERS], rows)


PRESET_EXPERIMENTS = [Experiment(NAME, 0, ten_steps)]
