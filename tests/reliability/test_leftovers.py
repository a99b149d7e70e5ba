"""Temporary files of killed processes are removed at the next start, and those of living ones are not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from tests.reliability.conftest import TINY
from vidpred.checkpoint import RunFolder
from vidpred.config import load_config
from vidpred.files import atomic_write, check_output, write_file
from vidpred.processes import temporary
from vidpred.processes.temporary import UNKNOWN_SECONDS, remove_leftovers, temporary_path
from vidpred.run import train


def killed_while_writing(path: Path, size: int) -> Path:
    """Let a process be killed while it writes a file or, for a path without a suffix, a folder; return what is left."""
    child = os.fork()
    if child == 0:
        with atomic_write(path) as place:
            if not path.suffix:
                place.mkdir()
                place = place / "tensors"
            place.write_bytes(bytes(size))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = path.parent.glob(".tmp-*")
    return left


@pytest.mark.reliability
def test_a_killed_training_leaves_nothing_to_the_next(
    clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    left = killed_while_writing(run.folder(4), 3 << 20)
    image = killed_while_writing(run.path / "images" / "step-4.png", 10)
    unknown = run.checkpoints / f".tmp-{uuid.uuid4().hex}"  # by an earlier version, or on another machine
    unknown.mkdir()
    settings = {**TINY, "data.root": str(clips), "run": str(run.path), "training.steps": 1, "training.image_every": 1}
    train(load_config(None, settings))
    assert [path for path in (left, image, unknown) if path.exists()] == []
    assert "removed 3 MB of temporary files that ended processes had left" in capfd.readouterr().err


def test_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = killed_while_writing(tmp_path / "a.mp4", 10)
    monkeypatch.setattr(temporary, "_cleaned", set())
    check_output(tmp_path / "b.mp4", False)
    assert not left.exists()


def test_what_a_living_process_writes_remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = temporary_path(tmp_path / "a.txt")
    mine.touch()
    other = tmp_path / f".tmp-{uuid.uuid4().hex}"
    old = tmp_path / f".tmp-00000000-1-2-{uuid.uuid4().hex}"  # of another machine
    unrelated = tmp_path / ".tmp-notes"
    for file in (other, old, unrelated):
        file.touch()
    day = time.time() - UNKNOWN_SECONDS - 1
    os.utime(old, (day, day))
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, other, unrelated])
    remove_leftovers(tmp_path, exclusive=True)
    assert sorted(tmp_path.iterdir()) == sorted([mine, unrelated])
    monkeypatch.setattr(temporary, "_started", lambda pid: "1")  # the process has this number, but is another
    remove_leftovers(tmp_path, exclusive=True)
    assert list(tmp_path.iterdir()) == [unrelated]


def test_pipes_are_replaced_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.json")
    assert write_file(tmp_path / "a.json", "1")
    assert (tmp_path / "a.json").read_text() == "1"


def test_a_process_that_no_parent_has_waited_for_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose first process takes no note of orphans that end."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: child.pid)
            left = temporary_path(tmp_path / "frames.u8")
        left.write_bytes(b"")
        remove_leftovers(tmp_path, exclusive=True)
        assert left.exists()
        assert child.stdin is not None
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        remove_leftovers(tmp_path, exclusive=True)
        assert not left.exists()
