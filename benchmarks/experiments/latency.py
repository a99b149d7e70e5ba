"""Experiments with the time of one decision in PushT and of one forecast: variants take turns within one run."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn
from torch.profiler import profile

import vidpred
from benchmarks.experiments.base import Experiment
from benchmarks.motion import forecasts, smooth_clip
from vidpred.config import load_config
from vidpred.data.videos.read_video import read_video
from vidpred.inference.predictor import Predictor
from vidpred.media.render import to_uint8
from vidpred.media.video_writer import write_video
from vidpred.models.build import build_generator
from vidpred.planning.controller import MPCController
from vidpred.planning.envs.base import to_image
from vidpred.planning.envs.pusht import PushTEnv
from vidpred.planning.solvers import CEM_DECAY, CEMSolver
from vidpred.planning.world_model import WorldModel
from vidpred.processes.memory import keep_freed_memory
from vidpred.processes.pool import available_cores

ROUNDS = 7
STAGES = {  # stage -> operations of PyTorch
    "convolutions": ("mkldnn_convolution",),
    "moments of the normalization": ("bmm",),
    "normalization, FiLM, ReLU": ("addcmul", "clamp_min_", "relu_"),
    "copies": ("copy_", "cat", "clone"),
}


class PlainWorldModel(WorldModel):
    """A `WorldModel` without the faster forward pass."""

    def _fast_forward(self) -> None:
        return None


def decision_row(folder: Path, seed: int) -> dict[str, Any]:
    """Time a decision of 64 x 5 plans of 5 actions at 32 x 32 pixels with random weights, which take the same time."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = load_config("pusht.yaml", {"data.root": "-"})
    generator = build_generator(config.model, config.data).eval()
    assert isinstance(generator.paint, nn.Conv2d)
    nn.init.normal_(generator.paint.weight, std=0.01)
    env = PushTEnv(32)
    frame, cost = to_image(env.reset_with_goal(seed)), env.cost(None)
    half = torch.bfloat16
    models = {
        "float32": (WorldModel(generator), 1.0),
        "bfloat16, autocast (as before)": (PlainWorldModel(generator, precision=half), 1.0),
        "bfloat16": (WorldModel(generator, precision=half), 1.0),
        "bfloat16, fewer plans per iteration (default)": (WorldModel(generator, precision=half), CEM_DECAY),
    }

    def decide(model: WorldModel, decay: float) -> None:
        controller = MPCController(model, CEMSolver(64, 5, 8, decay=decay), env.bounds, 5, reach=env.reach)
        controller.reset(seed, torch.from_numpy(env.neutral_action()).float())
        controller.act(frame, cost)

    variants = {name: lambda m=model, d=decay: decide(m, d) for name, (model, decay) in models.items()}
    returned = in_turns({"bfloat16, freed memory returned to the system": variants["bfloat16"]}, 3)
    keep_freed_memory()
    seconds = {**in_turns(variants, ROUNDS), **returned}
    return {"rounds": ROUNDS, "seconds": seconds, "stages": stages(variants["bfloat16"])}


def in_turns(variants: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, dict[str, float]]:
    """Return median, minimum and maximum of the wall-clock and processor seconds of calls that take turns."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, variant in variants.items():
            wall, processor = time.perf_counter(), time.process_time()
            variant()
            if turn:
                found[name].append((time.perf_counter() - wall, time.process_time() - processor))
    results = {}
    for name, pairs in found.items():
        values: dict[str, float] = {}
        for kind, seconds in zip(("wall", "processor"), zip(*pairs, strict=True), strict=True):
            summary = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
            values |= {f"{kind}_{key}": round(value, 3) for key, value in summary.items()}
        results[name] = values
    return results


def stages(variant: Callable[[], None]) -> dict[str, float]:
    """Return the share of each stage in the operations of PyTorch during a call."""
    with profile() as recorded:
        variant()
    by_name = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in recorded.key_averages()}
    total = sum(by_name.values())
    shares = {stage: sum(by_name.get(name, 0.0) for name in names) / total for stage, names in STAGES.items()}
    return {**{stage: round(share, 3) for stage, share in shares.items()}, "other": round(1 - sum(shares.values()), 3)}


def forecast_row(folder: Path, seed: int) -> dict[str, Any]:
    """Time forecasts of eight frames by the shipped weights on one thread."""
    return {"milliseconds": forecasts(20, 1)}


def stream_row(folder: Path, seed: int) -> dict[str, Any]:
    """Time forecasts of eight frames at 240x320 alone and in a stream, then stream 3 minutes."""
    keep_freed_memory()
    predictor = Predictor.load("pretrained", device="cpu")
    clip = smooth_clip(240, 320, 60)
    seconds: dict[str, dict[str, float]] = {}
    for threads in sorted({1, available_cores()}):
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        forward, first = predictor.generator.stream_forward(8), iter(range(60))

        def streaming(forward: Any = forward, first: Any = first) -> None:
            start = next(first)
            forward(clip[:, start : start + 10])

        with torch.inference_mode():
            found = in_turns({"alone": lambda: predictor.generator(clip[:, :10]), "in a stream": streaming}, 30)
        seconds |= {f"{threads} threads, {name}".replace("1 threads", "1 thread"): found[name] for name in found}
    return {"rounds": 30, "seconds": seconds, "stream": streamed(folder, predictor)}


def streamed(folder: Path, predictor: Predictor) -> dict[str, Any]:
    """Return the counts of a stream of 3 minutes at 10 frames a second, 240x320, and its memory every 20 seconds."""
    file = folder / "clip.mp4"
    if not file.is_file():
        once = read_video("runs/real_clips/test/bikes.mp4", size=(240, 320))
        frames = (once[abs((number + 249) % 498 - 249)] for number in range(1800))  # forth and back
        write_video(file, map(to_uint8, frames), 10)
    stream = vidpred.stream(file, predictor, size=0)
    stream.open()
    threads = stream.tune_threads()
    memory: list[float] = []
    for forecast in stream:
        if forecast.time >= 20 * len(memory):
            memory.append(round(resident_bytes() / 1e6, 1))
    return {"threads": threads, **stream.statistics.to_json(), "memory_mb_every_20_s": memory}


def resident_bytes() -> int:
    """Return the memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


LATENCY_EXPERIMENTS = [
    Experiment("motion, forecasts of a stream", 0, stream_row),
    Experiment("PushT, time of a decision", 0, decision_row),
    Experiment("motion, time of a forecast", 0, forecast_row),
]
