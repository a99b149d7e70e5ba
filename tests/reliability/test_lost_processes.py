"""A lost or stalled process ends the others with exit code 6 and one line."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.reliability.conftest import Start, Started, has_step, train_words, two_ranks
from vidpred.errors import DataError, DistributedError

pytestmark = pytest.mark.slow


def ranks(started: Started) -> list[psutil.Process]:
    """Return the two ranks, in order."""
    found = [child for child in started.children() if "RANK" in child.environ() and child.ppid() == started.process.pid]
    return sorted(found, key=lambda child: int(child.environ()["RANK"]))


def outcome(run: Path, errors: str, rank: int, tracebacks: int = 1) -> dict[str, Any]:
    """Return what a rank left in exit.json, which is also its one line."""
    record: dict[str, Any] = json.loads((run / ("exit-process-1.json" if rank else "exit.json")).read_text())
    assert errors.count(f"vidpred: error: {record['message']}") == 1
    assert len(record["message"]) <= 200
    assert errors.count("Traceback") <= tracebacks, errors  # of torch's launcher
    assert errors.splitlines()[-1].startswith("vidpred: error: "), errors
    return record


@pytest.mark.parametrize("lost", [pytest.param(0, marks=pytest.mark.reliability), 1])
def test_a_killed_rank(start: Start, clips: Path, tmp_path: Path, lost: int) -> None:
    run = tmp_path / "run"
    started = start(*two_ranks(train_words(clips, run)))
    started.wait_until(lambda: has_step(run), 90)
    ranks(started)[lost].kill()
    errors = started.errors()
    started.wait_for_family()
    record = outcome(run, errors, 1 - lost)
    assert record["code"] == DistributedError.exit_code
    assert record["message"].startswith(f"process {lost} was lost;")


@pytest.mark.reliability
def test_a_stopped_rank(start: Start, clips: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    started = start(*two_ranks(train_words(clips, run, training__peer_timeout_seconds=5)))
    started.wait_until(lambda: has_step(run), 90)
    stopped = ranks(started)[1]
    stopped.send_signal(signal.SIGSTOP)
    try:
        started.wait_until(lambda: (run / "exit.json").exists(), 20)
    finally:
        stopped.kill()
    record = outcome(run, started.errors(), 0)
    assert record["code"] == DistributedError.exit_code
    assert "another process did nothing for training.peer_timeout_seconds=5" in record["message"]


@pytest.mark.reliability
@pytest.mark.parametrize("own", ["ValueError('a fault')", "vidpred.errors.DataError('a fault')"])
def test_a_rank_that_fails(start: Start, clips: Path, tmp_path: Path, own: str) -> None:
    """Only rank 1 fails: it reports its own error, and rank 0 reports that."""
    run = tmp_path / "run"
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, vidpred.errors
from vidpred.commands import app
from vidpred.training.trainer import Trainer
after = Trainer._after_step
def fail(self, done, batch):
    if done == 3 and os.environ["RANK"] == "1":
        raise {own}
    after(self, done, batch)
Trainer._after_step = fail
app.main()
""")
    started = start(*two_ranks([str(script), *train_words(clips, run)[2:]]), PYTHONPATH=os.getcwd())
    errors = started.errors()
    started.wait_for_family()
    record = outcome(run, errors, 0, 3 if "ValueError" in own else 1)
    assert record["code"] == DistributedError.exit_code
    assert record["message"].startswith("process 1 was lost")
    code = json.loads((run / "exit-process-1.json").read_text())["code"]
    assert code == (3 if "DataError" in own else 1)


@pytest.mark.reliability
def test_a_stopped_data_worker(start: Start, clips: Path, tmp_path: Path) -> None:
    """Its last batches were announced, but their tensors come from the stopped process."""
    run = tmp_path / "run"
    words = train_words(clips, run, data__num_workers=2, data__timeout_seconds=3, training__batch_size=32)
    started = start(*words)
    started.wait_until(lambda: has_step(run), 60)
    for worker in started.children():
        worker.suspend()
    errors = started.errors(20)
    assert started.process.returncode == DataError.exit_code, errors
    assert errors.count("vidpred: error: a data worker returned nothing for data.timeout_seconds=3 while") == 1
    assert "Traceback" not in errors
    started.wait_for_family()
