"""Shares of the loop's stages and rates next to a busy process: tables worked by hand; both measured in small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.experiments import loop
from benchmarks.experiments.loop import BUSY, SHARES, TITLES, busy_row, busy_table, shares_row, shares_table
from benchmarks.results import append_result, read_results
from tests.video_files import numbered_frames, write_video


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Return a folder with five videos."""
    (tmp_path / "videos").mkdir()
    for number in range(5):
        write_video(tmp_path / "videos" / f"{number}.mp4", numbered_frames(20, 40, 48, first=number * 20))
    return tmp_path / "videos"


def result(folder: Path, name: str, **values: Any) -> Any:
    append_result(folder / "rows.jsonl", {"name": name, "seed": 0, "commit": "0", "machine": {}, **values})
    return read_results(folder / "rows.jsonl")


def test_the_table_of_shares_has_every_stage(tmp_path: Path) -> None:
    stages = {"updates": {"seconds": 190.0, "share": 0.95}, "logs": {"seconds": 3.0, "share": 0.0151}}
    one = {"steps": 10, "seconds": 200.4, "stages": stages}
    lines = shares_table(result(tmp_path, SHARES, trainings={"videos": one})).splitlines()
    assert lines[0] == "| share of the time | videos, 200 s |"
    assert len(lines) == 2 + len(TITLES)
    assert {"| updates of the weights | 95.0 % |", "| logs | 1.5 % |", "| images | 0.0 % |"} < set(lines)


def test_the_busy_rate_is_a_share_of_the_rate_alone(tmp_path: Path) -> None:
    rates = {"alone": [40.0, 50.0, 60.0], "busy": [30.0, 20.0, 10.0]}
    assert busy_table(result(tmp_path, BUSY, samples_per_second=rates)).splitlines()[2:] == [
        "| alone | 50.0 (40.0 - 60.0) | 100 % |",
        "| next to a process that never waits | 20.0 (10.0 - 30.0) | 40 % |",
    ]


@pytest.mark.slow
def test_both_rows_in_small(tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"one": ("tiny.yaml", str(videos)), "videos, `release.yaml`": ("tiny.yaml", str(videos))}
    monkeypatch.setattr(loop, "presets", lambda: small)
    monkeypatch.setattr(loop, "STEPS", 8)
    monkeypatch.setattr(loop, "BUSY_STEPS", 6)
    monkeypatch.setattr(loop, "BUSY_ROUNDS", 1)
    monkeypatch.setattr(loop, "LOG_EVERY", 2)
    trainings = shares_row(tmp_path, 0)["trainings"]
    for found in trainings.values():
        assert found["steps"] == 8
        assert sum(stage["share"] for stage in found["stages"].values()) == pytest.approx(1, abs=0.001)
        assert set(found["stages"]) <= set(TITLES)
        assert found["stages"]["updates"]["share"] > 0
    rates = busy_row(tmp_path, 0)["samples_per_second"]
    assert all(len(rates[name]) == 1 and rates[name][0] > 0 for name in ("alone", "busy"))
    with pytest.raises(RuntimeError, match="no such folder"):
        loop.run_command("tiny.yaml", str(tmp_path / "none"), tmp_path / "run")
