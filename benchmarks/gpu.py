"""Measure correctness, speed, rollouts and a longer training on a machine with a GPU.

    python -m benchmarks.gpu --minutes 8 --output DIR [--frames FOLDER]

Prints a table and writes DIR/gpu.json after every figure, so that nothing is lost if the run is cut off. Every part
respects the time limit. FOLDER is the output of `python -m benchmarks.mathieu_long prepare FOLDER`; without it there is
no training. On a machine without a GPU everything runs on the CPU, with --small in a minute.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_correctness import check_correctness
from benchmarks.gpu_harness import (
    Clock,
    Results,
    attempt,
    build_trainer,
    choose_device,
    random_batch,
)
from benchmarks.harness import commit, machine, time_in_turns
from benchmarks.mathieu_long import train_all
from benchmarks.results import RESULTS, append_result
from benchmarks.training_step import plain_step
from vidpred.config import Config, load_config
from vidpred.models.build import build_generator
from vidpred.models.rollout import rollout
from vidpred.planning.world_model import WorldModel

PARTS = ("rates", "correctness", "speed", "rollouts", "training")
LEAST_TRAINING_SECONDS = 30
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
    from torch.utils.flop_counter import FlopCounterMode  # lazily: it imports torch's compiler

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
