"""Run folders: checkpoints are complete or absent, damage is detected, and weights of other models are refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from vidpred.checkpoint import RunFolder, find_checkpoint, find_damage, load_weights, pack_optimizer, unpack_optimizer
from vidpred.errors import StorageError
from vidpred.files import write_file


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    for step in (4, 8, 12):
        folder.save(step, {"ema": {"weight": torch.full((300,), float(step))}}, {"note": step}, keep=3)
    return folder


def test_save_and_find(run: RunFolder) -> None:
    newest = run.newest()
    assert newest is not None
    assert newest.step == 12
    assert newest.state["note"] == 12
    torch.testing.assert_close(newest.tensors("ema")["weight"], torch.full((300,), 12.0))
    assert find_checkpoint(run.path, "step-4").step == 4
    assert find_checkpoint(run.path, "last").step == 12
    assert find_checkpoint(run.folder(8)).step == 8


def test_files_have_the_permissions_of_new_files(run: RunFolder, tmp_path: Path) -> None:
    """Safetensors lets only the owner read, so others who may use the folder could not load the run."""
    (tmp_path / "new").touch()
    expected = (tmp_path / "new").stat().st_mode
    assert {file.name: file.stat().st_mode for file in run.folder(4).iterdir()} == dict.fromkeys(
        (file.name for file in run.folder(4).iterdir()), expected
    )


def test_the_best_is_kept_and_the_oldest_deleted(run: RunFolder) -> None:
    run.save(14, {"ema": {"weight": torch.zeros(1)}}, {}, keep=3, best=("psnr", 30.0))
    for step in (16, 18):
        run.save(step, {"ema": {"weight": torch.zeros(1)}}, {}, keep=1)
    assert run.steps() == [14, 18]
    (run.path / "best.json").unlink()
    assert find_checkpoint(run.path, "best").step == 14
    assert json.loads((run.path / "last.json").read_text()) == {"step": 18}


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "no manifest", "garbage manifest"])
def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(
    run: RunFolder, damage: str, capsys: pytest.CaptureFixture
) -> None:
    file = run.folder(12) / "ema.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[:-10])
    elif damage == "flip":
        content[-10] ^= 1
        file.write_bytes(content)
    elif damage == "remove":
        file.unlink()
    else:
        manifest = run.folder(12) / "manifest.json"
        manifest.unlink() if damage == "no manifest" else manifest.write_text("{")
    newest = run.newest()
    assert newest is not None
    assert newest.step == 8
    assert "step-12/" in capsys.readouterr().err
    assert (run.checkpoints / "step-12.corrupt").is_dir()


def test_an_explicit_checkpoint_that_is_damaged_is_an_error(run: RunFolder) -> None:
    (run.folder(8) / "state.json").write_text("{}")
    with pytest.raises(StorageError, match=r"step-8/state.json"):
        find_checkpoint(run.path, "step-8")


def test_a_manifest_cannot_point_outside(run: RunFolder) -> None:
    manifest = run.folder(8) / "manifest.json"
    record = json.loads(manifest.read_text())
    record["files"]["../../x"] = {"bytes": 1, "sha256": "0"}
    manifest.write_text(json.dumps(record))
    assert "outside" in str(find_damage(run.folder(8)))


def test_unfinished_writes_are_no_checkpoints(run: RunFolder) -> None:
    shutil.copytree(run.folder(12), run.checkpoints / ".tmp-step-99-x")
    assert run.steps() == [4, 8, 12]


def test_a_failed_write_leaves_everything_as_it_was(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match=r"step-16\]: No space left on device; free space"):
        run.save(16, {"ema": {"weight": torch.zeros(3)}}, {}, keep=1)
    assert run.steps() == [4, 8, 12]
    assert not list(run.checkpoints.glob(".tmp-*"))


def test_missing_runs_explain_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such run folder .*vidpred train"):
        find_checkpoint(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match="no checkpoint in the run folder"):
        find_checkpoint(tmp_path / "empty")


def test_unknown_checkpoints_are_listed(run: RunFolder) -> None:
    with pytest.raises(StorageError, match="there are best, last, step-4, step-8, step-12"):
        find_checkpoint(run.path, "step-5")


def test_an_unwritable_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the run folder"):
        RunFolder(tmp_path / "file" / "run").create()


def test_another_models_weights_are_refused_by_name() -> None:
    with pytest.raises(StorageError, match=r"parameter weight is \(3, 2\) in the checkpoint, \(3, 4\) in the model"):
        load_weights(nn.Linear(4, 3), nn.Linear(2, 3).state_dict(), "step-1")
    with pytest.raises(StorageError, match="checkpoint has no parameter bias"):
        load_weights(nn.Linear(4, 3), nn.Linear(4, 3, bias=False).state_dict(), "step-1")


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_optimizers_round_trip(kind: type) -> None:
    torch.manual_seed(0)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            model(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    first = nn.Linear(3, 2)
    optimizer = kind(first.parameters(), 0.01, **options)
    train(first, optimizer, 3)
    second = nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    other = kind(second.parameters(), 0.01, **options)
    unpack_optimizer(other, {name: tensor.clone() for name, tensor in pack_optimizer(optimizer).items()})
    train(first, optimizer, 3)
    train(second, other, 3)
    assert torch.equal(first.weight, second.weight)


def test_atomic_writes_replace(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    assert write_file(file, b"1")
    assert write_file(file, b"2")
    assert not write_file(file, "2")
    assert file.read_bytes() == b"2"
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(StorageError, match=r"cannot write \[.*b.json\]: .*; choose another json"):
        write_file(file / "b.json", b"1", "choose another json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError):
        write_file(tmp_path / "folder", b"1")
    assert sorted(tmp_path.iterdir()) == [file, tmp_path / "folder"]


def test_another_folder_in_its_place_is_not_written(run: RunFolder) -> None:
    run.check_in_place()
    run.path.rename(run.path.with_name("moved"))
    RunFolder(run.path).create()
    with pytest.raises(StorageError, match="was moved or removed while it trained"):
        run.check_in_place()
