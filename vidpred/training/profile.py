"""Where the time of a training goes: seconds by stage of the loop, and the most expensive operations of a few steps."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from vidpred.files import atomic_write, read_bytes, write_file

PROFILE_FILE, TRACE_FILE = "profile.json", "profile_trace.json.gz"
WARM_UP, TRACED = 4, 3  # steps before those whose operations are recorded, and the number of those
OPERATIONS = 20
MOST_TRACE_BYTES = 2**32
MARKERS = ("ProfilerStep", "enumerate(")  # of the profiler and of the data loader: not operations
WAITING = "waiting for data"
SMOOTHING = 0.3  # weight of the newest rate in the progress bar


class StageTimes:
    """Wall-clock seconds by stage; those of a nested stage are not counted in the outer one."""

    def __init__(self, device: torch.device, exact: bool = False) -> None:
        """Start without any time.

        Args:
            device: The device of the training.
            exact: Whether to wait for a GPU at the end of every stage, so that its work counts where it was started;
                otherwise it counts in the stage that next waits for a result.
        """
        self.seconds: dict[str, float] = {}
        self._wait = exact and device.type == "cuda"
        self._open: list[tuple[str, float]] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the time within the context as that of a stage."""
        self._pause()
        self._open.append((name, time.perf_counter()))
        try:
            yield
        finally:
            self._pause()
            self._open.pop()
            if self._open:
                self._open[-1] = (self._open[-1][0], time.perf_counter())

    def _pause(self) -> None:
        if self._open:
            if self._wait:
                torch.cuda.synchronize()
            name, since = self._open[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - since


class Pace:
    """How fast a training is, and how much of its time it waits for data, since the last time that this was asked.

    Attributes:
        smooth_rate: Samples per second, averaged with those of earlier calls of `values`.
    """

    def __init__(self, stages: StageTimes, first_step: int, samples: int) -> None:
        """Start the clock; a step has `samples` samples."""
        self.smooth_rate = 0.0
        self._stages, self._samples, self._step = stages, samples, first_step
        self._clock, self._waited = time.perf_counter(), 0.0

    def values(self, done: int) -> dict[str, float]:
        """Return the samples per second and the share of the time spent on waiting for data, in [0, 1].

        Args:
            done: The number of steps that are done, more than at the last call.
        """
        now, waited = time.perf_counter(), self._stages.seconds.get(WAITING, 0.0)
        seconds = now - self._clock
        rate, share = (done - self._step) * self._samples / seconds, (waited - self._waited) / seconds
        self.smooth_rate += (SMOOTHING if self.smooth_rate else 1.0) * (rate - self.smooth_rate)
        self._clock, self._waited, self._step = now, waited, done
        return {"samples_per_second": rate, "waiting_for_data": share}


class Profiler:
    """What `training.profile` records: the stages of all steps, and the operations of `TRACED` steps.

    Attributes:
        stages: The times by stage.
    """

    def __init__(self, folder: Path, device: torch.device, active: bool) -> None:
        """Prepare, without starting.

        Args:
            folder: The run's folder, which gets `PROFILE_FILE` and `TRACE_FILE`.
            device: The device of the training.
            active: Whether to record more than the stages.
        """
        self.stages = StageTimes(device, active)
        self._folder, self._steps, self._began = folder, 0, time.perf_counter()
        self._operations: profile | None = None
        if active:
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it reports a missing GPU driver as an error
            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
            self._operations = profile(activities=kinds, schedule=schedule(wait=WARM_UP - 1, warmup=1, active=TRACED))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Record the steps within the context."""
        self._began = time.perf_counter()
        with ExitStack() as entered:
            if self._operations is not None:
                with self.stages("profiling"):
                    entered.enter_context(self._operations)
            yield

    def step(self) -> None:
        """Note the end of a step."""
        self._steps += 1
        if self._operations is not None and self._steps <= WARM_UP + TRACED:
            with self.stages("profiling"):
                self._operations.step()

    def write(self) -> str:
        """Write the files.

        Returns:
            A summary in one line; "" if there is nothing to write.

        Raises:
            StorageError: A file cannot be written.
        """
        if self._operations is None or not self._steps:
            return ""
        total = time.perf_counter() - self._began
        seconds = {**self.stages.seconds, "other": max(0.0, total - sum(self.stages.seconds.values()))}
        shares = {name: spent / total for name, spent in seconds.items()}
        found: dict[str, Any] = {
            "steps": self._steps, "seconds": round(total, 4),
            "stages": {name: {"seconds": round(seconds[name], 4), "share": round(shares[name], 4)} for name in seconds},
        }  # fmt: skip
        if self._steps >= WARM_UP + TRACED:
            found["operations"] = most_expensive(self._operations)
            self._write_trace(self._operations)
        write_file(self._folder / PROFILE_FILE, json.dumps(found, indent=1) + "\n")
        return describe(shares)

    def _write_trace(self, operations: profile) -> None:
        with TemporaryDirectory() as place, atomic_write(self._folder / TRACE_FILE) as target:
            plain = Path(place) / "trace.json"
            operations.export_chrome_trace(str(plain))
            target.write_bytes(gzip.compress(read_bytes(plain, MOST_TRACE_BYTES)))


def most_expensive(operations: profile) -> list[dict[str, Any]]:
    """Return the operations that took the most time in a step, without those that they called, slowest first."""
    averages = [one for one in operations.key_averages() if not one.key.startswith(MARKERS)]
    on_gpu = any(one.self_device_time_total for one in averages)
    times = {one.key: float(one.self_device_time_total if on_gpu else one.self_cpu_time_total) for one in averages}
    counts = {one.key: one.count for one in averages}
    slowest = sorted(times, key=lambda name: times[name], reverse=True)[:OPERATIONS]
    return [
        {"name": name, "calls": counts[name] / TRACED, "milliseconds": round(times[name] / TRACED / 1000, 4)}
        for name in slowest
    ]


def describe(shares: Mapping[str, float]) -> str:
    """Return the shares of the time as text, the largest first."""
    order = sorted(shares, key=lambda name: shares[name], reverse=True)
    return ", ".join(f"{name} {100 * shares[name]:.1f} %" for name in order)
