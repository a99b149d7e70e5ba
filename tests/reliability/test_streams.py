"""Standard output and error that are closed, full, or have lost their reader."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import run_vidpred
from tests.reliability.conftest import TINY, train_words, two_ranks
from vidpred.checkpoint import RunFolder, read_metrics
from vidpred.config import load_config
from vidpred.processes.streams import protected_streams
from vidpred.run import train

LOST = ["2>/dev/full", ">/dev/full 2>&1", "2>&-", ">&- 2>&-", ">/dev/full 2>&-", "2>&1 | true"]
PROTECTED = "import sys; from vidpred.processes.streams import *; protect_streams(); {}"


def shell(words: list[str], redirection: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a shell with redirected streams; the exit code is that of Python."""
    return subprocess.run(
        ["bash", "-c", f'"$@" {redirection}; exit ${{PIPESTATUS[0]}}', "bash", sys.executable, *words],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("redirection", LOST)
def test_nothing_that_is_printed_raises(redirection: str, unbuffered: str) -> None:
    code = "[print('a' * 9999, file=file, flush=True) for file in (sys.stdout, sys.stderr) for _ in range(20)]"
    words = ["-S", "-c", PROTECTED.format(f"{code}; sys.exit(7)")]
    done = shell(words, redirection, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 7, done.stderr
    assert "Error" not in done.stderr


def test_files_do_not_take_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """What a library writes to descriptor 2 would otherwise end up in a checkpoint."""
    code = f"import os; file = open({str(tmp_path / 'file')!r}, 'w'); os.write(2, b'noise')"
    assert shell(["-S", "-c", PROTECTED.format(code)], "<&- >&- 2>&-").returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_a_reader_that_is_slow_loses_nothing() -> None:
    code = "import os; os.set_blocking(1, False); print('a' * 1_000_000)"
    done = shell(["-S", "-c", PROTECTED.format(code)], "| (sleep 0.2; cat)")
    assert len(done.stdout) == 1_000_001


def test_letters_that_the_encoding_lacks_are_escaped() -> None:
    code = r"print('caf\u00e9 \udce9'); print('caf\u00e9', file=sys.stderr)"
    done = shell(["-S", "-c", PROTECTED.format(code)], "", PYTHONIOENCODING="ascii")
    assert (done.stdout, done.stderr) == ("caf\\xe9 \\udce9\n", "caf\\xe9\n")


@pytest.mark.parametrize(("words", "code"), [(["config"], 4), (["--version"], 4), (["config", "none.yaml"], 2)])
def test_a_full_device_is_an_error_of_verbs_that_print(
    words: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert run_vidpred(*words) == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert ("No space left on device" in errors[0]) == (code == 4)


@pytest.mark.parametrize("words", [["config"], ["--help"]])
def test_a_closed_pipe_is_not(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as lost:
        monkeypatch.setattr(sys, "stdout", lost)
        assert run_vidpred(*words) == 0


def test_a_script_that_trains(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {**TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 2}
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        train(load_config(None, settings))
        assert sys.stderr is full
    assert RunFolder(tmp_path / "run").newest() is not None


def test_the_streams_of_a_script_come_back() -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(ZeroDivisionError), protected_streams():
        raise ZeroDivisionError
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.reliability
@pytest.mark.parametrize("redirection", LOST)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training(clips: Path, tmp_path: Path, redirection: str, processes: int) -> None:
    run = tmp_path / "run"
    settings = {"training__steps": 30, "data__num_workers": 1, "checkpoint__every": 10, "training__validate_every": 10}
    words = train_words(clips, run, **settings)
    done = shell(two_ranks(words) if processes == 2 else words, redirection)
    newest = RunFolder(run).newest()
    assert newest is not None
    assert newest.step == 30
    assert read_metrics(run)[-1]["step"] == 30
    assert (run / "exit.json").is_file()
    assert done.returncode == 0
