"""Measure correctness, speed, rollouts and a longer training on a machine with a GPU.

    python -m benchmarks.gpu --minutes 8 --output DIR [--frames FOLDER]

Prints a table and writes DIR/gpu.json after every figure, so that nothing is lost if the run is cut off. Every part
respects the time limit. FOLDER is the output of `python -m benchmarks.mathieu_long prepare FOLDER`; without it there is
no training. On a machine without a GPU everything runs on the CPU, with --small in a minute.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import commit, machine, time_in_turns
from benchmarks.mathieu_long import train_all
from benchmarks.results import RESULTS, append_result
from benchmarks.training_step import plain_step
from vidpred.checkpoint import Checkpoint, RunFolder
from vidpred.config import Config, load_config
from vidpred.data.batch import Batch
from vidpred.data.build import build_source
from vidpred.data.sources import TrainingSamples, training_offsets
from vidpred.data.worlds.forking_ball import WorldWindows
from vidpred.models.build import build_discriminator, build_generator
from vidpred.models.pyramid import as_pyramid
from vidpred.models.rollout import rollout
from vidpred.planning.world_model import WorldModel
from vidpred.run import train
from vidpred.training.trainer import Trainer
from vidpred.training.updates import TrainingParts

PARTS = ("rates", "correctness", "speed", "rollouts", "training")
OUTPUT_TOLERANCE = 1e-4  # ||cuda - cpu|| / ||cpu|| of predicted frames, float32 without TF32
UPDATE_TOLERANCE = 1e-6  # the same for the weights' changes over three steps of SGD, in float64
TRAIN_STEPS = 3
LEAST_TRAINING_SECONDS = 30
SMALL_MODELS: dict[str, dict[str, Any]] = {
    "multiscale": {"preset": "ucf101.yaml", "data.root": None, "model.size": "release",
                   "discriminator.size": "release"},
    "dcgan": {"preset": "dcgan_faces.yaml", "model.width": 32, "discriminator.width": 32},
    "film_unet": {"preset": "block_push.yaml"},
    "motion": {"preset": "motion.yaml", "data.root": None, "data.world.name": "moving_shapes", "data.size": 64,
               "data.crop_size": 64, "data.world.synthetic_share": 0},
}  # fmt: skip
# name, preset, overrides, batch, side
SPEEDS: list[tuple[str, str, dict[str, Any], int, int]] = [
    ("ucf101", "ucf101.yaml", {}, 8, 32),
    ("ucf101", "ucf101.yaml", {}, 32, 32),
    ("ucf101", "ucf101.yaml", {"data.crop_size": 64}, 8, 64),
    ("ucf101", "ucf101.yaml", {"data.crop_size": 64}, 32, 64),
    ("release", "release.yaml", {}, 8, 64),
    ("dcgan_faces", "dcgan_faces.yaml", {}, 128, 64),
    ("block_push (film_unet)", "block_push.yaml", {}, 16, 32),
    ("block_push (film_unet)", "block_push.yaml", {}, 16, 64),
]
# The same code on networks that are fast on a CPU.
SMALL_SPEEDS: list[tuple[str, str, dict[str, Any], int, int]] = [
    ("ucf101", "ucf101.yaml", {"model.size": "release", "discriminator.size": "release"}, 2, 32),
    ("dcgan_faces", "dcgan_faces.yaml", {"model.width": 8, "discriminator.width": 8}, 2, 64),
    ("block_push (film_unet)", "block_push.yaml", {}, 2, 32),
]


class Clock:
    """The time limit of the whole run."""

    def __init__(self, minutes: float) -> None:
        self.begin, self.seconds = time.monotonic(), 60 * minutes

    @property
    def left(self) -> float:
        return self.begin + self.seconds - time.monotonic()

    def within(self, share: float) -> bool:
        """Return whether less than this share of the time is used."""
        return self.left > (1 - share) * self.seconds


class Results:
    """Figures as rows (name, value, unit), printed and written at once."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.about = folder / "gpu.json", about
        self.rows: list[dict[str, Any]] = []
        self._write()

    def add(self, name: str, value: float | str | bool, unit: str = "") -> None:
        self.rows.append({"name": name, "value": value, "unit": unit})
        shown = f"{value:,.4g}" if isinstance(value, float) else str(value)
        print(f"{name:<78} {shown:>12} {unit}", flush=True)
        self._write()

    def _write(self) -> None:
        temporary = self.file.with_suffix(".part")
        temporary.write_text(json.dumps({**self.about, "rows": self.rows}, indent=1))
        temporary.replace(self.file)


