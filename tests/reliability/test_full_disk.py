"""A full disk: logs are lost with one warning, a checkpoint that cannot be written ends the run with exit code 4."""

from __future__ import annotations

import errno
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import run_vidpred
from tests.reliability.conftest import TINY
from vidpred import files
from vidpred.checkpoint import RunFolder, find_checkpoint
from vidpred.config import load_config
from vidpred.run import train
from vidpred.training import tracking


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The limit of a file's size stands in for a full disk; the earlier checkpoint stays as it was."""
    run = tmp_path / "run"
    settings = {**TINY, "data.root": str(clips), "run": str(run), "checkpoint.every": 2, "training.steps": 2}
    train(load_config(None, settings))
    before = {file.name: file.read_bytes() for file in RunFolder(run).folder(2).iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    capsys.readouterr()
    words = [f"{key}={json.dumps(value)}" for key, value in {**settings, "training.steps": 4}.items()]
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, limits[1]))
    try:
        code = run_vidpred("train", *words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 4
    assert last.startswith("vidpred: error: cannot write [")
    assert last.endswith("free space or choose another run=")
    assert len(last) <= 200
    assert {file.name: file.read_bytes() for file in RunFolder(run).folder(2).iterdir()} == before
    assert not list(run.rglob(".tmp-*"))
    assert find_checkpoint(run).step == 2


def test_logs_that_do_not_fit(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tracking, "append_text", full)
    settings = {**TINY, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 4}
    train(load_config(None, settings))
    assert capsys.readouterr().err.count("No space left on device; its lines are lost while training goes on") == 1
    assert find_checkpoint(tmp_path / "run").step == 4


def test_notes_about_checkpoints_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    write = files.os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith(".json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    run.save(4, {"ema": {}}, {}, 1, ("psnr", 1.0))
    assert not (run.path / "best.json").exists()
    assert find_checkpoint(run.path).step == 4
