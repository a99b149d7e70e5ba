"""What benchmarks and proofs write can be read by anybody."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.harness import EVIDENCE, append_row, commit

PROOFS = Path(__file__).parent.parent.parent / "docs" / "proofs.jsonl"


def strict(line: str) -> Any:
    """JSON by its standard: Python's own reader takes NaN and Infinity, too."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(line, parse_constant=refuse)


def test_rows_hold_no_nan(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    append_row(file, {"name": "a", "numbers": [1.5, math.nan, (math.inf,)], "deeper": {"error": math.nan, "n": 3}})
    append_row(file, {"name": "b"})
    first, second = map(strict, file.read_text().splitlines())
    assert first == {"name": "a", "numbers": [1.5, None, [None]], "deeper": {"error": None, "n": 3}}
    assert second == {"name": "b"}


def test_the_proofs_are_valid_json() -> None:
    for line in PROOFS.read_text().splitlines():
        assert {"name", "seed", "commit"} <= set(strict(line))


def test_the_commit_of_a_row(tmp_path: Path) -> None:
    """Rows that were written before are no change; any other tracked file is."""

    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert commit(tmp_path) == "unknown"
    git("init")
    code, rows = tmp_path / "code.py", tmp_path / EVIDENCE
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
