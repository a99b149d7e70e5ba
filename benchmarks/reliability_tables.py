"""The tables of docs/guide/reliability.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import Results, grid
from tests.reliability.scorecard import CASES
from tests.reliability.soak import MOMENTS

KINDS = ("videos", "configs", "checkpoints", "prepared sets and indexes")
FAILURES = ("crash", "hang", "silent")


def scorecard(results: Results) -> str:
    """Return the 25 faults with their tests, and how many passed when they were last recorded."""
    recorded = results.get(("reliability: scorecard", 0))
    measured: dict[str, Any] = {} if recorded is None else recorded.values["cases"]
    rows = []
    for number, case in enumerate(CASES, 1):
        found = measured.get(str(number))
        figure = "not recorded"
        if found and found["tests"]:
            figure = f"{found['passed']} of {found['tests']} tests, {found['seconds']:.0f} s"
        files = dict.fromkeys(name.partition("::")[0].removeprefix("tests/") for name in case.tests)
        rows.append([str(number), case.fault, case.promise, ", ".join(f"`{file}`" for file in files), figure])
    return grid(["", "fault", "promise", "tests", "passed"], rows)


def fuzzing(results: Results) -> str:
    """Return the outcomes of random damage by kind of file."""
    rows = []
    for kind in KINDS:
        found = results.get((f"fuzz: {kind}", 0))
        if found is not None:
            counts = found.values["outcomes"]
            used = sum(counts.get(name, 0) for name in ("used", "rebuilt"))
            failures = (f"{counts.get(name, 0):,}" for name in FAILURES)
            cases = f"{found.values['cases']:,}"
            rows.append(
                [kind.replace("sets", "data sets"), cases, f"{counts.get('refused', 0):,}", f"{used:,}", *failures]
            )
    return grid(["damaged at random", "cases", "refused in one line", "used or rebuilt", "crashes", "hangs",
                 "silent losses"], rows)  # fmt: skip


def _kills(values: Mapping[str, Any]) -> str:
    """Return the number of kills, and what they interrupted."""
    moments = ", ".join(f"{values[moment]} {moment}" for moment in MOMENTS if values.get(moment))
    return f"{values['kills']} ({moments})" if moments else str(values["kills"])


def soaking(results: Results) -> str:
    """Return what trainings that were killed over and over came to."""
    rows = []
    for (name, _), result in results.items():
        if name.startswith("reliability: soak"):
            values = result.values
            rows.append([
                str(values["processes"]), f"{values['minutes']:.0f}", _kills(values),
                str(values["runs completed"]), str(values["most steps redone"]),
                str(values["most handles"]), str(values["most megabytes of memory"]),
            ])  # fmt: skip
    return grid(["processes", "minutes", "kills", "runs that ended bit for bit as an undisturbed one",
                 "most steps redone (a checkpoint every 10)", "most open files", "most memory (MB)"], rows)  # fmt: skip
