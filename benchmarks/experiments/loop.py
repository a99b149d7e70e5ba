"""Where the time of whole trainings goes, and how fast a training is next to a process that never waits."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.experiments.base import Experiment, real_clips
from benchmarks.experiments.images import FASHION
from benchmarks.markdown import Results, grid
from benchmarks.startup import CHECKOUT, busy_processes
from vidpred.checkpoint import read_metrics
from vidpred.training.profile import PROFILE_FILE

SHARES, BUSY = "speed: the loop", "speed: next to a busy process"
STEPS = 1000  # twice the default interval of validations, images and checkpoints
BUSY_STEPS, BUSY_ROUNDS, LOG_EVERY = 60, 3, 20
TITLES = {
    "waiting for data": "waiting for data", "updates": "updates of the weights",
    "averaged weights": "averaged weights", "logs": "logs", "checkpoints": "checkpoints", "validation": "validation",
    "images": "images", "profiling": "recording operations", "other": "other",
}  # fmt: skip


def presets() -> dict[str, tuple[str, str]]:
    """Return preset and data of every training by its title."""
    return {
        "videos, `release.yaml`": ("release.yaml", real_clips()),
        "images, `dcgan_fashion.yaml`": ("dcgan_fashion.yaml", str(FASHION)),
    }


def run_command(preset: str, data: str, run: Path, **training: Any) -> Path:
    """Train with the command in a new process, from the start; return the run folder.

    Raises:
        RuntimeError: It fails.
    """
    shutil.rmtree(run, ignore_errors=True)
    words = [
        f"data.root={data}",
        f"run={run}",
        "training.device=cpu",
        *(f"training.{k}={v}" for k, v in training.items()),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "vidpred", "train", "--config", preset, *words],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    return run


def shares_row(folder: Path, seed: int) -> dict[str, Any]:
    """Measure the seconds by stage of whole trainings."""
    trainings = {}
    for title, (preset, data) in presets().items():
        run = run_command(preset, data, folder / Path(preset).stem, steps=STEPS, profile="true")
        found = json.loads((run / PROFILE_FILE).read_text())
        trainings[title] = {name: found[name] for name in ("steps", "seconds", "stages")}
    return {"trainings": trainings}


def busy_row(folder: Path, seed: int) -> dict[str, Any]:
    """Measure samples per second of a training on all cores: alone, and next to one busy process, in turns."""
    preset, data = presets()["videos, `release.yaml`"]
    found: dict[str, list[float]] = {"alone": [], "busy": []}
    for number in range(BUSY_ROUNDS):
        for name, count in (("alone", 0), ("busy", 1)):
            with busy_processes(count):
                run = run_command(preset, data, folder / f"{name}-{number}", steps=BUSY_STEPS, log_every=LOG_EVERY)
            rates = [line["samples_per_second"] for line in read_metrics(run) if "samples_per_second" in line]
            found[name].append(round(statistics.median(rates[1:]), 2))
            print(name, found[name][-1], flush=True)
    return {"preset": preset, "samples_per_second": found}


def shares_table(results: Results) -> str:
    """Return the share of every stage of the loop in the time of a training, as a Markdown table."""
    trainings: Mapping[str, Any] = results[SHARES, 0].values["trainings"]
    head = ["share of the time", *(f"{title}, {one['seconds']:.0f} s" for title, one in trainings.items())]
    rows = [
        [title, *(f"{100 * one['stages'].get(name, {'share': 0})['share']:.1f} %" for one in trainings.values())]
        for name, title in TITLES.items()
    ]
    return grid(head, rows)


def busy_table(results: Results) -> str:
    """Return the rates of a training alone and next to a busy process, as a Markdown table."""
    rates: Mapping[str, list[float]] = results[BUSY, 0].values["samples_per_second"]
    medians = {name: statistics.median(values) for name, values in rates.items()}
    rows = [
        [title, f"{medians[name]:.1f} ({min(rates[name]):.1f} - {max(rates[name]):.1f})",
         f"{100 * medians[name] / medians['alone']:.0f} %"]
        for name, title in {"alone": "alone", "busy": "next to a process that never waits"}.items()
    ]  # fmt: skip
    return grid(["", "samples per second", "of the rate alone"], rows)


LOOP_EXPERIMENTS = [Experiment(SHARES, 0, shares_row), Experiment(BUSY, 0, busy_row)]
