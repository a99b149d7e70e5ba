"""Time variants in turns within one run, so that ratios hold on a noisy machine."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import RESULTS


def time_in_turns(variants: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 2) -> dict[str, list[float]]:
    """Seconds of every call: each round calls every variant once, after `warm_up` rounds that do not count."""
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
    """A table of medians, the spread, and how many times as fast as the reference each variant is."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    width = max(len(name) for name in seconds)
    lines = [title, f"{'':<{width}}  {'median ms':>10}  {'min - max ms':>17}  {'speed-up':>8}"]
    for name, values in seconds.items():
        spread = f"{1e3 * min(values):.0f} - {1e3 * max(values):.0f}"
        lines.append(
            f"{name:<{width}}  {1e3 * medians[name]:>10.1f}  {spread:>17}  {medians[reference] / medians[name]:>7.2f}x"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What a measurement was made on."""
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
    """The checkout's commit, with + where tracked files other than the results have changes; "unknown" outside a
    checkout."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=checkout, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", f":(top,exclude){RESULTS}")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
