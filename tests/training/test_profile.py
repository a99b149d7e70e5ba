"""Where a training's time goes: exclusive times of stages, their sum, the recorded operations, and no other effect."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vidpred.checkpoint import find_checkpoint, read_metrics
from vidpred.config import load_config
from vidpred.data.batch import Batch
from vidpred.data.sources import TrainingSamples
from vidpred.resume import changed_keys
from vidpred.run import train
from vidpred.training import profile
from vidpred.training.diagnosis import Diagnosis, diagnose
from vidpred.training.profile import WAITING, Pace, StageTimes


class Clock:
    """A clock that only tests advance."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(profile.time, "perf_counter", found)
    return found


def test_nested_stages_are_counted_once(clock: Clock) -> None:
    stage = StageTimes(torch.device("cpu"))
    for _ in range(2):
        with stage("outer"):
            clock.now += 3
            with stage("inner"):
                clock.now += 10
            clock.now += 4
        clock.now += 50  # in no stage
    assert stage.seconds == {"outer": 14, "inner": 20}


def test_the_pace_is_that_since_the_last_question(clock: Clock) -> None:
    stage = StageTimes(torch.device("cpu"))
    pace = Pace(stage, 10, samples=16)
    for waited, step in ((1, 20), (6, 25)):
        with stage(WAITING):
            clock.now += waited
        clock.now += 8 - waited
        values = pace.values(step)
    assert values == {"samples_per_second": 5 * 16 / 8, "waiting_for_data": 6 / 8}
    assert pace.smooth_rate == pytest.approx(20 + 0.3 * (10 - 20))


def settings(run: Path, **more: object) -> dict[str, object]:
    return {
        "run": str(run), "data.world": {"name": "forking_ball"}, "data.crop_size": 32, "data.channels": 3,
        "training.steps": 10, "training.batch_size": 2, "training.validate_every": 0, "training.image_every": 0,
        "training.log_every": 2, "training.monitor_every": 0, **more,
    }  # fmt: skip


def test_a_run_may_be_profiled_when_it_is_resumed() -> None:
    assert changed_keys(load_config(None), load_config(None, {"training.profile": True})) == {}


@pytest.mark.slow
def test_a_profile_has_all_of_the_time_and_changes_no_weight(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("plain", "profiled"):
        train(load_config("tiny.yaml", settings(tmp_path / name, **{"training.profile": name == "profiled"})))
    plain, profiled = (
        load_file(str(find_checkpoint(tmp_path / name).path / "ema.safetensors")) for name in ("plain", "profiled")
    )
    assert all(torch.equal(plain[name], profiled[name]) for name in plain)
    assert not (tmp_path / "plain" / "profile.json").exists()
    found = json.loads((tmp_path / "profiled" / "profile.json").read_text())
    stages = found["stages"]
    assert found["steps"] == 10
    assert {WAITING, "updates", "averaged weights", "logs", "checkpoints", "profiling", "other"} <= set(stages)
    assert sum(stage["seconds"] for stage in stages.values()) == pytest.approx(found["seconds"], abs=0.01)
    assert sum(stage["share"] for stage in stages.values()) == pytest.approx(1, abs=0.01)
    assert stages["other"]["share"] < 0.05
    operations = {one["name"]: one for one in found["operations"]}
    assert operations["aten::convolution_backward"]["calls"] >= 1
    milliseconds = [one["milliseconds"] for one in found["operations"]]
    assert milliseconds == sorted(milliseconds, reverse=True)
    trace = json.loads(gzip.decompress((tmp_path / "profiled" / "profile_trace.json.gz").read_bytes()))
    assert any(event.get("name") == "aten::convolution_backward" for event in trace["traceEvents"])
    assert "profile: " in capsys.readouterr().err


@pytest.mark.slow
def test_the_wait_for_slow_data_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = TrainingSamples.__getitems__

    def slow(self: TrainingSamples, positions: list[int]) -> list[Batch]:
        time.sleep(0.2)
        return drawn(self, positions)

    monkeypatch.setattr(TrainingSamples, "__getitems__", slow)
    train(load_config("tiny.yaml", settings(tmp_path / "run")))
    lines = read_metrics(tmp_path / "run")
    assert len(lines) == 5
    # Two batches of 0.2 s each between two lines; rates have two samples a batch.
    assert all(line["waiting_for_data"] * 4 / line["samples_per_second"] >= 0.4 for line in lines)
    assert all(line["waiting_for_data"] <= 1 for line in lines)


@pytest.mark.parametrize(("workers", "advice"), [(0, "data.num_workers=2"), (3, "raise data.num_workers")])
def test_a_doctor_finds_slow_data(workers: int, advice: str) -> None:
    def found(share: float, root: str | None) -> list[Diagnosis]:
        lines = [{"step": step, "waiting_for_data": share} for step in range(10, 401, 10)]
        settings = {"data.root": root, "data.num_workers": workers, "training.steps": 400}
        return [one for one in diagnose(lines, load_config(None, settings)) if one.title == "slow data"]

    assert not found(0.1, "clips")
    (finding,) = found(0.4, "clips")
    assert "40 %" in finding.observed
    assert advice in finding.remedy
    assert "vidpred prepare" in finding.remedy
    assert "vidpred prepare" not in found(0.4, None)[0].remedy
