"""Files of a run folder may be damaged, unwritable or of another kind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.reliability.conftest import TINY
from vidpred.checkpoint import (
    RunFolder,
    find_checkpoint,
    find_damage,
    pack_optimizer,
    read_config,
    read_metrics,
    unpack_optimizer,
    write_manifest,
)
from vidpred.config import load_config
from vidpred.data.batch import Batch
from vidpred.errors import StorageError
from vidpred.inference.predictor import Predictor
from vidpred.media.plots import draw_curves, plot_text
from vidpred.run import train
from vidpred.training.trainer import Trainer


def test_training_survives_its_logs_and_images(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    (run / "metrics.jsonl").mkdir(parents=True)
    (run / "images").write_text("a file")
    settings = {**TINY, "data.root": str(clips), "run": str(run), "training.steps": 4, "training.image_every": 2}
    assert train(load_config(None, settings)).steps == 4
    warnings = [line for line in capsys.readouterr().err.splitlines() if "vidpred: warning: cannot write" in line]
    assert len(warnings) == 2, warnings  # the log once, and the images once
    newest = RunFolder(run).newest()
    assert newest is not None
    assert newest.step == 4


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moved", "removed"])
def test_a_run_folder_that_is_moved_while_it_trains(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """No second folder appears, which would lack the settings and the splits; the moved one can be resumed."""
    run, moved = tmp_path / "run", tmp_path / "moved"
    settings = {**TINY, "data.root": str(clips), "training.steps": 6, "training.image_every": 1, "checkpoint.every": 2}
    after = Trainer._after_step

    def act(self: Trainer, done: int, batch: Batch) -> None:
        if done == 3 and not moved.exists():
            run.rename(moved) if how == "moved" else shutil.rmtree(run)
        after(self, done, batch)

    monkeypatch.setattr(Trainer, "_after_step", act)
    with pytest.raises(StorageError, match=r"moved or removed while it trained \[.*run\]"):
        train(load_config(None, {**settings, "run": str(run)}))
    assert not run.exists()
    if how == "moved":
        resumed = train(load_config(None, {**settings, "run": str(moved)}))
        assert (resumed.first_step, resumed.steps) == (2, 6)


def test_a_flipped_bit_in_the_log(tmp_path: Path) -> None:
    lines = b'{"step": 1}\n{"step": 2, "x\xff": 1}\n{"step": "3"}\n[4]\n{"st\xffp": 5}\n{"step": 6}\n'
    (tmp_path / "metrics.jsonl").write_bytes(lines)
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 6]


@pytest.mark.parametrize("record", [{"step": 1}, {"step": 1, "value": "high"}, {"step": "1", "value": 2.0}, [1], 1])
def test_a_best_json_of_other_types_is_ignored(tmp_path: Path, record: object) -> None:
    (tmp_path / "best.json").write_text(json.dumps(record))
    assert RunFolder(tmp_path).best() is None


def test_a_pipe_is_no_manifest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    assert find_damage(tmp_path) == f"{tmp_path.name}/manifest.json: missing or unreadable"


FILES = {"ema": {"weight": torch.ones(3)}}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.write_config("seed: 3\n")
    for step in (4, 8):
        folder.save(step, FILES, {}, 9, ("psnr", 20.0 + step))
    return folder


@pytest.fixture(scope="module")
def trained(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """Train a run with two checkpoints; return its settings and its folder."""
    path = tmp_path_factory.mktemp("trained") / "run"
    settings = {**TINY, "data.root": str(clips), "training.steps": 4, "checkpoint.every": 2}
    train(load_config(None, {**settings, "run": str(path)}))
    return settings, path


DAMAGE = ["nothing", "empty", "garbage", "deep", "pipe", "folder", "list"]
RUN_FILES = ["config.yaml", "metrics.jsonl", "last.json", "best.json", "exit.json", "images"]


def damage(file: Path, how: str) -> None:
    if file.is_dir():
        shutil.rmtree(file)
    file.unlink(missing_ok=True)
    if how == "pipe":
        os.mkfifo(file)
    elif how == "folder":
        file.mkdir()
        (file / "inner").touch()
    elif how != "nothing":
        content = {"empty": b"", "garbage": bytes(range(256)), "deep": b"[" * 100_000, "list": b"[1, 2]"}
        file.write_bytes(content[how])


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGE)
def test_a_run_resumes_without_any_of_its_derived_files(
    trained: tuple[dict[str, Any], Path], tmp_path: Path, how: str
) -> None:
    settings, source = trained
    run = tmp_path / "run"
    shutil.copytree(source, run)
    for name in RUN_FILES:
        if (name, how) != ("config.yaml", "folder"):  # it has to be written
            damage(run / name, how)
    changes = {"training.steps": 5, "training.image_every": 5}
    assert train(load_config(None, {**settings, **changes, "run": str(run)})).first_step == 4
    assert find_checkpoint(run).step == 5
    assert read_config(run, dict)["training"]["steps"] == 5


def test_settings_come_from_a_checkpoint_if_those_of_the_run_are_damaged(
    trained: tuple[dict[str, Any], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are compared as before, so other settings are refused."""
    settings, source = trained
    run = tmp_path / "run"
    shutil.copytree(source, run)
    damage(run / "config.yaml", "garbage")
    capsys.readouterr()
    assert read_config(run, dict)["checkpoint"]["every"] == 2
    assert "using the copy of step-4" in capsys.readouterr().err
    with pytest.raises(Exception, match=r"objective.gdl_weight was 1.0, now 0.5"):
        train(load_config(None, {**settings, "run": str(run), "objective.gdl_weight": 0.5}))
    damage(run / "checkpoints/step-4/config.yaml", "garbage")
    assert read_config(run, dict)["checkpoint"]["every"] == 2
    assert "using the copy of step-2" in capsys.readouterr().err
    damage(run / "checkpoints/step-2/config.yaml", "nothing")
    with pytest.raises(StorageError, match="cannot read the run's settings"):
        read_config(run, dict)


