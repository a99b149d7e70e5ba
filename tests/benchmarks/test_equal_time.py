"""Trainings of equal CPU time: the seconds of a step are what more steps add, and steps fit into the minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import equal_time
from benchmarks.equal_time import fitting_steps, measure_speeds


def test_seconds_of_a_step_are_what_more_steps_add(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock, started = [0.0], []

    def train(config: Any) -> None:
        run, steps, seconds = config
        started.append((run.parent.name, steps))
        clock[0] += 5 + seconds * steps  # a start takes five seconds

    monkeypatch.setattr(equal_time, "train", train)
    monkeypatch.setattr(equal_time.time, "process_time", lambda: clock[0])
    costs = {"slow": iter([2.0, 4.0, 3.0]), "fast": iter([0.5, 0.5, 8.0])}
    current: dict[str, float] = {}

    def configure(name: str) -> Any:
        def settings(run: Path, steps: int) -> Any:
            if steps == 4:
                current[name] = next(costs[name])
            return run, steps, current[name]

        return settings

    found = measure_speeds({name: configure(name) for name in costs}, tmp_path / "calibration", (4, 12))
    assert found == {
        "seconds": {"slow": 3.0, "fast": 0.5},
        "all": {"slow": [2.0, 4.0, 3.0], "fast": [0.5, 0.5, 8.0]},
    }
    assert started == [("calibration", 4), ("calibration", 12)] * 6


def test_steps_fit_into_the_minutes() -> None:
    assert fitting_steps(0.1, 4) == 2400
    assert fitting_steps(0.07, 4) == 3429
    assert fitting_steps(0.07, 4, multiple=6) == 3426
    assert fitting_steps(1000.0, 4, multiple=6) == 6
