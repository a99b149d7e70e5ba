"""Real processes that tests of reliability start, and data for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.video_files import numbered_frames, write_video

TINY: dict[str, Any] = {
    "training.batch_size": 4, "model.scales": 1, "model.feature_maps": [[4]], "model.kernel_sizes": [[3, 3]],
    "training.validate_every": 0, "training.image_every": 0, "training.log_every": 1, "training.monitor_every": 0,
    "training.device": "cpu", "training.steps": 1_000_000, "checkpoint.every": 1_000_000,
}  # fmt: skip


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write five small videos."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(5):
        write_video(folder / f"{number}.mp4", numbered_frames(10, 40, 48, first=number * 10))
    return folder


class Started:
    """A started process and its descendants."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.family: set[psutil.Process] = {psutil.Process(process.pid)}

    def wait_until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Wait for a condition while the process runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[1][-2000:]
            assert time.monotonic() < deadline, "the condition was not met in time"
            time.sleep(0.05)
        self.children()

    def children(self) -> list[psutil.Process]:
        """Return the descendants that run now."""
        found = psutil.Process(self.process.pid).children(recursive=True)
        self.family |= set(found)
        return found

    def wait_for_family(self, seconds: float = 10) -> None:
        """Wait until no process of the family runs."""
        _, alive = psutil.wait_procs(self.family, timeout=seconds)
        left = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
        assert not left, f"left after {seconds} s: {[process.cmdline() for process in left]}"

    def errors(self, seconds: float = 60) -> str:
        """Wait for the end of the process, and return its stderr."""
        return self.process.communicate(timeout=seconds)[1]


Start = Callable[..., Started]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start Python processes that do not outlive the test."""
    started: list[Started] = []

    def begin(*words: str, stdin: str | None = None, **environment: str) -> Started:
        process = subprocess.Popen(
            [sys.executable, *words], env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, text=True,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # else ignored in background jobs
        )  # fmt: skip
        if stdin is not None and process.stdin:
            process.stdin.write(stdin)
            process.stdin.close()
            process.stdin = None
        started.append(Started(process))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.children()
        for process in each.family:
            if process.is_running():
                process.kill()
        each.process.communicate()


def train_words(clips: Path, run: Path, **more: Any) -> list[str]:
    """Return the words of a training that does not end on its own."""
    settings = {**TINY, "data.root": str(clips), "run": str(run)} | {
        key.replace("__", "."): value for key, value in more.items()
    }
    return ["-m", "vidpred", "train", *(f"{key}={json.dumps(value)}" for key, value in settings.items())]


def two_ranks(words: list[str]) -> list[str]:
    """Return the words that start a training with torch's launcher on two processes."""
    return ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *words]


def has_step(run: Path, step: int = 3) -> bool:
    """Return whether a run has logged a step."""
    file = run / "metrics.jsonl"
    return file.is_file() and f'"step": {step},' in file.read_text()
