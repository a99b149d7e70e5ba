"""The demo that plans in PushT runs from recording to the last try, where gym-pusht is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from demos import plan_pusht
from vidpred.errors import ConfigError

WORDS = ("--episodes", "10", "--steps", "1", "--tries", "1")


@pytest.mark.skipif(find_spec("gym_pusht") is None, reason="gym-pusht (the extra sim) is not installed")
def test_it_records_trains_and_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["plan_pusht", "--output", str(tmp_path), *WORDS])
    monkeypatch.setattr(plan_pusht.PushTEnv, "planned_steps", 1)
    plan_pusht.main()
    assert "try 0: " in capsys.readouterr().out
    assert (tmp_path / "run" / "checkpoints" / "step-1").is_dir()


def test_the_error_without_the_package_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    monkeypatch.setattr(sys, "argv", ["plan_pusht", "--output", str(tmp_path), *WORDS])
    with pytest.raises(ConfigError, match=r"pip install '\.\[sim\]'"):
        plan_pusht.main()
