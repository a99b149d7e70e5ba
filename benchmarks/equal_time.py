"""Trainings of equal CPU time: as many steps as fit into some minutes by the measured CPU seconds of a step.

The seconds are measured in turns on one thread and recorded, so that other work on the machine changes no result.
"""

from __future__ import annotations

import re
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vidpred.config import Config
from vidpred.run import train

ROUNDS = 3

Configure = Callable[[Path, int], Config]  # run folder, number of steps -> settings of a training


def row_folder(folder: Path, row: str, seed: int) -> Path:
    """Return the folder of a row's training in that of all trainings."""
    return folder / f"{re.sub('[^a-zA-Z0-9.]+', '_', row)}-{seed}"


def seconds_per_step(configure: Configure, folder: Path, steps: tuple[int, int]) -> float:
    """Return the CPU seconds of a training step: what the longer of two trainings takes more, per step."""
    shutil.rmtree(folder, ignore_errors=True)
    seconds = []
    for number in steps:
        config = configure(folder / str(number), number)
        began = time.process_time()
        train(config)
        seconds.append(time.process_time() - began)
    return (seconds[1] - seconds[0]) / (steps[1] - steps[0])


def measure_speeds(trainings: Mapping[str, Configure], folder: Path, steps: tuple[int, int]) -> dict[str, Any]:
    """Measure the CPU seconds of a training step of every training, in turns: the medians, and all values."""
    found: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(ROUNDS):
        for name, configure in trainings.items():
            found[name].append(round(seconds_per_step(configure, folder, steps), 4))
            print(f"{name}: {found[name][-1]:.3f} CPU seconds a step", flush=True)
    return {"seconds": {name: statistics.median(seconds) for name, seconds in found.items()}, "all": found}


def fitting_steps(seconds: float, minutes: float, multiple: int = 1) -> int:
    """Return the number of steps of some seconds each that fit into some minutes, at least one multiple.

    Args:
        seconds: CPU seconds of a step.
        minutes: Length of the training.
        multiple: The number is the nearest multiple of this.
    """
    return multiple * max(1, round(60 * minutes / seconds / multiple))
