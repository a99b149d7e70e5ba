"""What surrounds a command: few file handles, a current folder that is gone."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from vidpred.data_prep.command import Request, find_set
from vidpred.data_prep.command import run as run_prepare

from tests.command_line import run_vidpred
from tests.reliability.test_exit_files import at_step, run_training
from tests.video_files import numbered_frames, write_video
from vidpred import files
from vidpred.checkpoint import read_metrics
from vidpred.commands.demo_clip import CLIP
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.videos.index import scan
from vidpred.errors import DataError, StorageError
from vidpred.inference.clips import find_clips
from vidpred.streaming.sources import SourceOptions, open_source
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


@pytest.mark.slow
@pytest.mark.parametrize("jump", [-1e9, pytest.param(1e9, marks=pytest.mark.slow)])
def test_a_clock_that_jumps(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    now = time.time
    at_step(monkeypatch, 2, lambda: monkeypatch.setattr(time, "time", lambda: now() + jump))
    settings = {"checkpoint.every": 1, "data.num_workers": 1, "data.timeout_seconds": 60.0}
    assert run_training(clips, tmp_path / "run", **settings) == 0
    assert run_training(clips, tmp_path / "run", **settings, **{"training.steps": 6}) == 0
    assert [line["step"] for line in read_metrics(tmp_path / "run")] == list(range(1, 7))


def test_a_current_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run_vidpred("config") == 4
    assert capsys.readouterr().err.startswith("vidpred: error: the current folder was removed; change to another one")


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """Give a folder that another user may read, and become that user if this is root."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o777)
        if os.geteuid() == 0:
            stack.callback(os.seteuid, 0)
            os.seteuid(65534)
        yield folder


def prepare_numpy(path: Path) -> str:
    return run_prepare(Request(find_set("numpy"), path, path.parent / "target"))


def train_on(path: Path) -> object:
    return build_source(DataSettings.model_validate({"root": str(path)}), "train", range(5))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("mode", [0o000, 0o300, 0o600])
@pytest.mark.parametrize(
    "read", [train_on, prepare_numpy, lambda path: find_clips([path]), lambda path: open_source(path, SourceOptions())]
)
def test_data_without_permissions(
    as_nobody: Path, read: Callable[[Path], object], mode: int, inside: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is bad data (exit code 3), and no bad checkpoint or output."""
    folder = as_nobody / "clips"
    folder.mkdir()
    file = folder / ("a.npy" if read is prepare_numpy else "a.mp4")
    file.write_bytes(b"")
    if inside:
        file.chmod(0)
    folder.chmod(mode)
    try:
        if inside and mode == 0o300:
            pytest.skip("the file can be found but not listed")
        with pytest.raises(DataError, match=r"Permission denied \[.*clips"):
            read(file if inside else folder)
    finally:
        folder.chmod(0o700)


def test_a_folder_without_permissions_among_others(as_nobody: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As lost+found on a disk of data."""
    (as_nobody / "lost").mkdir()
    write_video(as_nobody / "a.mp4", numbered_frames(10, 32, 32))
    (as_nobody / "lost").chmod(0)
    try:
        assert find_clips([as_nobody, as_nobody]) == [as_nobody / "a.mp4"]
    finally:
        (as_nobody / "lost").chmod(0o700)
    assert capsys.readouterr().err.count("a folder cannot be read and is left out: Permission denied") == 1


@pytest.mark.parametrize(("place", "reason"), [("broken", "is a broken link, to nothing"), ("file", "is a file")])
@pytest.mark.parametrize("verb", ["train", "prepare", "predict", "demo"])
def test_what_is_in_the_place_of_a_folder(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, reason: str, verb: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "broken").symlink_to("nothing")
    output = tmp_path / place
    words = {
        "train": ["train", f"run={output}/run", f"data.root={clips}"],
        "prepare": ["prepare", "folder", clips, output, "--cache"],
        "predict": ["predict", clips / "0.mp4", "-o", output / "a.mp4"],
        "demo": ["demo", "--output", output],
    }[verb]
    assert run_vidpred(*words) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert not (tmp_path / "nothing").exists()


@pytest.mark.slow
def test_no_memory_for_the_libraries(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vidpred", "predict", str(CLIP), "--output", str(tmp_path / "future.mp4")]
    limited = ["bash", "-c", f"ulimit -v 600000; exec {shlex.join(command)}"]
    ended = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert re.fullmatch(r"vidpred: error: not enough memory \(.*failed to map.*\n", ended.stderr)
