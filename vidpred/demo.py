"""Blurry against sharp: the same generator trained with mean squared error and with an adversary on the two-way world,
whose two futures are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidpred.config import load_config
from vidpred.data.build import WORLD_CLIPS, WORLD_SEEDS
from vidpred.data.clips import to_frames
from vidpred.data.synthetic import TwoWayWorld
from vidpred.inference.predictor import Predictor
from vidpred.inference.render import Panel, compose, stack, write_png
from vidpred.inference.writer import write_video
from vidpred.run import train

ROWS = 5  # forking scenes in the picture
SECONDS_A_SCENE = 1.5


@dataclass(frozen=True)
class Forks:
    """Forking test scenes: the context `(N, T, C, H, W)` and both true next frames `(N, C, H, W)`, in [0, 1]."""

    context: Tensor
    left: Tensor
    right: Tensor


def find_forks(predictor: Predictor, scenes: int = WORLD_CLIPS["test"]) -> Forks:
    """All forking ones of the first test scenes."""
    known = predictor.history_frames
    world = TwoWayWorld(known, 1, predictor.data.patch_size or 32, predictor.data.channels, WORLD_SEEDS["test"])
    indices = [index for index in range(scenes) if world.scene(index).kind == "fork"]
    left, right = (torch.stack([to_frames(world.clip(index, side)) for index in indices]) for side in (-1, 1))
    return Forks(left[:, :known], left[:, known], right[:, known])


def decided_share(prediction: Tensor, forks: Forks) -> float:
    """The share of predictions that are nearer (mean squared error) to one of the two futures than to their mean."""

    def distance(picture: Tensor) -> Tensor:
        return (prediction - picture).square().mean((1, 2, 3))

    ghost = distance((forks.left + forks.right) / 2)
    return float((torch.minimum(distance(forks.left), distance(forks.right)) < ghost).float().mean())


def gradient_energy(prediction: Tensor, forks: Forks) -> float:
    """Squared gradients of the predictions as a share of those of the true frames: 1 is as sharp as the truth."""

    def energy(pictures: Tensor) -> float:
        return float(pictures.diff(dim=-1).square().sum() + pictures.diff(dim=-2).square().sum())

    return energy(prediction) / energy(forks.left)


def run_demo(output: Path, steps: int) -> str:
    """Train both models (or resume), render the comparison; returns what to look at. Raises vidpred's errors."""
    folders = {"mean squared error": output / "mse", "adversarial": output / "adversarial"}
    shared = {"training.steps": steps, "checkpoint.keep": 1}
    train(load_config("two_way_mse.yaml", {**shared, "run": str(output / "mse")}))
    sharp = {**shared, "run": str(output / "adversarial"), "training.start_from": str(output / "mse")}
    train(load_config("two_way_adversarial.yaml", sharp))
    predictors = {name: Predictor.load(folder, "last") for name, folder in folders.items()}
    forks = find_forks(next(iter(predictors.values())))
    predictions = {name: predictor.predict(forks.context, 1)[:, 0] for name, predictor in predictors.items()}
    rows = [compose_row(forks, predictions, index) for index in range(min(ROWS, len(forks.context)))]
    picture, video = output / "comparison.png", output / "comparison.mp4"
    write_png(picture, stack(rows))
    rate = 2.0
    write_video(video, (row for row in rows for _ in range(round(SECONDS_A_SCENE * rate))), rate, overwrite=True)
    title = f"{len(forks.context)} forking test scenes, next frame"
    lines = [f"{title:<38}   {'decided':>7}   {'gradient energy':>15}"]
    for name, prediction in {"the mean of both futures": (forks.left + forks.right) / 2, **predictions}.items():
        share, energy = decided_share(prediction, forks), gradient_energy(prediction, forks)
        lines.append(f"{name:<38}   {share:>7.2f}   {energy:>15.2f}")
    lines += [
        "decided: nearer to one of the true futures than to their mean; gradient energy: 1 is as sharp as the truth",
        f"look at {picture} and {video}",
    ]
    return "\n".join(lines)


def compose_row(forks: Forks, predictions: dict[str, Tensor], index: int) -> np.ndarray:
    panels = [
        Panel("last known frame", forks.context[index, -1], "context"),
        Panel("future: left", forks.left[index], "truth"),
        Panel("future: right", forks.right[index], "truth"),
        *(Panel(name, prediction[index], "prediction") for name, prediction in predictions.items()),
    ]
    return compose(panels)
