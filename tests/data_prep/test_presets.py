"""Every set with its preset: preparation, 20 steps of training and evaluation in one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.set_files import SETS, prepare
from tests.video_files import numbered_frames, write_video
from vidpred import load_config, train
from vidpred.data.prepared.format import Manifest
from vidpred.evaluation.evaluate import EvaluationRequest, evaluate_predictors

TINY = {
    "model.size": "release", "model.scales": 2, "model.feature_maps": [[4], [4]], "model.kernel_sizes": [[3, 3]] * 2,
    "training.steps": 20, "training.batch_size": 2, "training.device": "cpu", "training.validate_every": 20,
    "training.validation_windows": 2, "training.image_every": 20, "checkpoint.every": 20, "data.num_workers": 0,
}  # fmt: skip


def train_and_evaluate(preset: str, target: Path, run: Path, size: int | None) -> None:
    changes = {"data.root": str(target), "run": str(run), "data.size": size}
    extra: dict[str, dict[str, object]] = {
        "ucf101.yaml": {"discriminator.size": "strided"},
        "frames.yaml": {"data.crop_size": 32},  # the images are small here
        "lerobot.yaml": {"model.action_size": 2},  # the robot has two motors here
    }
    trained = train(load_config(preset, {**TINY, **changes, **extra.get(preset, {})}))
    assert trained.steps == 20
    result = evaluate_predictors([trained.predictor("last")], EvaluationRequest(num_frames=3, split="test", windows=4))
    assert result.windows > 0
    for scores in result.scores.values():
        assert all(np.isfinite(total.mean) and total.count for total in scores.overall["psnr"])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SETS))
def test_a_set_prepared_trained_and_evaluated(name: str, tmp_path: Path) -> None:
    build, words = SETS[name]
    source, target = build(tmp_path / "source"), tmp_path / "target"
    prepare(name, source, target, *words, "--workers", "1")
    manifest = Manifest.load(target)
    assert manifest is not None
    train_and_evaluate(f"{name}.yaml", target, tmp_path / "run", manifest.size)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [6, 2])
def test_videos_used_directly(tmp_path: Path, keep: int) -> None:
    """Divide many videos by a list, and few by time."""
    source = tmp_path / "clips"
    for number in range(keep):
        write_video(source / f"{number}.mp4", numbered_frames(80, 40, 48, number))
    prepare("folder", source, tmp_path / "target")
    train_and_evaluate("folder.yaml", tmp_path / "target", tmp_path / "run", 32)
