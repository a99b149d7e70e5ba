"""Training, evaluating and rendering a model that takes actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.video_files import write_video
from vidpred.checkpoint import find_checkpoint
from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.data.sources import window_actions
from vidpred.errors import ConfigError, DataError
from vidpred.evaluation.evaluate import EvaluationRequest, evaluate_predictors
from vidpred.inference.predict_video import PredictRequest, VideoPrediction
from vidpred.inference.predictor import Predictor
from vidpred.run import plan, train

MEAN, DEVIATION = np.array([3.0, -20.0]), np.array([0.5, 10.0])


def write_slides(folder: Path, clips: int = 10, frames: int = 12) -> None:
    """Write clips of a bright bar that moves by (action - mean) / std pixels; the actions have odd units on purpose."""
    from data_prep.numpy import Numpy
    from vidpred.data.prepared.pipeline import prepare

    random = np.random.default_rng(0)
    moves = random.integers(-2, 3, (clips, frames, 2)) * [1, 0]
    places = 12 + np.concatenate([np.zeros((clips, 1)), moves[:, :-1, 0].cumsum(1)], 1)
    columns = np.arange(24)
    bars = (np.abs((columns - places[..., None] + 12) % 24 - 12) < 3) * 255
    images = np.broadcast_to(bars[:, :, None, :, None], (clips, frames, 16, 24, 3)).astype(np.uint8)
    folder.mkdir()
    np.savez(folder / "slides.npz", frames=images, actions=(moves * DEVIATION + MEAN).astype(np.float32))
    prepare(Numpy(source=folder / "slides.npz"), folder / "set", workers=1, progress=False)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides") / "data"
    write_slides(folder)
    return folder / "set"


def settings(slides: Path, run: Path, **change: Any) -> dict[str, Any]:
    return {
        "data.root": str(slides), "run": str(run), "data.augment.horizontal_flip": False, "data.crop_size": None,
        "data.size": None,
        "data.context_frames": 2, "data.video.skip_cuts": False, "model.action_size": 2, "model.scales": 2,
        "model.feature_maps": [[8], [8]], "model.kernel_sizes": [[3, 3], [3, 3]], "training.steps": 2,
        "training.batch_size": 2, "training.device": "cpu", "training.validation_windows": 1, **change,
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train just long enough for the model to follow its actions."""
    folder = tmp_path_factory.mktemp("run") / "run"
    change = {
        "training.steps": 250, "training.batch_size": 8, "model.feature_maps": [[16], [16]],
        "model.kernel_sizes": [[5, 5], [5, 5]], "training.precision": "float32", "model.residual": "last_frame",
        "objective.gdl_weight": 0.0, "objective.lp_exponent": 2.0, "training.image_every": 250,
        "training.generator.learning_rate": 5e-3, "training.monitor_every": 0,
    }  # fmt: skip
    train(load_config(None, settings(slides, folder, **change)))
    return folder


@pytest.fixture(scope="module")
def short_run(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short") / "run"
    train(load_config(None, settings(slides, folder)))
    return folder


@pytest.mark.slow
def test_the_normalizer_is_fitted_to_the_training_data_and_saved(run: Path) -> None:
    stored = find_checkpoint(run).tensors("ema")
    rows = build_source(Predictor.load(run).data, "train", range(2))
    whole = np.concatenate([rows.prepared.actions(clip) for clip in rows.prepared.clips])  # type: ignore[attr-defined]
    np.testing.assert_allclose(stored["action_scale.mean"], whole.mean(0), rtol=1e-4)
    np.testing.assert_allclose(stored["action_scale.deviation"][0], whole[:, 0].std(), rtol=1e-4)
    assert stored["action_scale.deviation"][1] == 1, "a value that never changes"


@pytest.mark.slow
def test_evaluation_gives_the_true_actions(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor.load(run)
    truth = evaluate_predictors([predictor], EvaluationRequest(2, windows=None)).scores["run"].overall["psnr"]
    monkeypatch.setattr(
        "vidpred.evaluation.protocols.window_actions",
        lambda source, index: window_actions(source, (index + 7) % len(source)),
    )
    others = evaluate_predictors([predictor], EvaluationRequest(2, windows=None)).scores["run"].overall["psnr"]
    for true, other in zip(truth, others, strict=True):
        assert true.mean > other.mean + 1, "the actions of another window are as good"


def test_sizes_that_do_not_fit_are_named(slides: Path, tmp_path: Path) -> None:
    for change, words in (
        ({"model.action_size": 3}, r"action_size=3\] the data's actions have 2 values .*set model.action_size=2"),
        ({"data.frame_skip": 2}, r"action_size=2\] the data's actions have 4 values .*set model.action_size=4"),
        ({"data.root": None, "data.video.skip_cuts": True}, r"has no actions .*set model.action_size=0"),
    ):
        config = load_config(None, settings(slides, tmp_path / "run", **change))
        for verb in (train, plan):
            with pytest.raises(ConfigError, match=words):
                verb(config)
    assert "run folder" in plan(load_config(None, settings(slides, tmp_path / "run")))


def test_frame_skip_takes_the_actions_in_between(slides: Path, tmp_path: Path) -> None:
    change = {"data.frame_skip": 2, "model.action_size": 4, "data.context_frames": 1}
    train(load_config(None, settings(slides, tmp_path / "run", **change)))
    scale = find_checkpoint(tmp_path / "run").tensors("ema")["action_scale.mean"]
    assert scale.shape == (4,)
    torch.testing.assert_close(scale[:2], scale[2:])


def test_predicting_a_video_takes_actions_from_a_file(short_run: Path, tmp_path: Path) -> None:
    frames = np.stack([np.full((16, 24, 3), 10 * number, np.uint8) for number in range(8)])
    clip, file = tmp_path / "clip.mp4", tmp_path / "actions.npy"
    write_video(clip, frames)
    predictor = Predictor.load(short_run)
    with pytest.raises(ConfigError, match=r"run is conditioned on actions of 2 values.*add actions=FILE.npy"):
        VideoPrediction.open(PredictRequest(clip, 3), [predictor])
    rows = np.arange(16, dtype=np.float32).reshape(8, 2)
    np.save(file, rows)
    prediction = VideoPrediction.open(PredictRequest(clip, 3, actions=file), [predictor])
    first = prediction.window.numbers[0]
    assert prediction.actions is not None
    assert np.array_equal(prediction.actions[0], rows[first : first + len(prediction.window.numbers) - 1 + 3])
    assert len(list(prediction.steps(prediction.context()))) == 3
    np.save(file, rows[:5])
    with pytest.raises(DataError, match=r"actions of shape \(5, 2\); frames 0 to 7 need 7 rows"):
        VideoPrediction.open(PredictRequest(clip, 3, actions=file), [predictor])
    np.save(file, rows[:, :1])
    with pytest.raises(ConfigError, match="run takes actions of 2 values, these have 1"):
        VideoPrediction.open(PredictRequest(clip, 3, actions=file), [predictor])
