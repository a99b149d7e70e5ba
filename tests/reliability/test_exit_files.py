"""exit.json belongs to the training that ran last in the folder, and to no other one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import run_vidpred
from tests.reliability.conftest import TINY
from vidpred.commands import exit_status
from vidpred.data.batch import Batch
from vidpred.training.trainer import Trainer

OLD = '{"code": 75, "message": "of another training", "process": 0}'


def run_training(clips: Path, run: Path, **more: Any) -> int:
    settings = {**TINY, "data.root": str(clips), "run": str(run), "training.steps": 4, **more}
    return run_vidpred("train", *(f"{key}={json.dumps(value)}" for key, value in settings.items()))


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> None:
    """Let something happen after a step of a training."""
    after = Trainer._after_step

    def with_act(self: Trainer, done: int, batch: Batch) -> None:
        if done == step:
            act()
        after(self, done, batch)

    monkeypatch.setattr(Trainer, "_after_step", with_act)


def test_the_old_one_goes_when_a_training_begins(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "exit.json").write_text(OLD)
    there: list[bool] = []
    at_step(monkeypatch, 2, lambda: there.append((run / "exit.json").exists()))
    assert run_training(clips, run) == 0
    assert there == [False]
    assert json.loads((run / "exit.json").read_text())["code"] == 0
    (run / "exit.json").write_text(OLD)
    assert run_training(clips, run, **{"model.scales": 2}) == 2
    assert (run / "exit.json").read_text() == OLD


@pytest.mark.parametrize("failure", [None, RuntimeError("a bug")])
def test_that_of_a_successor_stays(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    run = tmp_path / "run"

    def succeed() -> None:
        run.rename(tmp_path / "moved")
        run.mkdir()
        (run / "exit.json").write_text(OLD)
        if failure:
            raise failure

    at_step(monkeypatch, 2, succeed)
    if failure:
        with pytest.raises(RuntimeError, match="a bug"):
            run_training(clips, run)
    else:
        assert run_training(clips, run, **{"checkpoint.every": 2}) == 4
    assert (run / "exit.json").read_text() == OLD


def test_no_second_folder_appears_under_a_launcher(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(exit_status, "under_launcher", lambda: True)
    at_step(monkeypatch, 2, lambda: shutil.rmtree(run))
    assert run_training(clips, run) == 4
    assert not run.exists()
    assert run_training(clips, tmp_path / "early", **{"no.such": 1}) == 2
    assert json.loads((tmp_path / "early" / "exit.json").read_text())["code"] == 2
