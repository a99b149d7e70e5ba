"""The log of a run: strict JSON, continued on resume."""

from __future__ import annotations

import json
from pathlib import Path

from vidpred.training.tracking import Tracker


def test_numbers_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, 3, 0, True)
    tracker.log(1, {"loss": 1.23456789, "psnr": float("nan"), "gradient": float("inf"), "steps": 3})
    tracker.close()

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=refuse) == {"step": 1, "loss": 1.23457, "steps": 3}
