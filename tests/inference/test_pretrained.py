"""The shipped weights: intact, small, found by name, useful without training, and a start for other runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.models.test_baselines import moving_clip
from tests.video_files import numbered_frames, write_video
from vidpred.checkpoint import SHIPPED, find, find_checkpoint
from vidpred.commands import app
from vidpred.config import load_config
from vidpred.errors import ConfigError, StorageError
from vidpred.evaluation.metrics import psnr
from vidpred.inference.predictor import Predictor
from vidpred.models.build import build_generator
from vidpred.run import train


def test_they_are_intact_and_small_and_name_their_training_data() -> None:
    found = find_checkpoint("pretrained")
    assert found.path == SHIPPED
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 5_000_000
    assert {"data", "credits", "commit"} <= set(json.loads((SHIPPED / "state.json").read_text()))


def test_without_training_they_beat_copying_at_every_step() -> None:
    clip = moving_clip(11, 96, 96, 2, -1)[0]
    predicted = Predictor.load("pretrained").predict(clip[:3], 8)
    inside = (..., slice(20, -20), slice(20, -20))
    gains = psnr(predicted[inside], clip[3:][inside]) - psnr(clip[2:3].expand(8, -1, -1, -1)[inside], clip[3:][inside])
    assert bool((gains > 1).all()), gains


def test_a_predictor_names_its_run() -> None:
    step = find_checkpoint("pretrained").step
    expected = f"Predictor('pretrained', step={step}, min_history_len=2, device='cpu')"
    assert repr(Predictor.load("pretrained", device="cpu")) == expected


def test_a_damaged_copy_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "motion"
    shutil.copytree(SHIPPED, copy)
    content = bytearray((copy / "ema.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "ema.safetensors").write_bytes(content)
    monkeypatch.setattr(find, "SHIPPED", copy)
    with pytest.raises(StorageError, match="damaged .*sha256 differs"):
        find_checkpoint("pretrained")


def test_a_folder_of_that_name_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrained").mkdir()
    with pytest.raises(StorageError, match="no checkpoint in the run folder"):
        find_checkpoint("pretrained")


def test_predict_needs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "clip.mp4", numbered_frames(14, 48, 64))
    words = [
        "predict",
        str(tmp_path / "clip.mp4"),
        "--output",
        str(tmp_path / "out.png"),
        "--frames",
        "2",
        "--size",
        "48",
    ]
    monkeypatch.setattr("sys.argv", ["vidpred", *words])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 0
    assert "predicted 12-13" in capsys.readouterr().out
    assert (tmp_path / "out.png").stat().st_size > 0


def test_training_starts_from_them(tmp_path: Path) -> None:
    write_video(tmp_path / "clips" / "clip.mp4", numbered_frames(60, 48, 64))
    overrides = {
        "data.root": str(tmp_path / "clips"), "run": str(tmp_path / "run"), "data.size": None, "data.crop_size": 32,
        "data.pred_frames": 2, "data.min_motion": 0, "training.init_from": "pretrained", "training.steps": 1,
        "training.batch_size": 1, "training.generator.learning_rate": 1e-12, "training.device": "cpu",
    }  # fmt: skip
    train(load_config("motion.yaml", overrides))
    own, shipped = (find_checkpoint(path, "last").tensors("generator" if path != "pretrained" else "ema")
                    for path in (tmp_path / "run", "pretrained"))  # fmt: skip
    assert all(torch.allclose(own[name], shipped[name], atol=1e-6) for name in own)
    assert all(name.startswith("path_") for name in shipped.keys() - own.keys())


def test_the_sharpness_of_one_call_does_not_persist() -> None:
    clip = moving_clip(4, 48, 64, 2, -1)[0]
    predictor = Predictor.load("pretrained")
    before = predictor.predict(clip[:3], 2)
    blended, sharp = (predictor.predict(clip[:3], 2, sharpness=value) for value in (0.0, 1.0))
    assert (blended - sharp).abs().mean() > 1e-5
    assert torch.equal(predictor.predict(clip[:3], 2), before)
    predictor.set_sharpness(1.0)
    assert torch.equal(predictor.predict(clip[:3], 2), sharp)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        predictor.predict(clip[:3], 2, sharpness=1.5)


def test_models_without_a_sharpness_setting_raise() -> None:
    config = load_config("forking_ball_mse.yaml")
    predictor = Predictor(build_generator(config.model, config.data), config.data, "mine")
    with pytest.raises(ConfigError, match=r"mine takes no sharpness \[sharpness=1\].*model\.name=motion "):
        predictor.set_sharpness(1)
