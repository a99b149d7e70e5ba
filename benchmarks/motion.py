"""Compare the speed of the motion-aware generator with that of optical flow. Run: python -m benchmarks.motion.

Milliseconds at three sizes: extrapolation along the flow by one frame; a forecast of eight frames by the shipped
weights, with sharpness 0 and 1. Variants take turns within one run.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import cv2
import torch

from benchmarks.harness import machine, time_in_turns
from vidpred.inference.predictor import Predictor
from vidpred.models.baselines import FlowExtrapolation
from vidpred.processes.pool import available_cores

SIZES = {"64x64": (64, 64), "240x320": (240, 320), "720x1280": (720, 1280)}


def smooth_clip(height: int, width: int, frames: int = 10) -> torch.Tensor:
    """Return smooth noise that moves by two pixels per frame, `(1, T, 3, H, W)` in [0, 1]."""
    noise = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(noise, (height, width + 2 * frames), mode="bicubic").clamp(0, 1)
    return torch.stack([image[..., 2 * time : 2 * time + width] for time in range(frames)], 1)


def forecasts(rounds: int, threads: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return the seconds of each variant for each size: median, 95th percentile and range, in turns within one run."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    generators = {sharpness: Predictor.load("pretrained", device="cpu").generator for sharpness in (1.0, 0.0)}
    for sharpness, generator in generators.items():
        generator.sharpness = sharpness
    found = {}
    for name, (height, width) in SIZES.items():
        context = smooth_clip(height, width)
        variants: dict[str, Callable[[], object]] = {"flow alone": partial(FlowExtrapolation(), context)}
        for sharpness, generator in generators.items():
            variants[f"eight frames, sharpness {sharpness:g}"] = partial(generator, context)
        with torch.inference_mode():
            seconds = time_in_turns(variants, rounds if height < 720 else max(rounds // 4, 2), warm_up=1)
        found[name] = {variant: summary(values) for variant, values in seconds.items()}
    return found


def summary(seconds: list[float]) -> dict[str, float]:
    """Return median, 95th percentile, minimum and maximum in milliseconds."""
    values = [1000 * value for value in seconds]
    last = statistics.quantiles(values, n=20, method="inclusive")[-1]
    parts = {"median": statistics.median(values), "p95": last, "min": min(values), "max": max(values)}
    return {name: round(value, 2) for name, value in parts.items()}


def main() -> None:
    """Time the variants in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="Rounds, in which variants take turns.")
    parser.add_argument("--threads", type=int, default=available_cores(), help="Threads.")
    options = parser.parse_args()
    found = forecasts(options.rounds, options.threads)
    for key, value in machine().items():
        print(f"{key}: {value}")
    print(f"{'milliseconds, median (95 %)':<30}" + "".join(f"{name:>24}" for name in next(iter(found.values()))))
    for size, variants in found.items():
        cells = (f"{times['median']:.1f} ({times['p95']:.1f})" for times in variants.values())
        print(f"{size:<30}" + "".join(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main()