def choose_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def about_card() -> dict[str, Any]:
    """Describe the machine and, where there is a GPU, the card and its libraries."""
    about: dict[str, Any] = {"machine": machine(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        about |= {
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "processors": properties.multi_processor_count,
        }
    return about


# Rates: the card's highest rates, the reference of all shares.


def median_seconds(call: Callable[[], object], rounds: int) -> float:
    """Return the median time of a call, after two calls that do not count."""
    return statistics.median(time_in_turns({"it": call}, rounds, warm_up=2)["it"])


def measure_rates(results: Results, small: bool) -> float:
    """Measure a large matrix product, a large convolution and a copy; return the matrix product's FLOP/s."""
    device, rounds = choose_device(), 3 if small else 20
    side = 256 if small else 8192
    first, second = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    rate = 2 * side**3 / median_seconds(lambda: first @ second, rounds)
    results.add(f"bfloat16 matrix product {side}x{side}x{side}", rate / 1e12, "TFLOP/s")
    batch, channels, pixels = (1, 16, 16) if small else (32, 512, 64)
    convolution = torch.nn.Conv2d(channels, channels, 5, padding=2).to(device, torch.bfloat16)
    convolution = convolution.to(memory_format=torch.channels_last)
    images = torch.randn(batch, channels, pixels, pixels, device=device, dtype=torch.bfloat16)
    images = images.to(memory_format=torch.channels_last)
    flops = 2 * batch * pixels**2 * channels**2 * 25
    with torch.no_grad():
        convolved = flops / median_seconds(lambda: convolution(images), rounds)
    results.add(
        f"bfloat16 convolution 5x5, {channels} channels, {batch}x{pixels}x{pixels}", convolved / 1e12, "TFLOP/s"
    )
    source = torch.randn((2**20 if small else 2**30) // 4, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * 4 / median_seconds(lambda: target.copy_(source), rounds)
    results.add("copy in memory, bytes read and written", copied / 1e12, "TB/s")
    return rate


# Correctness: the same weights and batches on the CPU and on the GPU.


def small_config(name: str) -> Config:
    """Return the config of a small model (a key of `SMALL_MODELS`), trained by plain SGD."""
    changes = dict(SMALL_MODELS[name])
    preset = changes.pop("preset")
    sgd = {"name": "sgd", "learning_rate": 1e-3}
    changes |= {"training.generator": sgd, "training.grad_clip_norm": None, "training.monitor_every": 0}
    config = load_config(preset, {"data.root": "-", **changes})
    if config.objective.has_discriminator:
        config = load_config(preset, {"data.root": "-", **changes, "training.discriminator": sgd})
    return config


def build_trainer(config: Config, device: torch.device, precision: str) -> Trainer:
    """Build a trainer of this config that reads no data; weights depend only on the seed."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if precision == "bfloat16" else "no")
    torch.manual_seed(0)
    generator = build_generator(config.model, config.data)
    discriminator = None
    if config.objective.has_discriminator:
        discriminator = build_discriminator(config.discriminator, config.model.num_scales, config.data)
    never_read = WorldWindows(config.data.model_copy(update={"context_frames": 4}), range(5), 100, 0)
    return Trainer(
        TrainingParts(
            seed=0, training=config.training, objective=config.objective, checkpoint=config.checkpoint, workers=0,
            timeout_seconds=0, folder=RunFolder("unused"), accelerator=accelerator,
            samples=TrainingSamples(never_read, 0), generator=generator, discriminator=discriminator, validate=None,
            unroll=config.data.unroll,
        )
    )  # fmt: skip


def random_batch(config: Config, count: int, side: int, device: torch.device) -> Batch:
    """Return uniform noise of the shapes that this config trains on; it depends only on the shapes."""
    random = torch.Generator().manual_seed(1)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random).to(device)

    data = config.data
    context = uniform(count, data.context_frames, data.channels, side, side)
    future = uniform(count, data.future_frames, data.channels, side, side)
    size = config.model.action_size
    actions = uniform(count, data.context_frames + data.future_frames - 1, size) * 2 - 1 if size else None
    return Batch(context, future, torch.arange(count, device=device), actions)


def check_batch(config: Config, count: int = 4) -> Batch:
    """Return clips of the embedded world for models of motion, else noise; on the CPU."""
    if config.data.world_settings.name == "moving_shapes":
        source = build_source(config.data, "train", training_offsets(config.data))
        return source.draw(list(range(count)), list(range(count)), 0).to(torch.device("cpu"))
    return random_batch(config, count, config.data.crop_size or 32, torch.device("cpu"))


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


def attempt(results: Results, name: str, call: Callable[[], object]) -> None:
    """Run a part; record its failure in the results and continue."""
    try:
        call()
    except Exception as error:
        traceback.print_exc()
        results.add(f"{name}: FAILED", f"{type(error).__name__}: {error}"[:200])


# Speed of training steps.


def measure_speed(results: Results, clock: Clock, rate: float, small: bool) -> None:
    """Time the presets' training steps in bfloat16 and float32, each with a batch that is already on the device."""
    for name, preset, changes, count, side in SMALL_SPEEDS if small else SPEEDS:
        label = f"{name}, batch {count}, {side} px"
        if not clock.within(0.35):
            results.add(f"{label}: left out", "no time left")
            continue
        config = load_config(preset, {"data.root": "-", "training.monitor_every": 0, **changes})
        attempt(results, label, partial(speed, results, label, config, (count, side), rate, small))


def speed(results: Results, label: str, config: Config, shape: tuple[int, int], rate: float, small: bool) -> None:
    """Time one config's step.

    Args:
        results: Receives the figures.
        label: Prefix of the figures' names.
        config: Settings of the model and its training.
        shape: Samples in a batch, and the side of its frames in pixels.
        rate: FLOP/s of the matrix product, the reference of the share.
        small: Run few rounds.
    """
    device, rounds = choose_device(), 2 if small else 12
    batch = random_batch(config, *shape, device)
    numbers = iter(range(10**9))
    trainers = {
        "bfloat16": build_trainer(config, device, "bfloat16"),
        "float32": build_trainer(config, device, "float32"),
    }
    variants: dict[str, Callable[[], object]] = {
        f"vidpred, {precision}": partial(lambda trainer: trainer.train_step(next(numbers), batch), trainer)
        for precision, trainer in trainers.items()
    }
    if label.startswith("ucf101"):
        variants["plain float32 NCHW"] = plain_step(trainers["float32"], batch, freeze=False)
    with FlopCounterMode(display=False) as counter:
        trainers["float32"].train_step(0, batch)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = {name: statistics.median(values) for name, values in time_in_turns(variants, rounds, warm_up=3).items()}
    for name, value in seconds.items():
        results.add(f"{label}: step, {name}", 1e3 * value, "ms")
    fast = seconds["vidpred, bfloat16"]
    results.add(f"{label}: samples, bfloat16", shape[0] / fast, "samples/s")
    results.add(f"{label}: bfloat16 against vidpred in float32", seconds["vidpred, float32"] / fast, "times as fast")
    if "plain float32 NCHW" in seconds:
        results.add(f"{label}: bfloat16 against the plain step", seconds["plain float32 NCHW"] / fast, "times as fast")
    flops = counter.get_total_flops()
    results.add(f"{label}: arithmetic of a step", flops / 1e9, "GFLOP")
    results.add(f"{label}: share of the matrix product's rate", 100 * flops / fast / rate, "%")
    if device.type == "cuda":
        busy = busy_seconds(lambda: trainers["bfloat16"].train_step(next(numbers), batch))
        results.add(f"{label}: the GPU computes during", 100 * busy / fast, "% of the bfloat16 step")
        results.add(f"{label}: peak memory of all of these", torch.cuda.max_memory_allocated() / 2**30, "GiB")


def busy_seconds(step: Callable[[], object], steps: int = 3) -> float:
    """Return the time that the kernels of one step run, by the profiler."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(steps):
            step()
        torch.cuda.synchronize()
    microseconds = sum(float(event.self_device_time_total) for event in profiler.key_averages())
    return microseconds / 1e6 / steps


# Rollouts.


def measure_rollouts(results: Results, clock: Clock, small: bool) -> None:
    """Time 256 futures of 10 frames at 64 px: plans of block_push's network, and the multi-scale networks."""
    count, frames, side, rounds = (4, 2, 32, 1) if small else (256, 10, 64, 5)
    device = choose_device()
    what = f"{count} x {frames} at {side} px"

    def timed(name: str, call: Callable[[], object]) -> None:
        if not clock.within(0.4):
            return
        seconds = median_seconds(call, rounds)
        results.add(f"rollout {what}, {name}", 1e3 * seconds, "ms")
        results.add(f"rollout {what}, {name}: frames", count * frames / seconds, "frames/s")

    torch.manual_seed(0)
    config = load_config("block_push.yaml", {"data.root": "-"})
    generator = build_generator(config.model, config.data).eval().to(device)
    context = torch.rand(1, 1, 3, side, side, device=device)
    actions = torch.rand(1, count, frames, 2, device=device) * 2 - 1
    for precision in (torch.float32, torch.bfloat16):
        model = WorldModel(generator, precision=precision)
        timed(f"block_push, {str(precision)[6:]}", partial(model.rollout, context, actions))
    for size in ("release",) if small else ("release", "paper"):
        config = load_config("ucf101.yaml", {"data.root": "-", "model.size": size})
        generator = build_generator(config.model, config.data).eval().to(device).to(memory_format=torch.channels_last)
        frames_in = torch.rand(count, 4, 3, side, side, device=device)
        for precision in (torch.float32, torch.bfloat16):

            def predict(generator=generator, context=frames_in, precision=precision) -> Tensor:  # type: ignore[no-untyped-def]
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
                    return rollout(generator, context, frames)

            timed(f"multiscale {size}, {str(precision)[6:]}", predict)


# The longer training.


def measure_training(results: Results, clock: Clock, options: argparse.Namespace) -> None:
    """Train the ladder's rungs with three seeds, all at once, in the remaining time."""
    if clock.left < LEAST_TRAINING_SECONDS:
        results.add("training: left out", "no time left")
        return
    settings: dict[str, Any] = {"size": options.size, "steps": options.steps}
    if options.small:
        settings = {"size": "release", "rungs": ("ladder_adv_gdl",), "seeds": (0,), "steps": 4}
    figures: Iterator[tuple[str, float, str]] = train_all(options.frames, options.output, clock.left, **settings)
    for name, value, unit in figures:
        results.add(f"training: {name}", value, unit)


def record(folder: Path) -> None:
    """Append the figures of a run to the results, as one line."""
    report = json.loads((folder / "gpu.json").read_text())
    figures = {row["name"]: [row["value"], row["unit"]] for row in report["rows"] if "time left" not in row["name"]}
    about = {"name": f"GPU: {', '.join(report['parts'])}", "seed": 0, "commit": report["commit"]}
    append_result(RESULTS, {**about, "figures": figures, "machine": report["machine"]})


def main(words: list[str] | None = None) -> int:
    """Run the chosen parts; return 1 if one failed or a result was wrong, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8, help="Wall-clock limit of the whole run.")
    parser.add_argument("--output", type=Path, required=True, help="Folder for gpu.json, runs and predictions.")
    parser.add_argument("--record", action="store_true", help="Only append the figures in --output to the results.")
    parser.add_argument("--frames", type=Path, help="Output of benchmarks.mathieu_long prepare; none: no training.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="Parts to run.")
    parser.add_argument("--size", choices=("paper", "release"), default="paper", help="Size of trained generators.")
    parser.add_argument("--steps", type=int, help="Steps of each training; default: as many as the time allows.")
    parser.add_argument("--small", action="store_true", help="Use tiny networks and few rounds, as a quick test.")
    options = parser.parse_args(words)
    if options.record:
        record(options.output)
        return 0
    about = {**about_card(), "commit": commit(), "parts": list(options.parts)}
    clock, results = Clock(options.minutes), Results(options.output, about)
    rate = 0.0

    def rates() -> None:
        nonlocal rate
        rate = measure_rates(results, options.small)

    parts: dict[str, Callable[[], object]] = {
        "rates": rates,
        "correctness": lambda: check_correctness(results, clock, options.output),
        "speed": lambda: measure_speed(results, clock, rate or float("nan"), options.small),
        "rollouts": lambda: measure_rollouts(results, clock, options.small),
        "training": lambda: measure_training(results, clock, options),
    }
    for name, part in parts.items():
        if name in options.parts and (name != "training" or options.frames):
            attempt(results, name, part)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            results.add(f"time left after {name}", clock.left, "s")
    return int(any("FAILED" in row["name"] + row["unit"] for row in results.rows))


if __name__ == "__main__":
    sys.exit(main())
