"""One folder has one writer."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.command_line import run_vidpred
from tests.reliability.conftest import TINY, Start, has_step, train_words, two_ranks
from vidpred.config import load_config
from vidpred.errors import InUseError
from vidpred.processes import folder_lock as module
from vidpred.processes.folder_lock import FILE, folder_lock
from vidpred.run import train


def test_the_second_holder_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    refused = pytest.raises(InUseError, match=f"process {os.getpid()} on .*since ")
    with folder_lock(tmp_path, "choose another"), refused, folder_lock(tmp_path, "choose another"):
        pass
    assert not list(tmp_path.iterdir())
    with folder_lock(tmp_path, "choose another"):
        pass


def test_a_holder_whose_folder_was_moved_keeps_the_lock_of_its_successor(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(folder_lock(run, "choose another"))
        run.rename(tmp_path / "moved")
        run.mkdir()
        second.enter_context(folder_lock(run, "choose another"))
        first.close()
        with pytest.raises(InUseError), folder_lock(run, "choose another"):
            pass


@pytest.mark.slow
def test_a_killed_holder_and_its_forked_child_release_the_lock(tmp_path: Path) -> None:
    code = f"""
import os, signal, time
from pathlib import Path
from vidpred.processes.folder_lock import folder_lock
with folder_lock(Path({str(tmp_path)!r}), "choose another"):
    if os.fork() == 0:  # the child has closed the lock here; it ends its parent
        print(os.getpid(), flush=True)
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        process.wait()
        try:
            assert (tmp_path / FILE).is_file()
            with folder_lock(tmp_path, "choose another"):
                pass
        finally:
            os.kill(child, 9)


def test_without_locks_there_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", fail)
    with folder_lock(tmp_path, "choose another"):
        pass
    assert capsys.readouterr().err.count("the file system has no locks") == 1


@pytest.mark.parametrize("verb", ["demo", "lecture"])
def test_two_demos_in_one_folder(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with folder_lock(tmp_path, "choose another"):
        before = sorted(tmp_path.rglob("*"))
        assert run_vidpred(verb, "--output", tmp_path) == 4
        assert sorted(tmp_path.rglob("*")) == before
    assert f"another process writes this folder: process {os.getpid()} on " in capsys.readouterr().err


@pytest.mark.reliability
def test_two_trainings_in_one_run_folder(
    start: Start, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second is refused, also by the first's ranks, and changes nothing."""
    run = tmp_path / "run"
    first = start(*two_ranks(train_words(clips, run)))
    first.wait_until(lambda: has_step(run), 90)
    settings = {**TINY, "data.root": str(clips), "run": str(run)}
    assert run_vidpred("train", *(f"{key}={json.dumps(value)}" for key, value in settings.items())) == 4
    (message,) = capsys.readouterr().err.strip().splitlines()
    assert message.startswith("vidpred: error: another process writes this folder: process ")
    assert str(json.loads((run / FILE).read_text())["pid"]) in message
    assert not (run / "exit.json").exists()
    first.process.kill()
    first.wait_for_family()
    done = int(next((run / "checkpoints").glob("step-*")).name.removeprefix("step-"))
    assert train(load_config(None, {**settings, "training.steps": done})).first_step == done


@pytest.mark.reliability
def test_two_preparations_of_one_target(
    start: Start, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target"
    words = ["prepare", "folder", str(clips), str(target), "--cache", "size=32"]
    assert run_vidpred(*words) == 0
    whole = {file.name: file.read_bytes() for file in target.rglob("*") if file.is_file()}
    capsys.readouterr()
    with folder_lock(target, "choose another"):
        assert run_vidpred(*words) == 4
    assert f"process {os.getpid()} on " in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in target.rglob("*") if file.is_file()} == whole
    together = [start("-m", "vidpred", *words[:3], str(tmp_path / "both"), *words[4:]) for _ in range(2)]
    errors = [each.errors() for each in together]
    codes = sorted(each.process.returncode for each in together)
    assert codes in ([0, 0], [0, 4]), errors  # [0, 0] if the first ended before the second began
    assert sorted(file.name for file in (tmp_path / "both").rglob("*") if file.is_file()) == sorted(whole)
