"""Ctrl-C, once or many times, at any moment: no traceback, exit code 130 or 75, no damage, no process left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.reliability.conftest import Start, has_step, train_words
from vidpred.checkpoint import RunFolder


def interrupt_often(pid: int, times: int = 10, seconds: float = 0.03) -> None:
    """Send SIGINT to a process and its children, as a terminal does."""
    for _ in range(times):
        try:
            os.killpg(pid, signal.SIGINT)
        except ProcessLookupError:
            return
        time.sleep(seconds)


def check(start: Start, clips: Path, run: Path, after: float | None) -> None:
    started = start(*train_words(clips, run, data__num_workers=1))
    if after is None:
        started.wait_until(lambda: has_step(run))
    else:
        time.sleep(after)
    started.children()
    interrupt_often(started.process.pid)
    errors = started.errors(30)
    started.wait_for_family()
    assert "Traceback" not in errors, errors
    assert "Exception ignored" not in errors, errors
    assert started.process.returncode in (130, 75, -signal.SIGINT), errors
    newest = RunFolder(run).newest() if run.exists() else None
    assert newest is None or newest.step > 0


@pytest.mark.slow
def test_ten_interrupts_while_it_trains(start: Start, clips: Path, tmp_path: Path) -> None:
    check(start, clips, tmp_path / "run", None)


@pytest.mark.reliability
@pytest.mark.parametrize("after", [0.2 * number for number in range(1, 25)])
def test_ten_interrupts_at_any_moment(start: Start, clips: Path, tmp_path: Path, after: float) -> None:
    check(start, clips, tmp_path / "run", after)


@pytest.mark.slow
def test_one_interrupt_saves(start: Start, clips: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    started = start(*train_words(clips, run, data__num_workers=1))
    started.wait_until(lambda: has_step(run))
    interrupt_often(started.process.pid, 1)
    errors = started.errors(30)
    assert started.process.returncode == 75, errors
    assert RunFolder(run).newest() is not None
