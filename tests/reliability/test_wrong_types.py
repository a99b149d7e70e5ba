"""Every entry of every JSON file with a value of another type: refused as damage, or used without a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.numbered_set import NumberedSet
from tests.video_files import numbered_frames, write_video
from vidpred.checkpoint import Checkpoint, RunFolder, find_checkpoint, read_metrics, write_manifest
from vidpred.commands.diagnose import ended_badly
from vidpred.config import Config
from vidpred.data.prepared.format import FRAMES, INDEX, MANIFEST
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.prepared.windows import prepared_source
from vidpred.data.settings import DataSettings
from vidpred.data.unprepared import refuse_unprepared
from vidpred.data.videos.index import scan
from vidpred.errors import DataError, StorageError
from vidpred.planning.planning_model import Bounds
from vidpred.processes.folder_lock import FILE, _holder
from vidpred.training.diagnosis import diagnose
from vidpred.training.early_stopping import EarlyStopping
from vidpred.training.optimizers import Schedule
from vidpred.training.settings import TrainingSettings
from vidpred.training.trainer import schedule_of

ODD = (
    None,
    True,
    -1,
    3,
    1.5,
    float("nan"),
    float("inf"),
    10**400,
    -(10**20),
    "x",
    "",
    "\0",
    [],
    [None],
    {},
    {"x": None},
)
SCALER = {"scale": 2.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 9, "_growth_tracker": 0}
STATE = {
    "own_generator": None, "processes": 1, "classes": ["a"], "frame_size": [8, 8], "action_bounds": [[0.0], [1.0]],
    "action_names": ["x"], "torch": "2", "best": {"metric": "psnr", "value": 3.0}, "step": 8,
    "schedule": {"steps": 9, "limits": {"generator": 1.0}, "growth": 0.5},
    "early_stopping": {"best": 3.0, "best_step": 8, "waited": 0}, "scalers": {"generator": SCALER},
}  # fmt: skip


def changed(tree: Any) -> Iterator[Any]:
    """Yield the tree with each of its values replaced by each odd one, and without each of its entries."""
    yield from ODD
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield {name: inner for name, inner in tree.items() if name != key}
            yield from ({**tree, key: other} for other in changed(value))
    elif isinstance(tree, list):
        for place, value in enumerate(tree):
            yield from ([*tree[:place], other, *tree[place + 1 :]] for other in changed(value))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    for step in (4, 8):
        folder.save(step, {"ema": {"weight": torch.ones(1)}}, {}, 9, ("psnr", float(step)))
    return folder


def used(checkpoint: Checkpoint) -> None:
    """Use the entries of state.json as a training, a planner and the command line do."""
    settings = TrainingSettings()
    Schedule(settings).load_state(schedule_of(checkpoint), checkpoint.step)
    stopping = EarlyStopping(settings)
    stopping.load_state(checkpoint.state.get("early_stopping", {}))
    stopping.update(9, 3.0)
    for scaler in checkpoint.state.get("scalers", {}).values():
        torch.amp.GradScaler("cpu").load_state_dict(scaler)
    if bounds := checkpoint.state.get("action_bounds"):
        Bounds.of(bounds[0], bounds[1], checkpoint.state.get("action_names") or ())
    height, width = checkpoint.state.get("frame_size") or (1, 1)
    assert height * width > 0
    ", ".join([*(checkpoint.state.get("classes") or ()), checkpoint.state.get("own_generator") or ""])


@pytest.mark.slow
def test_the_state_of_a_checkpoint(run: RunFolder) -> None:
    folder = run.folder(8)
    refused = 0
    for state in [STATE, *changed(STATE)]:
        (folder / "manifest.json").unlink()
        (folder / "state.json").write_text(json.dumps(state))
        write_manifest(folder, 8)
        try:
            used(Checkpoint(folder))
        except StorageError:
            refused += 1
        best = run.best()
        assert best is not None
        assert best["step"] in (4, 8)
        if state is STATE:
            assert refused == 0
    assert refused > 100


@pytest.mark.slow
def test_the_manifest_of_a_checkpoint(run: RunFolder) -> None:
    file = run.folder(8) / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["files"]["ema.safetensors"]["sha256"] = "0"
    for other in changed(manifest):
        file.write_text(json.dumps(other))
        found = find_checkpoint(run.path, "last")
        if found.step == 8:  # without its entry, the file is not part of the checkpoint
            with pytest.raises(StorageError, match=r"does not list this file \[.*ema.safetensors\]"):
                found.tensors("ema")


def test_the_best_checkpoint_of_a_run(run: RunFolder) -> None:
    for record in changed({"step": 8, "metric": "psnr", "value": 30.0}):
        (run.path / "best.json").write_text(json.dumps(record))
        assert find_checkpoint(run.path).step == 8


def test_the_description_of_a_lerobot_set(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    for info in changed({"codebase_version": "v3.0", "features": {"a": {"dtype": "video"}}}):
        (tmp_path / "meta" / "info.json").write_text(json.dumps(info))
        with suppress(DataError):
            refuse_unprepared(tmp_path)


def test_the_holder_of_a_lock(tmp_path: Path) -> None:
    for record in changed({"pid": 3, "host": "a", "started": "now"}):
        (tmp_path / FILE).write_text(json.dumps(record))
        assert "process" in _holder(tmp_path / FILE)


@pytest.mark.slow
def test_the_log_and_the_records_of_an_end(tmp_path: Path) -> None:
    config = Config()
    diverged = {"step": 3, "network": "generator", "gradient_norm": "nan", "losses": {"lp": "nan"}}
    line = {"step": 3, "loss/lp": 0.5, "discriminator/accuracy": 0.5, "monitor/input_min": 0.0}
    for record in [*changed({"code": 3, "message": "x", "process": 0}), *changed(diverged)]:
        (tmp_path / "exit.json").write_text(json.dumps(record))
        (tmp_path / "diverged-step-3-process-0.json").write_text(json.dumps(record))
        ended_badly(tmp_path)
    for record in changed(line):
        (tmp_path / "metrics.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps(line)}\n")
        lines = read_metrics(tmp_path)
        assert all(isinstance(value, int | float) for entry in lines for value in entry.values())
        assert max(int(entry["step"]) for entry in lines) == 3
        diagnose(lines, config)


@pytest.mark.slow
def test_prepared_sets(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    numbered = NumberedSet(Path("source"), num_items=3)
    prepare(numbered, folder, workers=1, progress=False)
    settings = DataSettings.model_validate({"root": str(folder), "augment": {"horizontal_flip": False}, "crop_size": 8})
    manifest = json.loads((folder / MANIFEST).read_text()) | {"index_crc32": None}
    clips = [json.loads(line) for line in (folder / INDEX).read_text().splitlines()]

    def load() -> None:
        source = prepared_source(settings, "train", range(5))
        if source is not None:  # else the manifest names a folder of videos
            source.draw([0], [0], 0)

    def refused(file: Path, values: Iterator[Any], text: Callable[[Any], str]) -> int:
        count = 0
        for value in islice(values, 0, None, 3):
            file.write_text(text(value))
            try:
                load()
            except DataError:
                count += 1
        return count

    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert refused(folder / INDEX, changed(clips[0]), lambda clip: f"{json.dumps(clip)}\n") > 50
    shutil.rmtree(folder)
    prepare(numbered, folder, workers=1, progress=False)
    assert refused(folder / MANIFEST, changed(manifest), json.dumps) > 50


@pytest.mark.slow
def test_records_of_prepared_items(tmp_path: Path) -> None:
    numbered = NumberedSet(Path("source"), num_items=3)
    prepare(numbered, tmp_path, workers=1, progress=False)
    file = min((tmp_path / FRAMES).glob("*.json"))
    whole = file.read_bytes()
    line, checksum = whole.decode().splitlines()
    for number, other in enumerate(changed(json.loads(line))):
        if number % 9 == 0:
            file.write_text(f"{json.dumps(other)}\n{checksum}\n")
            prepare(numbered, tmp_path, workers=1, progress=False)
            assert file.read_bytes() == whole, other
        elif number % 9 == 1:
            file.write_text(json.dumps(other))  # as an earlier version
            with suppress(DataError):
                prepare(numbered, tmp_path, workers=1, progress=False)


@pytest.mark.slow
def test_the_index_of_videos(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered_frames(4, 16, 16))
    before, _ = scan(tmp_path)
    file = tmp_path / ".vidpred/index.jsonl"
    first, entry, *_ = file.read_text().splitlines()
    for number, other in enumerate(changed(json.loads(entry))):
        if number % 5 == 0:
            file.write_text(f"{first}\n{json.dumps(other)}\n")
            (found,) = scan(tmp_path)[0]
            assert found.frames == before[0].frames
