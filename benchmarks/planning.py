"""Compare the speed of a `WorldModel` with a plain loop over candidates and steps.

    python -m benchmarks.planning [--side 64] [--candidates 256] [--steps 10] [--rounds 3]

The model is that of the preset block_push.yaml, untrained: its speed is that of a trained one. Variants take turns
within one run. Also prints the time at half the candidates and at half the steps (it should be half), and the memory of
one chunk.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time

import psutil
import torch
from torch import Tensor, nn

from benchmarks.harness import machine, report, time_in_turns
from vidpred.config import load_config
from vidpred.models.build import build_generator
from vidpred.planning.world_model import WorldModel


def untrained(device: torch.device) -> nn.Module:
    """Build block_push.yaml's generator with random weights."""
    config = load_config("block_push.yaml", {"data.root": "-"})
    torch.manual_seed(0)
    return build_generator(config.model, config.data).eval().to(device)


@torch.inference_mode()
def plain_loop(generator: nn.Module, context: Tensor, actions: Tensor) -> Tensor:
    """Predict one candidate and one step at a time in float32: `(B, S, K, C, H, W)`."""
    found = []
    for plan in actions[0]:
        frame, frames = context, []
        for action in plan:
            frame = generator(frame, actions=action[None, None])[-1]
            frames.append(frame[:, 0])
        found.append(torch.stack(frames, 1))
    return torch.stack(found, 1)


def peak_megabytes(model: WorldModel, context: Tensor, actions: Tensor) -> float:
    """Return the growth of the process while the costs of all candidates are computed (their frames are not kept)."""
    process, peak, over = psutil.Process(), 0, threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not over.is_set():
            peak = max(peak, process.memory_info().rss - before)
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    model.costs(context, actions, None, lambda frames: frames.mean((-3, -2, -1)))
    over.set()
    thread.join()
    return peak / 2**20


def main(words: list[str] | None = None) -> None:
    """Time the variants in turns and print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("side", 64), ("candidates", 256), ("steps", 10), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args(words)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = untrained(device)
    context = torch.rand(1, 1, 3, options.side, options.side, device=device)
    actions = torch.rand(1, options.candidates, options.steps, 2, device=device) * 2 - 1
    exact, fast = WorldModel(generator), WorldModel(generator, precision=torch.bfloat16)
    difference = (plain_loop(generator, context, actions[:, :2]) - exact.rollout(context, actions[:, :2])).abs().max()
    variants = {
        "plain loop, float32": lambda: plain_loop(generator, context, actions),
        "WorldModel, float32": lambda: exact.rollout(context, actions),
        "WorldModel, bfloat16": lambda: fast.rollout(context, actions),
    }
    seconds = time_in_turns(variants, options.rounds, warm_up=1)
    frames = options.candidates * options.steps
    print(
        report(
            f"{options.candidates} candidates x {options.steps} steps at {options.side}x{options.side}",
            seconds,
            "plain loop, float32",
        )
    )
    for name, values in seconds.items():
        print(f"{name}: {frames / statistics.median(values):,.0f} frames/s")
    print(f"largest difference of float32 frames: {float(difference):.1e}")
    half = {
        "all": lambda: exact.rollout(context, actions),
        "half the candidates": lambda: exact.rollout(context, actions[:, : options.candidates // 2]),
        "half the steps": lambda: exact.rollout(context, actions[:, :, : options.steps // 2]),
    }
    print(report("cost, linear in candidates and steps", time_in_turns(half, options.rounds, warm_up=1), "all"))
    for chunk in (16, 64, 256):
        model = WorldModel(generator, chunk=chunk)
        print(f"chunks of {chunk}: {peak_megabytes(model, context, actions):.0f} MB more at most")
    print(machine())


if __name__ == "__main__":
    main()
