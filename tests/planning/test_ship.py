"""Shipping the weights of a model that takes actions: found by name, with its frames' size and its actions' range."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.ship import ship
from vidpred.checkpoint import find
from vidpred.config import load_config
from vidpred.errors import ConfigError, StorageError
from vidpred.planning.plan import load_model, make_matching_env
from vidpred.planning.record import Recording, record
from vidpred.run import train


@pytest.mark.slow
def test_shipped_weights_plan_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record(Recording("block_push", 12, "random", 24), tmp_path / "data", workers=1, progress=False)
    given = {"data.root": str(tmp_path / "data"), "run": "mine", "training.steps": 1, "training.batch_size": 2}
    train(load_config("block_push.yaml", {**given, "training.validation_windows": 1, "training.image_every": 0}))
    weights = tmp_path / "weights"
    ship("mine", "block_push", weights=weights)
    monkeypatch.setattr(find, "SHIPPED", weights / "motion")
    (tmp_path / "data").rename(tmp_path / "gone")
    model, size = load_model(Path("pretrained:block_push"), "best", "cpu", "auto")
    assert size == 24
    assert model.frame_size == (24, 24)
    assert model.trained_bounds is not None
    assert model.trained_bounds.names == ("disc x", "disc y")
    assert (model.trained_bounds.high - 1).abs().max() < 0.1
    with pytest.raises(ConfigError, match="32 x 32 pixels, but the model was trained on frames of 24 x 24"):
        make_matching_env("block_push", 32, model)
    assert make_matching_env("block_push", size, model).bounds.low.tolist() == [-1, -1]
    assert str(tmp_path) not in (weights / "block_push/config.yaml").read_text()
    with pytest.raises(StorageError, match=r"no such weights \[pretrained:pusht\]; there are pretrained:block_push"):
        load_model(Path("pretrained:pusht"), "best", "cpu", "auto")
    with pytest.raises(ConfigError, match=r"no such weights \[box\]"):
        ship("mine", "box", weights=weights)


@pytest.mark.parametrize(
    ("name", "size", "high", "names"),
    [("pusht", 32, 512.0, ("agent x", "agent y")), ("block_push", 32, 1.0, ("disc x", "disc y"))],
)
def test_the_weights_of_the_package(name: str, size: int, high: float, names: tuple[str, ...]) -> None:
    """They load, know their frames and actions, and what an action does changes the prediction."""
    model, found = load_model(Path(f"pretrained:{name}"), "best", "cpu", "float32")
    assert found == size
    assert model.trained_bounds is not None
    assert model.trained_bounds.names == names
    assert 0.9 * high < float(model.trained_bounds.high.max()) <= high
    frames = torch.rand(1, 1, 3, size, size, generator=torch.Generator().manual_seed(0))
    plans = torch.stack([model.trained_bounds.low, model.trained_bounds.high])[None, :, None].float()
    predicted = model.rollout(frames, plans)
    assert predicted.shape == (1, 2, 1, 3, size, size)
    assert float((predicted[0, 0] - predicted[0, 1]).abs().max()) > 0.01
