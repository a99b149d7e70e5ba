"""Correctness on a GPU: frames, updates of weights and resumed runs against the CPU."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from benchmarks.gpu_harness import (
    SMALL_MODELS,
    Clock,
    Results,
    attempt,
    build_trainer,
    check_batch,
    choose_device,
    small_config,
)
from vidpred.checkpoint import Checkpoint, RunFolder
from vidpred.config import Config, load_config
from vidpred.data.batch import Batch
from vidpred.models.pyramid import as_pyramid
from vidpred.models.rollout import rollout
from vidpred.run import train
from vidpred.training.trainer import Trainer

OUTPUT_TOLERANCE = 1e-4  # ||cuda - cpu|| / ||cpu|| of predicted frames, float32 without TF32


UPDATE_TOLERANCE = 1e-6  # the same for the weights' changes over three steps of SGD, in float64


TRAIN_STEPS = 3


def flat(values: Sequence[Tensor]) -> Tensor:
    """Concatenate all values, float64 on the CPU."""
    return torch.cat([value.detach().double().cpu().flatten() for value in values])


def relative(found: Tensor, expected: Tensor) -> float:
    """Return ||found - expected|| / ||expected||."""
    return float((found - expected).norm() / expected.norm())


def check_model(name: str, results: Results) -> None:
    """Compare predicted frames (float32) and three training steps (float64) of one model on the GPU with the CPU's.

    In float32, training steps have no tolerance: rounding can move an activation over the kink of a ReLU, and batch
    normalization of a few images amplifies the difference. They are reported together with the effect of rounding on
    the CPU alone, where every weight is moved by a relative 1e-6.
    """
    config = small_config(name)
    batch = check_batch(config)
    cpu, gpu = torch.device("cpu"), choose_device()
    outputs = [predicted_frames(build_trainer(config, device, "float32"), batch, device) for device in (cpu, gpu)]
    difference = relative(outputs[1], outputs[0])
    results.add(f"{name}: predicted frames, GPU against CPU", difference, verdict(difference, OUTPUT_TOLERANCE))
    expected, found, moved = (take_steps(config, batch, *row) for row in ((cpu, 0), (gpu, 0), (cpu, 1e-6)))
    exact = []
    if name != "motion":  # its optical flow comes in float32
        with doubles():
            exact = [take_steps(config, batch, device, 0) for device in (cpu, gpu)]
    for key in expected:
        what = f"{name}: {key}'s change over {TRAIN_STEPS} steps"
        if exact:
            difference = relative(exact[1][key], exact[0][key])
            results.add(f"{what} in float64, GPU against CPU", difference, verdict(difference, UPDATE_TOLERANCE))
        results.add(f"{what} in float32, GPU against CPU", relative(found[key], expected[key]), "relative")
        results.add(f"{what} in float32, CPU moved by 1e-6", relative(moved[key], expected[key]), "relative")


@contextmanager
def doubles() -> Iterator[None]:
    """Build modules in float64 and prevent casts to float32 within a `with` block."""
    torch.set_default_dtype(torch.float64)
    try:
        with patch.object(Tensor, "float", Tensor.double):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def verdict(difference: float, tolerance: float) -> str:
    """Return the unit of a relative difference with its tolerance, and whether it is met."""
    return f"relative; at most {tolerance:g}: {'ok' if difference <= tolerance else 'FAILED'}"


def predicted_frames(trainer: Trainer, batch: Batch, device: torch.device) -> Tensor:
    """Return the frames of a rollout, or the images of a generator without context, flat."""
    generator: Any = trainer.networks["generator"].module
    context = batch.context.to(device)
    size = generator.noise_channels
    noise = torch.randn(len(context), size, generator=torch.Generator().manual_seed(2)).to(device) if size else None
    if not context.shape[1]:
        with torch.inference_mode():
            return flat(list(as_pyramid(generator(context, noise)))[-1:])
    if batch.actions is None:
        return flat([rollout(generator, context, 3, noise)])
    frames = batch.actions.shape[1] + 1 - context.shape[1]
    return flat([rollout(generator, context, frames, noise, batch.actions.to(device))])


def take_steps(config: Config, batch: Batch, device: torch.device, shift: float) -> dict[str, Tensor]:
    """Return the change of each network's weights over `TRAIN_STEPS` steps, flat.

    Args:
        config: Settings of the model and its training.
        batch: The batch of every step.
        device: Where to train.
        shift: Relative size of a random change of all weights before the first step.
    """
    trainer = build_trainer(config, device, "float32")
    batch = batch.to(device)
    batch = replace(
        batch,
        **{
            key: value.to(torch.get_default_dtype())
            for key, value in vars(batch).items()
            if isinstance(value, Tensor) and value.is_floating_point()
        },
    )
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for network in trainer.networks.values():
            for weight in network.parameters:
                weight.mul_(1 + shift * torch.randn(weight.shape, generator=random).to(weight))
    before = {key: flat(network.parameters) for key, network in trainer.networks.items()}
    for number in range(TRAIN_STEPS):
        trainer.train_step(number, batch)
    return {key: flat(network.parameters) - before[key] for key, network in trainer.networks.items()}


def check_resume(results: Results, folder: Path) -> None:
    """Resume a training that stopped halfway and compare its last weights with those of an uninterrupted run."""
    shutil.rmtree(folder, ignore_errors=True)
    runs = [folder / "whole", folder / "resumed"]
    changes = {"training.validate_every": 0, "training.image_every": 0, "checkpoint.every": 4, "checkpoint.keep": 9,
               "training.steps": 8, "data.root": None}  # fmt: skip
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        AcceleratorState._reset_state(reset_partial_state=True)
        train(load_config("tiny.yaml", {**changes, "run": str(runs[0])}))
        shutil.copytree(runs[0], runs[1], ignore=shutil.ignore_patterns("step-8"))
        train(load_config("tiny.yaml", {**changes, "run": str(runs[1])}))
    finally:
        torch.use_deterministic_algorithms(False)
    whole, resumed = (Checkpoint(RunFolder(run).folder(8)).tensors("generator") for run in runs)
    largest = max(float((whole[key] - resumed[key]).abs().max()) for key in whole)
    results.add("resumed after 4 of 8 steps: largest difference of a weight", largest, "0 is exact")


def check_correctness(results: Results, clock: Clock, folder: Path) -> None:
    """Compare the GPU with the CPU for every small model, then check resuming."""
    torch.backends.cudnn.allow_tf32 = False
    try:
        for name in SMALL_MODELS:
            if clock.within(0.2):
                attempt(results, name, partial(check_model, name, results))
        attempt(results, "resume", lambda: check_resume(results, folder / "resume"))
    finally:
        torch.backends.cudnn.allow_tf32 = True
