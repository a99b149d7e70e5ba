"""Videos in which nothing moves: a camera at night, black frames."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import vidpred
from tests.video_files import write_video
from vidpred.config import load_config
from vidpred.run import train


@pytest.mark.slow
def test_still_clips_are_trained_on_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    textured = np.kron(random.integers(0, 256, (4, 5, 3), np.uint8), np.ones((12, 12, 1), np.uint8))
    for name, image in {"still": textured, "black": 0 * textured, "white": 0 * textured + 255}.items():
        write_video(tmp_path / "clips" / f"{name}.mp4", np.stack([image] * 120))
    settings = {"data.root": str(tmp_path / "clips"), "run": str(tmp_path / "run"), "training.steps": 2}
    train(load_config("tiny.yaml", {**settings, "data.min_motion": 0.001, "training.device": "cpu"}))
    found = vidpred.evaluate(tmp_path / "run", num_frames=2, windows=6)
    assert found.means("psnr")["copy last"] == [100.0, 100.0]
    assert all(math.isnan(value) for value in found.means("psnr_moving")["copy last"])
    assert "nan" not in str(found)
