"""Runs trained before settings were renamed load, predict and resume as with the old code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from torch import Tensor

from tests.fixtures.old_runs.make import COMMON, RUNS
from tests.image_files import write_digits
from vidpred.checkpoint import find_checkpoint
from vidpred.config import Config, load_config
from vidpred.config.explain import explain_section
from vidpred.errors import ConfigError
from vidpred.inference.predictor import Predictor
from vidpred.models import discriminators
from vidpred.run import train
from vidpred.settings import MOVED, flatten, migrate, moved_to
from vidpred.settings import renamed as renamed_settings

FOLDER = Path(__file__).parent / "fixtures" / "old_runs"


@pytest.fixture(params=list(RUNS))
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of an old run in the working directory."""
    monkeypatch.chdir(tmp_path)
    renamed_settings._note.cache_clear()
    shutil.copytree(FOLDER / request.param, request.param)
    write_digits(Path("digits.npz"))
    monkeypatch.setitem(discriminators.CONVOLUTION_MAPS, "strided", [[4, 4]] * 4)
    monkeypatch.setitem(discriminators.CONNECTED_WIDTHS, "strided", [[4]] * 4)
    return str(request.param)


def expected(run: str) -> dict[str, Tensor]:
    return safetensors.torch.load_file(FOLDER / run / "expected.safetensors")


def renamed(changes: dict[str, Any]) -> dict[str, Any]:
    return {moved_to(key, value) or key: value for key, value in changes.items()}


def test_predictions_are_unchanged(run: str) -> None:
    predictor = Predictor.load(run, "step-4", "cpu")
    if run == "dcgan":
        found = predictor.draw(torch.linspace(-1, 1, 6).view(2, 3))
    else:
        found = predictor.predict(torch.linspace(0, 1, 4 * 3 * 16 * 16).view(4, 3, 16, 16), 3, num_samples=2, seed=0)
    torch.testing.assert_close(found, expected(run)["prediction"], atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_resumed_training_is_unchanged(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = train(load_config(None, renamed({**COMMON, **RUNS[run], "run": run})))
    assert (result.first_step, result.steps) == (4, 8)
    found = find_checkpoint(run, "step-8").tensors("ema")
    wanted = {key.removeprefix("ema."): value for key, value in expected(run).items() if key.startswith("ema.")}
    assert found.keys() == wanted.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, wanted[key], atol=1e-6, rtol=1e-5, msg=key)
    written = yaml.safe_load((Path(run) / "config.yaml").read_text())
    assert Config.model_validate(written).training.grad_clip_norm == 1.0
    assert "earlier version" in capsys.readouterr().err


def test_other_settings_are_another_run(run: str) -> None:
    with pytest.raises(ConfigError, match=r"training.batch_size was \d, now 6"):
        train(load_config(None, renamed({**COMMON, **RUNS[run], "run": run, "training.batch_size": 6})))


@pytest.mark.parametrize("old", MOVED)
def test_old_names_suggest_the_new_ones(old: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"{old}=1"])
    assert str(caught.value) == f"[{old}] moved to {MOVED[old]} (command line)"
    section, name = old.split(".")
    (tmp_path / "mine.yaml").write_text(f"{section}: {{{name}: 1}}")
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "mine.yaml")
    assert str(caught.value) == f"[{old}] moved to {MOVED[old]} (mine.yaml:1)"


def test_stored_settings_are_read_under_their_new_names() -> None:
    old = {"model": {"name": "lotter", "maps": [4]}, "discriminator": {"name": "progressive", "deviation_group": 0}}
    new = {"model.name": "lotter", "model.feature_maps": [4], "discriminator.name": "progressive",
           "discriminator.minibatch_std_group": 0}  # fmt: skip
    assert dict(flatten(migrate(old, "config.yaml"))) == new
    assert migrate({"model": {"evaluations": 2}}, "config.yaml") == {"model": {"euler_steps": 2}}


def test_the_new_names_exist() -> None:
    keys = {setting.key for _, settings in explain_section(Config) for setting in settings}
    assert set(MOVED.values()) <= keys
    assert set(MOVED) & keys == set()
