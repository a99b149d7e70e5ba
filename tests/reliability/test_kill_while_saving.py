"""A save that is killed at any system call leaves the previous checkpoints, or the new one with its mark."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.reliability.system_calls import SUPPORTED, killed_before_call
from vidpred.checkpoint import RunFolder, find_checkpoint
from vidpred.processes.temporary import remove_leftovers

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="needs ptrace on x86-64")
FILES = {"ema": {"weight": torch.zeros(300)}}


def save(run: Path, step: int, best: float | None = None, keep: int = 1) -> None:
    RunFolder(run).save(step, FILES, {}, keep, None if best is None else ("psnr", best))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.write_config("seed: 0\n")
    save(folder.path, 4, best=20.0)
    save(folder.path, 8)
    return folder.path


def check(run: Path, killed: bool) -> bool:
    """Check the folder after a kill during the save of step 12, the new best; return whether it was saved."""
    folder = RunFolder(run)
    newest = folder.newest()
    assert newest is not None
    saved = newest.step == 12
    assert saved or (killed and newest.step == 8)
    assert find_checkpoint(run).step == (12 if saved else 4), "the best checkpoint was forgotten"
    assert not list(folder.checkpoints.glob("*.corrupt"))
    remove_leftovers(folder.checkpoints, True)
    save(run, 16)
    save(run, 20)
    assert find_checkpoint(run).step == (12 if saved else 4), "the best checkpoint was deleted"
    assert sorted(entry.name for entry in folder.checkpoints.iterdir()) == sorted(
        ["step-20", "step-12" if saved else "step-4"]
    )
    return saved


def kill_at(run: Path, copy: Path, number: int, every: bool) -> tuple[bool, bool]:
    shutil.copytree(run, copy)
    killed = killed_before_call(lambda: save(copy, 12, best=30.0), number, every)
    saved = check(copy, killed)
    shutil.rmtree(copy)
    return killed, saved


@pytest.mark.parametrize(
    ("every", "stride"),
    [pytest.param(False, 6, marks=pytest.mark.slow), pytest.param(True, 1, marks=pytest.mark.reliability)],
    ids=["sixth call of files", "every call"],
)
def test_no_kill_separates_a_checkpoint_from_its_mark(run: Path, tmp_path: Path, every: bool, stride: int) -> None:
    outcomes = []
    while True:
        killed, saved = kill_at(run, tmp_path / "copy", stride * len(outcomes), every)
        if not killed:
            break
        outcomes.append(saved)
    assert outcomes == sorted(outcomes), "once saved, it remains"
    assert set(outcomes) == {False, True}
    print(f"{len(outcomes)} kills, {sum(outcomes)} after the checkpoint was saved")
