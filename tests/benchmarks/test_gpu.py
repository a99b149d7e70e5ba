"""The script for a machine with a GPU runs on a CPU within its time limit, and its trainings can be measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.mathieu_long import CONTEXT, FUTURE, KEPT, WINDOWS, load_predictions, prepare, rung_config
from tests.video_files import write_video


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare three splits of one small video each."""
    folder = tmp_path_factory.mktemp("frames")
    clips = {}
    random = np.random.default_rng(0)
    for split in ("train", "test", "development"):
        clips[split] = folder / split / "clips"
        clips[split].mkdir(parents=True)
        scene = random.integers(0, 255, (40, 64, 3), dtype=np.uint8)
        write_video(clips[split] / "moving.mp4", np.stack([np.roll(scene, step, 1) for step in range(20)]))
    prepare(folder / "prepared", clips)
    return folder / "prepared"


def run_gpu(output: Path, *words: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--small", "--output", str(output), *words]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((output / "gpu.json").read_text())
    return found


@pytest.mark.slow
def test_tiny_setting(tmp_path: Path, frames: Path) -> None:
    found = run_gpu(tmp_path, "--minutes", "0.2", "--frames", str(frames))
    assert {"device", "torch"} <= found["machine"].keys()
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["bfloat16 matrix product 256x256x256"]["value"] > 0
    difference = rows.get("multiscale: predicted frames, GPU against CPU")  # missing if the machine is too slow
    assert difference is None or difference["value"] <= 1e-4
    assert "time left after training" in rows


@pytest.mark.slow
@pytest.mark.reliability
def test_windows_are_predicted_by_every_training(tmp_path: Path, frames: Path) -> None:
    found = run_gpu(tmp_path, "--minutes", "1", "--parts", "training", "--frames", str(frames))
    assert {"training: steps of each training", "training: all trainings"} <= {row["name"] for row in found["rows"]}
    with np.load(frames / "windows.npz") as windows:
        shapes = {clip: windows[clip].shape for clip in windows}
    assert set(shapes) == {"test/moving.mp4", "development/moving.mp4"}
    predictions = load_predictions(tmp_path / "predictions" / "ladder_adv_gdl-0.npz.xz")
    for clip, shape in shapes.items():
        assert shape[:3] == (WINDOWS, CONTEXT + FUTURE, 3)
        assert predictions[clip].shape == (WINDOWS, len(KEPT), *shape[2:])


def test_rungs_differ_only_in_their_losses(tmp_path: Path) -> None:
    configs = {
        rung: rung_config(rung, 1, Path("frames"), tmp_path, 500)
        for rung in ("ladder_l2", "ladder_gdl_l1", "ladder_adv_gdl")
    }
    found = []
    for config in configs.values():
        objective = config.objective
        found.append((objective.lp_exponent, objective.gdl_weight, objective.has_discriminator))
        assert (config.seed, config.training.steps, config.training.batch_size) == (1, 500, 8)
        assert config.training.generator == configs["ladder_l2"].training.generator
        assert config.data == configs["ladder_l2"].data
    assert found == [(2, 0, False), (1, 1, False), (1, 1, True)]
