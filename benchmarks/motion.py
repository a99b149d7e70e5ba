"""Compare the speed of the motion-aware generator with that of optical flow. Run: python -m benchmarks.motion.

Frames per second at three sizes: extrapolation along the flow, one frame at a time; the generator's next frame; and its
eight frames at once. Variants take turns within one run.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import torch

from benchmarks.harness import machine, time_in_turns
from vidpred.models.baselines import FlowExtrapolation
from vidpred.models.motion import MotionGenerator, MotionSettings

SIZES = {"64x64": (64, 64), "240x320": (240, 320), "720x1280": (720, 1280)}


def smooth_clip(height: int, width: int, frames: int = 10) -> torch.Tensor:
    """Return smooth noise that moves by two pixels per frame, `(1, T, 3, H, W)` in [0, 1]."""
    noise = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(noise, (height, width + 2 * frames), mode="bicubic").clamp(0, 1)
    return torch.stack([image[..., 2 * time : 2 * time + width] for time in range(frames)], 1)


@torch.inference_mode()
def main() -> None:
    """Time the variants in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="Rounds, in which variants take turns.")
    rounds = parser.parse_args().rounds
    for key, value in machine().items():
        print(f"{key}: {value}")
    print(f"{'frames per second':<17}{'flow alone':>14}{'next frame':>14}{'eight frames':>14}")
    flow = FlowExtrapolation()
    once, eight = (MotionGenerator(MotionSettings(), 10, frames).eval() for frames in (1, 8))
    for name, (height, width) in SIZES.items():
        context = smooth_clip(height, width)
        networks = {"flow": flow, "once": once, "eight": eight}
        variants = {key: partial(network, context) for key, network in networks.items()}
        seconds = time_in_turns(variants, rounds, warm_up=1)
        medians = {key: statistics.median(values) for key, values in seconds.items()}
        rates = [1 / medians["flow"], 1 / medians["once"], 8 / medians["eight"]]
        print(f"{name:<17}" + "".join(f"{rate:>14.1f}" for rate in rates))


if __name__ == "__main__":
    main()
