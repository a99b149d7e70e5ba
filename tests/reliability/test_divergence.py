"""Divergence names the network whose values became non-finite first, in 200 characters, even on a full disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.reliability.conftest import TINY
from vidpred.config import load_config
from vidpred.errors import DivergedError, StorageError
from vidpred.run import train
from vidpred.training import divergence
from vidpred.training.divergence import first_cause

NAN = torch.tensor(float("nan"))
ONE = torch.tensor(1.0)


@pytest.mark.parametrize(
    ("name", "broken", "image", "losses", "expected"),
    [
        ("generator", None, 1.0, {"lp": NAN}, ("generator", "loss or gradient")),
        ("generator", None, 1.0, {"lp": ONE, "adversarial": NAN}, ("discriminator", "output")),
        ("generator", "discriminator", 1.0, {"lp": ONE, "adversarial": NAN}, ("discriminator", "weights")),
        ("discriminator", "generator", float("nan"), {"real": NAN}, ("generator", "weights")),
        ("discriminator", None, float("inf"), {"real": NAN}, ("generator", "output")),
        ("discriminator", None, 1.0, {"real": NAN}, ("discriminator", "loss or gradient")),
        ("discriminator", None, 1.0, {"real": ONE, "gradient norm": NAN}, None),
    ],
)
def test_first_cause(
    name: str,
    broken: str | None,
    image: float,
    losses: dict[str, torch.Tensor],
    expected: tuple[str, str] | None,
) -> None:
    networks = {key: nn.Linear(1, 1) for key in ("generator", "discriminator")}
    if broken:
        nn.init.constant_(networks[broken].weight, float("inf"))
    assert first_cause(name, networks, losses, [torch.full((1, 1), image)]) == expected


ADVERSARIAL = {"objective.adversarial.weight": 0.1}


@pytest.mark.parametrize("network", [pytest.param("generator", marks=pytest.mark.slow), "discriminator"])
def test_the_network_with_the_wild_rate_is_named(
    clips: Path, tmp_path: Path, network: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise StorageError("cannot write [x]: No space left on device; the run ends anyway")

    settings = {
        **TINY, **ADVERSARIAL, "data.root": str(clips), "run": str(tmp_path / "run"), "training.steps": 9,
        f"training.{network}.name": "sgd", f"training.{network}.learning_rate": 1e38,
    }  # fmt: skip
    with pytest.raises(DivergedError) as caught:
        train(load_config(None, settings))
    message = str(caught.value)
    assert message.startswith(f"{network}'s ")
    assert f"lower training.{network}.learning_rate" in message
    assert len(f"vidpred: error: {message}") <= 200
    record = json.loads(next((tmp_path / "run").glob("diverged-step-*.json")).read_text())
    assert record["network"] == network
    if network == "generator":
        monkeypatch.setattr(divergence, "write_file", refuse)
        with pytest.raises(DivergedError, match="generator's"):
            train(load_config(None, {**settings, "run": str(tmp_path / "other")}))
        assert "warning: cannot write [x]" in capsys.readouterr().err
