"""Training, evaluating, predicting and rendering a model that takes states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.numbered_set import NumberedSet
from tests.video_files import write_video
from vidpred.checkpoint import find_checkpoint
from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.sources import window_states
from vidpred.errors import ConfigError, DataError
from vidpred.evaluation.compare import draw_image
from vidpred.evaluation.evaluate import EvaluationRequest, evaluate_predictors
from vidpred.inference.predict_video import PredictRequest, VideoPrediction
from vidpred.inference.predictor import Predictor
from vidpred.models.dynamics import StateDynamics
from vidpred.run import plan, train

MEAN, DEVIATION = -20.0, 10.0


def write_swings(folder: Path, clips: int = 10, frames: int = 12) -> None:
    """Write clips of a bright bar that swings, whose direction and next distance are in the state only.

    The states are in odd units on purpose, with a constant value next to them.
    """
    from data_prep.numpy import Numpy

    random = np.random.default_rng(0)
    moves = random.integers(1, 4, (clips, 1)) * random.choice([-1, 1], (clips, 1)) * (-1) ** np.arange(frames)
    starts = random.integers(6, 18, (clips, 1))
    places = starts + np.concatenate([np.zeros((clips, 1)), moves[:, :-1].cumsum(1)], 1)
    bars = (np.abs(np.arange(24) - places[..., None]) < 3) * 120 + 60
    images = np.broadcast_to(bars[:, :, None, :, None], (clips, frames, 16, 24, 3)).astype(np.uint8)
    states = np.stack([moves * DEVIATION + MEAN, np.full(moves.shape, 0.1)], -1).astype(np.float32)
    folder.mkdir()
    np.savez(folder / "swings.npz", frames=images, states=states)
    prepare(Numpy(source=folder / "swings.npz"), folder / "set", workers=1, progress=False)


@pytest.fixture(scope="module")
def swings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swings") / "data"
    write_swings(folder, clips=40)
    return folder / "set"


def settings(root: Path, run: Path, **change: Any) -> dict[str, Any]:
    return {
        "data.root": str(root), "run": str(run), "data.augment.horizontal_flip": False, "data.crop_size": None,
        "data.size": None,
        "data.context_frames": 1, "data.video.skip_cuts": False, "model.state_size": 2, "model.scales": 1,
        "model.feature_maps": [[8]], "model.kernel_sizes": [[3, 3]], "training.steps": 2,
        "training.batch_size": 2, "training.device": "cpu", "training.validation_windows": 1, **change,
    }  # fmt: skip


MULTISCALE_ONLY = ("model.scales", "model.feature_maps", "model.kernel_sizes")
LEARNING = {
    "model.name": "film_unet", "model.widths": (16, 24), "model.cell_size": 1,
    "training.steps": 150, "training.batch_size": 8, "training.precision": "float32", "objective.gdl_weight": 0.0,
    "objective.lp_exponent": 2.0, "training.generator.learning_rate": 2e-3, "training.generator.name": "adam",
    "training.monitor_every": 0, "training.validate_every": 0,
}  # fmt: skip


def training_settings(root: Path, run: Path, state_size: int) -> dict[str, Any]:
    found = settings(root, run, **LEARNING) | {"model.state_size": state_size}
    return {key: value for key, value in found.items() if key not in MULTISCALE_ONLY}


@pytest.fixture(scope="module")
def run(swings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train just long enough for the model to follow its states."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train(load_config(None, training_settings(swings, folder, 2)))
    return folder


@pytest.fixture(scope="module")
def short_run(swings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short") / "run"
    train(load_config(None, training_settings(swings, folder, 2) | {"training.steps": 15}))
    return folder


def psnr(predictor: Predictor, steps: int = 3) -> list[float]:
    scores = (
        evaluate_predictors([predictor], EvaluationRequest(steps, windows=None)).scores[predictor.name].overall["psnr"]
    )
    return [score.mean for score in scores]


@pytest.mark.slow
def test_motion_that_only_states_reveal_is_learned(
    run: Path, swings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(load_config(None, training_settings(swings, tmp_path / "blind", 0)))
    seeing, blind = psnr(Predictor.load(run)), psnr(Predictor.load(tmp_path / "blind"))
    for step, (one, other) in enumerate(zip(seeing, blind, strict=True)):
        assert one > other + 3, f"frame t+{step + 1}: {one:.1f} dB with states, {other:.1f} without"
    monkeypatch.setattr(
        "vidpred.evaluation.protocols.window_states",
        lambda source, index, known: window_states(source, (index + 7) % len(source), known),
    )
    misled = psnr(Predictor.load(run))
    for one, other in ((seeing[0], misled[0]), (seeing[2], misled[2])):  # at t+2 the bar is back in either case
        assert one > other + 3, "the states of another window are as good"


def test_the_dynamics_are_those_of_the_data_and_in_the_checkpoint(short_run: Path) -> None:
    stored = find_checkpoint(short_run).tensors("ema")
    assert stored["state_dynamics.states.deviation"][1] == 1, "a value that never changes"
    generator = Predictor.load(short_run).generator
    assert isinstance(generator.state_dynamics, StateDynamics)
    turned = generator.state_dynamics(torch.tensor([[2 * DEVIATION + MEAN, 0.1]]))
    torch.testing.assert_close(turned, torch.tensor([[-2 * DEVIATION + MEAN, 0.1]]), rtol=1e-4, atol=1e-3)


def both(folder: Path, run: Path, **change: Any) -> dict[str, Any]:
    """State t of clip c is (t, c, -t) and action t is (c, t)."""
    shape = {"model.scales": 2, "model.feature_maps": [[4], [4]], "model.kernel_sizes": [[3, 3], [3, 3]]}
    shape |= {"data.context_frames": 2, "model.action_size": 2, "model.state_size": 3}
    return settings(folder, run, **shape | change)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numbered") / "set"
    prepare(NumberedSet(Path("source")), folder, workers=1, progress=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("skip", [1, 2])
def test_with_actions_and_skipped_frames(numbered: Path, tmp_path: Path, skip: int) -> None:
    change = {
        "data.frame_skip": skip, "model.action_size": 2 * skip, "data.unroll": 2, "model.noise_channels": 1,
        "objective.num_samples": 2, "training.monitor_every": 1, "training.image_every": 2,
    }  # fmt: skip
    config = load_config(None, both(numbered, tmp_path / "run", **change))
    assert "run folder" in plan(config)
    train(config)
    resumed = train(load_config(None, both(numbered, tmp_path / "run", **change, **{"training.steps": 3})))
    assert resumed.first_step == 2
    predictor = Predictor.load(tmp_path / "run", "last")
    assert predictor.step == 3
    dynamics = predictor.generator.state_dynamics
    assert isinstance(dynamics, StateDynamics)
    moves = torch.tensor([[7.0, 4.0, 7.0, 5.0][: 2 * skip]])
    torch.testing.assert_close(
        dynamics(torch.tensor([[4.0, 7.0, -4.0]]), moves), torch.tensor([[4.0 + skip, 7, -4 - skip]]),
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip
    source = build_source(predictor.data, "train", range(4))
    for states, actions in source.sequences():  # type: ignore[attr-defined]
        assert actions is not None
        np.testing.assert_array_equal(actions[:, 1::2].ravel(), np.arange(len(actions) * skip))
        np.testing.assert_array_equal(states[:, 0], np.arange(len(states)) * skip)
    scores = evaluate_predictors([predictor], EvaluationRequest(2, split="train", windows=2))
    assert scores.windows == 2
    assert draw_image({"model": predictor.generator}, source, 1, 2, torch.device("cpu")).ndim == 3


def test_predictions_depend_on_the_context_states(short_run: Path) -> None:
    predictor = Predictor.load(short_run)
    frames = torch.rand(2, 3, 3, 16, 24)
    states = torch.tensor([[[MEAN, 0.1]] * 3, [[2 * DEVIATION + MEAN, 0.1]] * 3])
    future = predictor.predict(frames, 4, states=states)
    assert future.shape == (2, 4, 3, 16, 24)
    torch.testing.assert_close(predictor.predict(frames[0], 4, states=states[0].numpy()), future[0])
    assert not torch.allclose(predictor.predict(frames, 4, states=states.flip(0)), future, atol=0.01)
    for wrong, words in ((None, r"pass states \(B, T, 2\)"), (states[:, 1:], "2 states given; 3 context frames")):
        with pytest.raises(ValueError, match=words):
            predictor.predict(frames, 4, states=wrong)


def test_sizes_that_do_not_fit_are_named(swings: Path, numbered: Path, tmp_path: Path) -> None:
    for change, words in (
        ({"model.state_size": 3}, r"state_size=3\] the data's states have 2 values a frame .*set model.state_size=2"),
        ({"data.root": None, "data.video.skip_cuts": True}, r"has no states .*set model.state_size=0"),
        ({"model.action_size": 1}, r"has no actions .*set model.action_size=0"),
        (
            {"data.augment.horizontal_flip": True},
            r"data.augment.horizontal_flip: mirrored frames would contradict the states",
        ),
        (
            {"data.context_frames": 0, "data.crop_size": 16, "model.name": "dcgan"},
            r"state_size: model.name=dcgan does not take this setting; set model.state_size=0",
        ),
    ):
        chosen = settings(swings, tmp_path / "run", **change)
        if "model.name" in change:
            chosen = {key: value for key, value in chosen.items() if key not in MULTISCALE_ONLY}
        for verb in (train, plan):
            with pytest.raises(ConfigError, match=words):
                verb(load_config(None, chosen))
    for name in ("lotter", "motion"):
        with pytest.raises(ConfigError, match="state"):
            load_config(None, {"model.name": name, "model.state_size": 2, "data.augment.horizontal_flip": False})


def test_predicting_a_video_takes_states_from_a_file(short_run: Path, tmp_path: Path) -> None:
    clip, file = tmp_path / "clip.mp4", tmp_path / "states.npy"
    write_video(clip, np.stack([np.full((16, 24, 3), 10 * number, np.uint8) for number in range(8)]))
    predictor = Predictor.load(short_run)
    with pytest.raises(ConfigError, match=r"run is conditioned on states of 2 values.*add states=FILE.npy"):
        VideoPrediction.open(PredictRequest(clip, 3), [predictor])
    rows = np.arange(16, dtype=np.float32).reshape(8, 2)
    np.save(file, rows)
    prediction = VideoPrediction.open(PredictRequest(clip, 3, states=file), [predictor])
    numbers = prediction.window.numbers
    assert prediction.states is not None
    assert np.array_equal(prediction.states[0], rows[numbers])
    assert len(list(prediction.steps(prediction.context()))) == 3
    np.save(file, rows[:3])
    with pytest.raises(DataError, match=r"states of shape \(3, 2\); frames 0 to 4 need 5 rows"):
        VideoPrediction.open(PredictRequest(clip, 3, states=file), [predictor])
    np.save(file, rows[:, :1])
    with pytest.raises(ConfigError, match="run takes states of 2 values, these have 1"):
        VideoPrediction.open(PredictRequest(clip, 3, states=file), [predictor])
    sparse = Predictor(predictor.generator, predictor.data.model_copy(update={"frame_skip": 2}), "run")
    np.save(file, rows)
    prediction = VideoPrediction.open(PredictRequest(clip, 1, states=file), [sparse])
    assert prediction.states is not None
    assert np.array_equal(prediction.states[0], rows[prediction.window.numbers])
