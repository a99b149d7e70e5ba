"""Three minutes of random kills; `python -m tests.reliability.soak --minutes 60` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.soak import SHORT, soak


@pytest.mark.reliability
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_trainings_equal_an_undisturbed_one(tmp_path: Path, processes: int) -> None:
    found = soak(tmp_path, 1.5, processes, 0, SHORT)
    print(found)
    assert found["kills"] > 0
    assert found["runs completed"] > 0
