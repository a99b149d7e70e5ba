"""Lotter's network on rotating solids: its memory, what it refuses, and how a detail is measured."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.worlds.solids import make_solid, render, render_frames, rotation
from vidpred.errors import ConfigError
from vidpred.evaluation.details import detail_clips, painted_share
from vidpred.evaluation.evaluate import evaluate
from vidpred.models.lotter import LotterPredictor, LotterSettings
from vidpred.run import train

DATA = DataSettings(
    world={"name": "rotating_solids"}, context_frames=5, channels=1, crop_size=16, augment={"horizontal_flip": False}
)
SETTINGS = LotterSettings(feature_maps=[4, 8], hidden=16)


def test_every_context_frame_and_their_order_matter() -> None:
    torch.manual_seed(0)
    network = LotterPredictor(SETTINGS, DATA)
    context = torch.rand(2, 5, 1, 16, 16)
    with torch.no_grad():
        (frame,) = network(context)
        assert frame.shape == (2, 1, 1, 16, 16)
        for number in range(5):
            other = context.clone()
            other[:, number] = 1 - other[:, number]
            assert not torch.equal(network(other)[0], frame), f"frame {number} has no effect"
        assert not torch.equal(network(context.flip(1))[0], frame), "their order has no effect"


def test_other_sizes_and_conditions_are_refused() -> None:
    with pytest.raises(ValueError, match="data.crop_size"):
        LotterPredictor(SETTINGS, DATA)(torch.rand(1, 5, 1, 20, 20))
    with pytest.raises(ConfigError, match="multiple of 4"):
        SETTINGS.build(DATA.model_copy(update={"crop_size": 18}))
    with pytest.raises(ConfigError, match="does not take this setting; set model."):
        load_config("lotter_mse.yaml", {"model.noise_channels": 2})


def test_solids_turn_evenly() -> None:
    solid = make_solid(3, 1)
    turn = rotation(solid.axis, 0.4)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(turn @ solid.axis, solid.axis, atol=1e-12)
    np.testing.assert_allclose(rotation(solid.axis, 0.1) @ rotation(solid.axis, 0.3), turn, atol=1e-12)
    assert np.array_equal(render(solid, 0.0), render(solid, 2 * np.pi))
    frames = render_frames(solid, range(6))
    assert frames.shape == (6, 32, 32, 1)
    assert all((a != b).any() for a, b in pairwise(frames))
    source = build_source(DATA, "train", range(6))
    assert np.array_equal(source.window(4), source.window(4))
    assert not np.array_equal(source.window(4), source.window(5))


def test_the_share_of_a_detail_by_hand() -> None:
    context, true, bare = detail_clips(4, 5, seed=0, side=32)
    assert context.shape == (4, 5, 1, 32, 32)
    assert bool(((true - bare).abs().flatten(1).sum(1) > 0).all())
    torch.testing.assert_close(painted_share(true, true, bare), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(painted_share(bare, true, bare), torch.zeros(4, dtype=torch.float64))
    half = bare + 0.5 * (true - bare)
    torch.testing.assert_close(painted_share(half, true, bare), torch.full((4,), 0.5, dtype=torch.float64))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "world"),
    [
        pytest.param("lotter_mse", "rotating_solids", marks=pytest.mark.slow),
        pytest.param("lotter_adversarial", "rotating_solids", marks=pytest.mark.slow),
        ("lotter_mse", "bouncing_balls"),
    ],
)
def test_presets_train_and_are_evaluated_like_any_predictor(preset: str, world: str, tmp_path: Path) -> None:
    settings = {
        "data.world.name": world,
        "run": str(tmp_path / "run"), "training.steps": 2, "training.batch_size": 4, "training.device": "cpu",
        "model.feature_maps": [4, 8], "model.hidden": 16, "training.validation_windows": 2, "data.crop_size": 16,
    }  # fmt: skip
    train(load_config(f"{preset}.yaml", settings))
    scores = evaluate(tmp_path / "run", num_frames=2, windows=2).scores["run"]
    assert np.isfinite([total.mean for total in scores.overall["psnr"]]).all()
