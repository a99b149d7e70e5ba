"""Ten steps of a preset in three ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.experiments.presets import OTHERS, differences


@pytest.mark.slow
def test_ten_steps_of_a_preset(tmp_path: Path) -> None:
    """Every process draws its own noise, so two processes are further from one than rounding is."""
    found = differences(tmp_path, "gaussians_r3gan.yaml", None, 0)
    assert tuple(found) == OTHERS
    assert 0 < found["bfloat16"] < found["two processes"] < 0.1
