"""Experiment trackers: what they receive, from a recorder in Accelerate's table and from the real packages."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from PIL import Image

from vidpred.checkpoint import read_metrics
from vidpred.config import load_config
from vidpred.run import train
from vidpred.training import trackers

SETTINGS: dict[str, Any] = {
    "training.steps": 4, "training.batch_size": 2, "model.scales": 1, "model.feature_maps": [[4]],
    "model.kernel_sizes": [[3, 3]], "training.image_every": 2, "training.device": "cpu", "training.log_every": 1,
    "training.validate_every": 2, "training.validation_windows": 1, "data.world.name": "moving_shapes",
    "data.crop_size": 16, "data.pred_frames": 2,
}  # fmt: skip


class Recorder(GeneralTracker):
    """A tracker that keeps what it receives."""

    name, requires_logging_directory = "wandb", False
    calls: list[tuple[str, Any]]
    failing_step = 0

    def __init__(self, run_name: str, **kwargs: Any) -> None:
        super().__init__()
        self.calls.append(("init", {"project": run_name, **kwargs}))

    @property
    def tracker(self) -> Recorder:
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.calls.append(("settings", values))

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.calls.append(("log", (step, values)))
        if step == self.failing_step:
            raise ConnectionError("the server\nis gone")

    def log_images(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.calls.append(("images", (step, values)))

    def finish(self) -> None:
        self.calls.append(("finish", None))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Recorder]]:
    """Replace Weights & Biases by a recorder."""
    Recorder.calls, Recorder.failing_step = [], 0
    videos = SimpleNamespace(Video=lambda path, format: (format, Path(path).read_bytes()))
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    monkeypatch.setitem(sys.modules, "wandb", videos)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    return Recorder


@pytest.mark.slow
def test_a_tracker_receives_numbers_images_and_videos(tmp_path: Path, recorder: type[Recorder]) -> None:
    train(load_config(None, {**SETTINGS, "run": str(tmp_path / "first"), "training.trackers": "wandb"}))
    kinds = [kind for kind, _ in recorder.calls]
    assert (kinds[:2], kinds[-1], kinds.count("init")) == (["init", "settings"], "finish", 1)
    start = recorder.calls[0][1]
    assert (start["project"], start["name"], start["resume"]) == ("vidpred", "first", "allow")
    assert recorder.calls[1][1]["training.batch_size"] == 2
    logged = [values for kind, values in recorder.calls if kind == "log"]
    numbers = {(step, key): value for step, values in logged for key, value in values.items()}
    for line in read_metrics(tmp_path / "first"):
        for key in ("generator/lp", "validation/psnr", "monitor/motion"):
            assert numbers.get((int(line["step"]), key)) == line.get(key, numbers.get((int(line["step"]), key)))
    assert {(4, "generator/lp"), (4, "validation/psnr")} <= numbers.keys()
    images = [values for kind, values in recorder.calls if kind == "images"]
    assert [step for step, _ in images] == [2, 4]
    with Image.open(tmp_path / "first" / "images" / "step-000004.png") as stored:
        assert np.array_equal(images[-1][1]["training/samples"][0], np.asarray(stored.convert("RGB")))
    kind, content = numbers[4, "training/prediction"]
    with Image.open(BytesIO(content)) as video:
        assert (kind, getattr(video, "n_frames", 1)) == ("gif", 4 + 2), "context and predicted frames"

    train(load_config(None, {**SETTINGS, "run": str(tmp_path / "first"), "training.trackers": ["wandb"],
                             "training.steps": 5}))  # fmt: skip
    again = [values for kind, values in recorder.calls if kind == "init"]
    assert again[1]["id"] == again[0]["id"], "a resumed run begins new curves"


@pytest.mark.slow
def test_a_failing_tracker_ends_no_training(
    tmp_path: Path, recorder: type[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.failing_step = 2
    train(load_config(None, {**SETTINGS, "run": str(tmp_path / "run"), "training.trackers": ["wandb"]}))
    printed = capsys.readouterr().err
    assert printed.count("wandb failed (is gone); training continues without it") == 1
    assert max(step for kind, (step, _) in recorder.calls[2:] if kind == "log") == 2
    assert [line["step"] for line in read_metrics(tmp_path / "run") if "generator/lp" in line] == [1, 2, 3, 4]


def test_tensorboard_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(load_config(None, {**SETTINGS, "run": str(tmp_path / "run"), "training.trackers": ["tensorboard"]}))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("generator/lp")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("validation/psnr")] == [2, 4]
    assert [event.step for event in events.Images("training/samples")] == [2, 4]
    with Image.open(BytesIO(events.Images("training/prediction")[-1].encoded_image_string)) as video:
        assert (video.format, getattr(video, "n_frames", 1)) == ("GIF", 6)


@pytest.mark.slow
def test_offline_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(load_config(None, {**SETTINGS, "run": str(tmp_path / "run"), "training.trackers": ["wandb"]}))
    files = [file.relative_to(tmp_path).as_posix() for file in (tmp_path / "run" / "wandb").rglob("*.*")]
    assert any(file.endswith(".wandb") for file in files)
    assert sum("media/videos/training/prediction" in file for file in files) == 2
    assert sum("media/images/training/samples" in file for file in files) == 2


def test_old_settings_are_translated(tmp_path: Path) -> None:
    from vidpred.settings import migrate

    for old, new in ((True, ["tensorboard"]), (False, [])):
        assert migrate({"training": {"tensorboard": old}}, str(tmp_path)) == {"training": {"trackers": new}}
    assert json.loads(load_config(None, {"training.trackers": "wandb"}).model_dump_json())["training"]["trackers"] == [
        "wandb"
    ]
