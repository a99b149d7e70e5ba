"""Results are standard JSON and can be read again."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import commit
from benchmarks.results import RESULTS, append_result, read_results

RESULTS_FILE = Path(__file__).parent.parent.parent / "docs" / "results.jsonl"


def strict(line: str) -> Any:
    """Parse standard JSON; Python's reader also accepts NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(line, parse_constant=refuse)


def test_results_have_no_nan(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    append_result(file, {"name": "a", "numbers": [1.5, math.nan, (math.inf,)], "deeper": {"error": math.nan, "n": 3}})
    append_result(file, {"name": "b"})
    first, second = map(strict, file.read_text().splitlines())
    assert first == {"name": "a", "numbers": [1.5, None, [None]], "deeper": {"error": None, "n": 3}}
    assert second == {"name": "b"}


def test_the_results_are_valid_json() -> None:
    for line in RESULTS_FILE.read_text().splitlines():
        strict(line)
    assert len(read_results(RESULTS_FILE)) == len(RESULTS_FILE.read_text().splitlines())


def test_a_result_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    append_result(file, {"name": "a", "seed": 1, "commit": "c", "machine": {}, "psnr": [1.5]})
    assert read_results(file)["a", 1].values == {"psnr": [1.5]}
    append_result(file, {"name": "a", "seed": 1, "commit": "d", "machine": {}})
    with pytest.raises(ValueError, match="line 2: a second result of a, seed 1"):
        read_results(file)
    file.write_text('{"name": "a"}\n')
    with pytest.raises(ValueError, match="line 1: without commit, machine, seed"):
        read_results(file)


def test_the_commit_of_a_result(tmp_path: Path) -> None:
    """A changed results file does not count as a change; any other tracked file does."""

    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert commit(tmp_path) == "unknown"
    git("init")
    code, rows = tmp_path / "code.py", tmp_path / RESULTS
    rows.parent.mkdir()
    code.touch()
    rows.touch()
    git("add", ".")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD")[:10]
    rows.write_text("a row")
    (tmp_path / "untracked").touch()
    assert commit(tmp_path) == commit(rows.parent) == head
    code.write_text("changed")
    assert commit(tmp_path) == commit(rows.parent) == f"{head}+"
