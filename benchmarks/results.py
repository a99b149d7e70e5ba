"""Recorded results: docs/results.jsonl, one JSON object a line.

Every line has these keys; all others are measured values, named by the experiment that wrote them:

| key | meaning |
|---|---|
| `name` | name of the experiment; with `seed` the key of the line |
| `seed` | seed of the training and of the drawn samples |
| `commit` | commit of the code; a trailing `+` means uncommitted changes |
| `commit_before_rebase` | optional: the hash that the commit had before it was rebased |
| `seconds_this_sitting` | optional: wall-clock seconds of the last sitting (a resumed training counts from there) |
| `command` | optional: the command that printed the values, for lines that no experiment wrote |
| `machine` | `processor`, `threads`, `device` and `torch` version |

Values are numbers, lists over frames (frame 1 first, or the frames that `frames` lists) or nested objects. Values that
are not finite are `null`. PSNR and sharpness are in dB, shares and accuracies in [0, 1].
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path("docs/results.jsonl")
OLD_AVERAGE = "half copy, half flow"  # in older lines
ABOUT = ("name", "seed", "commit", "commit_before_rebase", "seconds_this_sitting", "command", "machine")


@dataclass(frozen=True)
class Result:
    """One line of the file; `values` holds the measured values."""

    name: str
    seed: int
    commit: str
    machine: dict[str, Any]
    values: dict[str, Any]


def read_results(path: Path = RESULTS) -> dict[tuple[str, int], Result]:
    """Return all results by (name, seed), in the order of the file.

    Raises:
        ValueError: A line is not a JSON object, lacks a required key, or repeats a (name, seed).
    """
    results: dict[tuple[str, int], Result] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fields = json.loads(line.replace(OLD_AVERAGE, "copy/flow average"))
        missing = {"name", "seed", "commit", "machine"} - set(fields)
        if missing:
            raise ValueError(f"{path}, line {number}: without {', '.join(sorted(missing))}")
        key = fields["name"], fields["seed"]
        if key in results:
            raise ValueError(f"{path}, line {number}: a second result of {key[0]}, seed {key[1]}")
        values = {name: value for name, value in fields.items() if name not in ABOUT}
        results[key] = Result(*key, fields["commit"], fields["machine"], values)
    return results


def append_result(path: Path, fields: dict[str, Any]) -> None:
    """Append one line; NaN and infinity, which JSON does not have, become null."""
    with path.open("a") as file:
        file.write(json.dumps(_finite(fields), allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