def rewritten(folder: Path, name: str, content: bytes) -> None:
    """Replace a checkpoint's file, and let the manifest match."""
    (folder / "manifest.json").unlink()
    (folder / name).write_bytes(content)
    write_manifest(folder, 8)


STATES = [
    [], None, 1, {}, {"step": "8"}, {"step": -8}, {"step": 8.0}, {"step": True}, {"step": 9}, {"step": 10**400},
    {"step": 8, "classes": 3}, {"step": 8, "classes": [1]},
    {"step": 8, "action_names": {}}, {"step": 8, "frame_size": [0, 32]}, {"step": 8, "frame_size": [32]},
    {"step": 8, "action_bounds": [[0], [1, 1]]}, {"step": 8, "action_bounds": [[1], [0]]},
    {"step": 8, "own_generator": 1},
    {"step": 8, "processes": "2"}, {"step": 8, "best": 3}, {"step": 8, "best": {"value": "1"}},
    {"step": 8, "best": {"value": float("nan")}}, {"step": 8, "schedule": [1]}, {"step": 8, "schedule": {"steps": 0}},
    {"step": 8, "schedule": {"steps": "9"}}, {"step": 8, "schedule": {"limits": {"generator": "1"}}},
    {"step": 8, "early_stopping": {"best": 1.0}}, {"step": 8, "scalers": {"generator": {"scale": None}}},
]  # fmt: skip


@pytest.mark.parametrize("state", STATES, ids=lambda state: json.dumps(state)[:40])
def test_a_state_of_other_types_is_damage_although_its_hash_matches(run: RunFolder, state: Any) -> None:
    rewritten(run.folder(8), "state.json", json.dumps(state).encode())
    assert str(find_damage(run.folder(8))).startswith("step-8/state.json: ")
    best = run.best()
    assert best is not None
    assert best["step"] == 4
    newest = run.newest()
    assert newest is not None
    assert newest.step == 4


@pytest.mark.parametrize("content", [b"[" * 100_000, b"9" * 5000, b"\xff", b"", b"null", b"{}"])
def test_a_manifest_or_state_that_is_no_json(run: RunFolder, content: bytes) -> None:
    rewritten(run.folder(8), "state.json", content)
    (run.folder(4) / "manifest.json").write_bytes(content)
    assert run.newest() is None


def manifests() -> Iterator[Any]:
    good = {"bytes": 1, "sha256": sha256(b"x").hexdigest()}
    yield from ({"files": names} for names in (None, [], "", {"": good}, {"..": good}, {"/etc/passwd": good}))
    yield from ({"files": {"state.json": value}} for value in (None, [], {}, {"bytes": "1", "sha256": 3}))
    yield {"files": {"state.json\0": good}}


@pytest.mark.parametrize("manifest", [*manifests()], ids=lambda manifest: json.dumps(manifest)[:40])
def test_manifests_are_untrusted(run: RunFolder, manifest: Any) -> None:
    (run.folder(8) / "manifest.json").write_text(json.dumps(manifest))
    assert find_damage(run.folder(8))


