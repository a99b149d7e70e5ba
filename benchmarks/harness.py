"""Timing of variants in turns within one run, so that ratios hold on a noisy machine."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from benchmarks.results import RESULTS
from vidpred.checkpoint import RunFolder
from vidpred.config import Config
from vidpred.data.sources import Source, TrainingSamples
from vidpred.media.text_table import format_table
from vidpred.models.build import build_discriminator, build_generator
from vidpred.training.trainer import Trainer
from vidpred.training.updates import TrainingParts


def time_in_turns(variants: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Return the seconds of every call: each round calls every variant once, after `warm_up` discarded rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(warm_up + rounds):
        for name, variant in variants.items():
            start = time.perf_counter()
            variant()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def report(title: str, seconds: dict[str, list[float]], reference: str) -> str:
    """Return a table of medians, ranges and speed-ups over the reference."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [
        [
            name,
            f"{1e3 * medians[name]:.1f}",
            f"{1e3 * min(values):.0f} - {1e3 * max(values):.0f}",
            f"{medians[reference] / medians[name]:.2f}x",
        ]
        for name, values in seconds.items()
    ]
    return "\n".join([title, *format_table(["", "median ms", "min - max ms", "speed-up"], rows)])


def idle_trainer(config: Config, source: Source, precision: str) -> Trainer:
    """Build a trainer without data workers, run folder and validation, whose single steps can be timed."""
    AcceleratorState._reset_state()
    mixed_precision = "bf16" if precision == "bfloat16" else "no"
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision=mixed_precision)
    torch.manual_seed(0)
    return Trainer(
        TrainingParts(
            seed=0,
            training=config.training,
            objective=config.objective,
            checkpoint=config.checkpoint,
            workers=0,
            timeout_seconds=0,
            folder=RunFolder("unused"),
            accelerator=accelerator,
            samples=TrainingSamples(source, 0),
            generator=build_generator(config.model, config.data),
            discriminator=build_discriminator(config.discriminator, config.model.num_scales, config.data),
            validate=None,
        )
    )


def machine() -> dict[str, Any]:
    """Describe the machine of a measurement."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {"processor": model, "threads": torch.get_num_threads(), "device": device, "torch": torch.__version__}


def commit(checkout: Path = Path()) -> str:
    """Return the checkout's commit, with + if tracked files other than the results have changes; else "unknown"."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", f":(top,exclude){RESULTS}")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
