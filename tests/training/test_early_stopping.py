"""Early stopping: where a run ends, also when it was resumed, and the reason that it reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.training.test_trainer import finish, start
from vidpred import run
from vidpred.checkpoint import find_checkpoint
from vidpred.config import load_config
from vidpred.errors import ConfigError
from vidpred.run import train

VALUES = (20.0, 21.0, 21.05, 21.0, 20.0, 22.0)  # of the validations after 2, 4, 6, ... steps
SETTINGS: dict[str, Any] = {
    "training.steps": 40, "training.batch_size": 2, "model.scales": 1, "model.feature_maps": [[4]],
    "model.kernel_sizes": [[3, 3]], "training.image_every": 0, "training.device": "cpu", "checkpoint.every": 2,
    "training.validate_every": 2, "training.early_stopping_patience": 2, "training.early_stopping_min_delta": 0.1,
    "data.world.name": "moving_shapes", "data.crop_size": 16,
}  # fmt: skip


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let validations return `VALUES`, one after the other."""
    values = iter(VALUES)
    monkeypatch.setattr(run, "build_validation", lambda *_: lambda generator: {"psnr_moving": next(values)})


@pytest.mark.slow
@pytest.mark.parametrize("stops", [pytest.param((40,), marks=pytest.mark.slow), (6, 40)])
def test_a_run_ends_when_validation_stops_rising(
    tmp_path: Path, scripted: None, capsys: pytest.CaptureFixture[str], stops: tuple[int, ...]
) -> None:
    """21 dB at step 4 is not exceeded by 0.1 dB in two validations, also if the run was interrupted between them."""
    settings = {**SETTINGS, "run": str(tmp_path / "run")}
    for steps in stops:
        result = train(load_config(None, {**settings, "training.steps": steps}))
    assert (result.steps, result.stopped_early) == (8, True)
    assert (
        "stopped early after step 8: psnr_moving was 21 at step 4 and has not risen by more than 0.1 in the last 2"
        in capsys.readouterr().err
    )
    assert find_checkpoint(tmp_path / "run", "last").step == 8
    assert find_checkpoint(tmp_path / "run", "best").step == 6
    again = train(load_config(None, settings))
    assert (again.first_step, again.steps, again.stopped_early) == (8, 8, True), "a stopped run has nothing left to do"
    patient = train(load_config(None, {**settings, "training.early_stopping_patience": 3}))
    assert (patient.first_step, patient.steps) == (8, 10)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training.validate_every": 0}, "there are no validations; set training.validate_every=500"),
        ({"training.best_by": "last"}, "best_by=last is no metric"),
    ],
)
def test_early_stopping_without_a_metric_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(None, {**SETTINGS, **changes})


@pytest.mark.reliability
@pytest.mark.slow
def test_two_processes_stop_after_the_same_step(tmp_path: Path) -> None:
    """No validation rises by 1,000 dB: the second ends the run, in both processes."""
    changes = {"training.early_stopping_patience": 1, "training.early_stopping_min_delta": 1000.0}
    errors = finish(start({**SETTINGS, **changes, "run": str(tmp_path / "run")}, processes=2))
    assert errors.count("stopped early after step 4") == 1
    assert find_checkpoint(tmp_path / "run", "last").step == 4