@pytest.mark.parametrize("how", ["pipe", "garbage", "folder"])
def test_files_that_a_manifest_does_not_list(run: RunFolder, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("discriminator.safetensors", "config.yaml"):
        damage(run.folder(8) / name, how)
    manifest = json.loads((run.folder(8) / "manifest.json").read_text())
    del manifest["files"]["config.yaml"]
    (run.folder(8) / "manifest.json").write_text(json.dumps(manifest))
    found = find_checkpoint(run.path, "step-8")
    assert not found.has("discriminator")
    assert not found.has_config
    with pytest.raises(StorageError, match="does not list this file"):
        found.tensors("discriminator")
    with pytest.raises(StorageError, match="cannot read the run's settings"):
        read_config(found.path, dict)
    damage(run.folder(8) / "config.yaml", "nothing")
    (run.folder(8) / "config.yaml").write_text("seed: 3\n")
    assert read_config(found.path, dict) == {"seed": 3}
    assert "settings that the checkpoint's manifest does not list" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ema.safetensors", "state.json", "manifest.json"])
def test_instead_of_a_damaged_best_checkpoint_the_newest_intact_one(
    run: RunFolder, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    run.save(12, FILES, {}, 9)
    assert find_checkpoint(run.path).step == 8
    assert not capsys.readouterr().err
    damage(run.folder(8) / name, "garbage")
    assert [find_checkpoint(run.path).step for _ in range(2)] == [12, 12]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"vidpred: warning: damaged checkpoint [step-8/{name}: ")
    assert f"; using step-12, the newest intact one [{run.path}]" in line
    damage(run.folder(12) / name, "garbage")
    assert find_checkpoint(run.path).step == 4
    with pytest.raises(StorageError, match=rf"damaged checkpoint \[step-8/{name}"):
        find_checkpoint(run.path, "step-8")
    damage(run.folder(4) / name, "garbage")
    with pytest.raises(
        StorageError, match=rf"damaged checkpoint \[step-\d+/{name}.*no checkpoint of the run is intact"
    ):
        find_checkpoint(run.path)


def test_a_checkpoint_that_cannot_be_renamed(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    (run.folder(8) / "state.json").write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        newest = run.newest()
    assert newest is not None
    assert newest.step == 4
    assert "it cannot be renamed (Operation not permitted); using the previous one" in capsys.readouterr().err
    run.save(8, FILES, {}, 9)
    assert find_damage(run.folder(8)) is None


@pytest.mark.parametrize("aside", ["folder", "pipe", "empty"])
@pytest.mark.parametrize("step", ["pipe", "empty", "folder"])
def test_a_step_that_is_no_folder(run: RunFolder, step: str, aside: str) -> None:
    damage(run.folder(8), step)
    damage(run.checkpoints / "step-8.corrupt", aside)
    newest = run.newest()
    assert newest is not None
    assert newest.step == 4
    assert run.steps() == [4]


def test_without_an_intact_checkpoint_the_warning_tells_so(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (4, 8):
        (run.folder(step) / "manifest.json").unlink()
    assert run.newest() is None
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition("; ")[2] for line in lines] == [
        "using the previous one", "no other one is left, so the run starts anew",
    ]  # fmt: skip


OPTIMIZER_STATES = [
    {"nonsense": torch.ones(3)}, {"x.exp_avg": torch.ones(3)}, {"9.exp_avg": torch.ones(3)},
    {"-1.exp_avg": torch.ones(3)}, {"0.exp_avg": torch.ones(4)}, {"0.exp_avg": torch.ones(3)},
    {"0.step": torch.ones(()), "0.exp_avg": torch.ones(3), "0.exp_avg_sq": torch.full((3,), torch.nan)},
    {"0.step": torch.ones(()), "0.exp_avg": torch.ones(3), "0.other": torch.ones(3)},
    {"0.step": torch.ones(3), "0.exp_avg": torch.ones(3), "0.exp_avg_sq": torch.ones(3)},
    {"0.step": torch.ones(()), "0.exp_avg": torch.ones(3, dtype=torch.int64), "0.exp_avg_sq": torch.ones(3)},
]  # fmt: skip


@pytest.mark.parametrize("tensors", OPTIMIZER_STATES, ids=lambda tensors: ", ".join(tensors))
def test_an_optimizer_state_of_another_network(tensors: dict[str, torch.Tensor]) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(3))])
    with pytest.raises(StorageError, match=r"step-8/optimizer_generator\]; use another checkpoint"):
        unpack_optimizer(optimizer, tensors, "step-8/optimizer_generator")
    assert pack_optimizer(optimizer) == {}


def test_a_hostile_config_of_a_huge_network_takes_no_memory(
    trained: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    """Its hash matches; the shapes of the weights do not."""
    run = tmp_path / "run"
    shutil.copytree(trained[1], run)
    folder = run / "checkpoints/step-4"
    text = (folder / "config.yaml").read_text()
    tree = yaml.safe_load(text)
    tree["model"]["feature_maps"] = [[10**7, 10**7]]
    tree["model"]["kernel_sizes"] = [[3, 3, 3]]
    (folder / "manifest.json").unlink()
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    write_manifest(folder, 4)
    with pytest.raises(StorageError, match="another model"):
        Predictor.load(run, "last", "cpu")


@pytest.mark.slow
def test_a_run_under_a_name_that_is_no_utf_8(trained: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    settings, source = trained
    run = tmp_path / os.fsdecode(b"caf\xe9 $x$")
    shutil.copytree(source, run)
    assert train(load_config(None, {**settings, "training.steps": 5, "run": str(run)})).first_step == 4
    assert Predictor.load(run, "last", "cpu").step == 5
    lines = [{"step": 1, "generator/lp": 1.0}]
    draw_curves(tmp_path / "curves.png", {run.name: lines, "other": lines}, ["generator/lp"])
    assert plot_text(run.name) == r"caf\xe9 \$x\$"
