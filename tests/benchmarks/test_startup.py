"""The times of starts end with the first logged step of a training, else with the process."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks.startup import CHECKOUT, STARTS, table, time_start

TRAIN = """
import pathlib, sys, time
pathlib.Path("run").mkdir()
pathlib.Path("run/metrics.jsonl").write_text("{}")
time.sleep(1.0)
"""


@pytest.mark.slow
def test_a_training_has_started_with_its_first_logged_step(tmp_path: Path) -> None:
    began = time.perf_counter()
    seconds, used = time_start(["-c", TRAIN, "train"], tmp_path, CHECKOUT)
    assert 0 < seconds < time.perf_counter() - began - 0.8
    assert 0 < used < 1


@pytest.mark.slow
def test_other_starts_end_with_the_process(tmp_path: Path) -> None:
    assert time_start(["-c", "import time; time.sleep(0.2)"], tmp_path, CHECKOUT)[0] > 0.2
    with pytest.raises(RuntimeError, match="no such thing"):
        time_start(["-c", "raise SystemExit('no such thing')"], tmp_path, CHECKOUT)


def test_the_table_has_medians_of_both_checkouts() -> None:
    times = {name: {kind: [(1.0, 2.0), (3.0, 4.0), (2.0, 9.0)] for kind in STARTS} for name in ("now", "before")}
    lines = table(times).splitlines()
    assert lines[0] == "|  | seconds | CPU seconds | seconds before | CPU seconds before |"
    assert lines[2].endswith("| 2.00 (1.00 - 3.00) | 4.00 | 2.00 (1.00 - 3.00) | 4.00 |")
