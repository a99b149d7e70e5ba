"""Data workers that hang or die: the training ends soon and names the file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from torch import Tensor

from tests.training.test_trainer import TINY
from vidpred.config import load_config
from vidpred.data.videos import reader
from vidpred.data.videos.worker_status import WorkerNotes, reading, report_status
from vidpred.errors import DataError
from vidpred.run import train


def failing(monkeypatch: pytest.MonkeyPatch, fault: Callable[[], object]) -> None:
    """Let workers, which are forked, fail at the third file that they read."""
    read = reader._read_frames
    count = 0

    def faulty(path: Path, *rest: Any) -> Any:
        nonlocal count
        if multiprocessing.parent_process() is not None:
            count += 1
            if count == 3:
                (path.parent / f"fault-{path.name}").touch()
                fault()
        return read(path, *rest)

    monkeypatch.setattr(reader, "_read_frames", faulty)


def settings(clips: Path, run: Path, **more: Any) -> dict[str, Any]:
    base = {**TINY, "data.root": str(clips), "run": str(run), "data.num_workers": 1, "data.video.cache_mb": 0}
    return {**base, "training.validate_every": 0, **{f"data.{key}": value for key, value in more.items()}}


def check_failure(clips: Path, values: dict[str, Any], words: str) -> None:
    before = set(psutil.Process().children())
    began = time.monotonic()
    with pytest.raises(DataError, match=words) as caught:
        train(load_config(None, values))
    assert time.monotonic() - began < 12
    (named,) = clips.glob("fault-*")
    named.unlink()
    assert str(clips / named.name.removeprefix("fault-")) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert not set(psutil.Process().children()) - before, "a worker was left behind"


@pytest.mark.slow
def test_a_worker_that_hangs(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, lambda: time.sleep(3600))  # keeps sleeping after a stop signal
    values = settings(clips, tmp_path / "run", timeout_seconds=2)
    check_failure(clips, values, r"returned nothing for data.timeout_seconds=2 while reading \[")


@pytest.mark.slow
def test_a_worker_that_is_killed(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGKILL))
    check_failure(clips, settings(clips, tmp_path / "run"), r"ended \(killed by signal 9\) while reading \[")


def test_other_errors_are_unchanged(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault() -> None:
        raise RuntimeError("of another kind")

    failing(monkeypatch, fault)
    with pytest.raises(RuntimeError, match="of another kind"):
        train(load_config(None, settings(clips, tmp_path / "run")))
    for left in clips.glob("fault-*"):
        left.unlink()


def test_workers_end_with_a_training_in_a_thread(clips: Path, tmp_path: Path) -> None:
    """Only the main thread may change what a signal does."""
    config = load_config(None, {**settings(clips, tmp_path / "run"), "training.steps": 2})
    before = set(psutil.Process().children())
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, config).result().steps == 2
    assert not set(psutil.Process().children()) - before, "a worker was left behind"


def read_first(pages: Tensor, dies: bool) -> None:
    report_status(pages, 0)
    with reading(Path("first.mp4")):
        if dies:
            os._exit(0)


def test_no_file_is_recorded_between_reads() -> None:
    notes = WorkerNotes(1)
    assert notes.reading(0) is None
    for dies in (False, True):
        process = multiprocessing.get_context("fork").Process(target=read_first, args=(notes.pages, dies))
        process.start()
        process.join()
        assert process.exitcode == 0
        found = notes.reading(0)
        assert (found is not None) == dies
    assert found is not None
    assert found.path == "first.mp4"
    assert 0 <= found.seconds < 30
