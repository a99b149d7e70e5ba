"""Training steps next to the machine's ceilings: convolution rate and memory bandwidth, measured in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import dcgan_step
from benchmarks.experiments.base import Experiment
from benchmarks.gpu_harness import build_trainer, check_batch, random_batch
from benchmarks.harness import time_in_turns
from benchmarks.training_step import plain_step
from vidpred.config import load_config
from vidpred.data.batch import Batch
from vidpred.processes.memory import keep_freed_memory
from vidpred.training.hardware import choose_precision
from vidpred.training.trainer import Trainer

CPU = torch.device("cpu")
CONVOLUTIONS = [(8, 128, 32, 3), (8, 256, 32, 5), (4, 512, 16, 5), (32, 64, 32, 3)]  # batch, channels, side, kernel
COPIED = 2**28  # bytes


@dataclass(frozen=True)
class Case:
    """A training step: label, preset, samples in a batch, side of the crops, rounds, and changes to the preset."""

    label: str
    preset: str
    batch: int
    side: int
    rounds: int = 7
    changes: dict[str, Any] = field(default_factory=dict)


SHAPES = {"data.world.name": "moving_shapes", "data.size": 64, "data.crop_size": 64, "data.world.synthetic_share": 0}
CASES = [
    Case("paper size", "ucf101.yaml", 8, 32, 3),
    Case("paper size", "ucf101.yaml", 32, 32, 3),
    Case("paper size", "ucf101.yaml", 8, 64, 3, {"data.crop_size": 64}),
    Case("release size", "release.yaml", 8, 64),
    Case("forking-ball world, adversarial", "forking_ball_adversarial.yaml", 16, 32),
    Case("DCGAN", "dcgan_faces.yaml", 128, 64, 3, {"model.width": 64, "discriminator.width": 64}),
    Case("U-Net of planning", "block_push.yaml", 16, 32),
    Case("motion", "motion.yaml", 4, 64, 7, {"data.root": None, **SHAPES}),
]


def ceilings(precision: str, rounds: int = 5) -> dict[str, float]:
    """Return the highest rates: convolutions in float32 and in a precision (FLOP/s), copies in memory (bytes/s)."""
    found = {
        name: max(convolution_rate(getattr(torch, name), *shape, rounds) for shape in CONVOLUTIONS)
        for name in dict.fromkeys(("float32", precision))
    }
    source = torch.ones(COPIED // 4)
    target = torch.empty_like(source)
    seconds = statistics.median(time_in_turns({"copy": lambda: target.copy_(source)}, rounds)["copy"])
    return {**found, "copy": 2 * COPIED / seconds}  # read and written


def convolution_rate(dtype: torch.dtype, batch: int, channels: int, side: int, kernel: int, rounds: int) -> float:
    """Return the FLOP/s of a convolution in the memory layout that vidpred uses, channels last."""
    layer = nn.Conv2d(channels, channels, kernel, padding=kernel // 2).to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(batch, channels, side, side).to(dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        seconds = statistics.median(time_in_turns({"it": lambda: layer(images)}, rounds)["it"])
    return float(2 * batch * side**2 * channels**2 * kernel**2 / seconds)


def steps(case: Case, precision: str) -> tuple[dict[str, Callable[[], object]], float]:
    """Return a case's step, with the same step in plain float32 or that of the public example; and its FLOP."""
    config = load_config(case.preset, {"data.root": "-", "training.monitor_every": 0, **case.changes})
    moves = config.data.world_settings.name == "moving_shapes"
    batch = check_batch(config, case.batch) if moves else random_batch(config, case.batch, case.side, CPU)
    trainer = build_trainer(config, CPU, precision)
    numbers = count(1)
    variants: dict[str, Callable[[], object]] = {"vidpred": lambda: trainer.train_step(next(numbers), batch)}
    variants |= others(case, batch, trainer)
    from torch.utils.flop_counter import FlopCounterMode  # lazily: it imports torch's compiler

    with FlopCounterMode(display=False) as counter:
        trainer.train_step(0, batch)
    return variants, float(counter.get_total_flops())


def others(case: Case, batch: Batch, trainer: Trainer) -> dict[str, Callable[[], object]]:
    """Return the steps to compare with: the plain port of the paper's networks, PyTorch's public DCGAN."""
    if case.preset == "ucf101.yaml":
        return {"plain float32": plain_step(trainer, batch, freeze=False)}
    if case.preset == "dcgan_faces.yaml":
        return {"public example": dcgan_step.example_step(2 * batch.future[:, 0] - 1)}
    return {}


def measure(folder: Path, seed: int) -> dict[str, Any]:
    """Measure all cases; the ceilings before each, because a shared machine's change."""
    keep_freed_memory()
    precision = choose_precision("auto", CPU)
    rows, found = [], []
    for case in CASES:
        found.append(ceilings(precision))
        variants, flops = steps(case, precision)
        seconds = time_in_turns(variants, case.rounds, warm_up=1 if case.rounds < 5 else 2)
        print(case, {name: statistics.median(values) for name, values in seconds.items()}, found[-1], flush=True)
        rows.append({
            "label": f"{case.label}, batch {case.batch}, {case.side} px", "gflop": flops / 1e9,
            "seconds": {name: [round(value, 5) for value in values] for name, values in seconds.items()},
        })  # fmt: skip
    kept = {key: [round(rates[key] / 1e9, 2) for rates in found] for key in found[0]}
    return {"precision": precision, "ceilings_g_per_s": kept, "rows": rows}


CEILING_EXPERIMENTS = [Experiment("speed: training steps and ceilings", 0, measure)]
