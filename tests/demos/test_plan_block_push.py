"""The planning demo runs from recording to the last try."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_it_records_trains_and_plans(tmp_path: Path) -> None:
    words = ["--output", str(tmp_path / "out"), "--episodes", "10", "--steps", "2", "--tries", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "demos.plan_block_push", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "try 0: " in done.stdout
    assert (tmp_path / "out" / "run" / "checkpoints" / "step-2").is_dir()
