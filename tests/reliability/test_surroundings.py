"""What surrounds a command: few file handles, a current folder that is gone."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import run_vidpred
from tests.reliability.test_exit_files import run_training
from vidpred import files
from vidpred.data.videos.index import scan
from vidpred.errors import StorageError
from vidpred.training.trainer import Trainer


def test_too_many_open_files_are_no_fault_of_a_video(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would otherwise be left out as a damaged one."""
    (tmp_path / "clips").mkdir()
    for file in clips.glob("*.mp4"):  # without an index, which would spare opening them
        shutil.copy(file, tmp_path / "clips")
    opened = os.open

    def full(path: Any, *more: Any, **others: Any) -> int:
        if str(path).endswith("3.mp4"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
        return opened(path, *more, **others)

    monkeypatch.setattr(files.os, "open", full)
    with pytest.raises(StorageError, match="too many open files"):
        scan(tmp_path / "clips", progress=False)


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "too many open files; raise the limit"),
        (RuntimeError("Too many open files. Communication ..."), "too many open files; raise the limit"),
        (OSError(errno.EACCES, "Permission denied", "a\nb"), r"cannot read or write [a\nb]: Permission denied; check"),
    ],
)
def test_failures_of_the_system_are_one_line(
    clips: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: Exception,
    line: str,
) -> None:
    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(Trainer, "_after_step", fail)
    assert run_training(clips, tmp_path / "run") == 4
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"vidpred: error: {line}")


def test_a_current_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run_vidpred("config") == 4
    assert capsys.readouterr().err.startswith("vidpred: error: the current folder was removed; change to another one")
