"""Run the command line in this process."""

from __future__ import annotations

import sys

import pytest

from vidpred.commands import app

TRAIN = [
    "training.steps=2", "training.batch_size=2", "data.crop_size=32", "model.scales=2",
    "model.feature_maps=[[4],[4]]", "model.kernel_sizes=[[3,3],[3,3]]", "training.device=cpu",
]  # fmt: skip


def run_vidpred(*words: object) -> int:
    """Run `vidpred` with these words; return its exit code."""
    arguments = sys.argv
    sys.argv = ["vidpred", *map(str, words)]
    try:
        app.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = arguments
    return 0


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command line in this process; return exit code, stdout and stderr."""
    code = run_vidpred(*words)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    """Check the exit code, and that the last line on stderr has these words, without a traceback."""
    found, _, errors = result
    assert found == code, errors
    assert "Traceback" not in errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("vidpred: error: ")
    for word in words:
        assert word in last
