"""Parts of tables of recorded results."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.results import Result
from vidpred.media.text_table import markdown_table

Results = Mapping[tuple[str, int], Result]
SEEDS = (0, 1, 2)
FRAMES = (1, 2, 4, 8)  # future frames in tables of videos
grid = markdown_table
COPY, FLOW, HALF = "copy last", "optical flow", "copy/flow average"  # baselines


def numbers(values: Iterable[float | None], digits: int = 2) -> str:
    """Return values with `digits` decimals, separated by slashes; "-" for null."""
    return " / ".join("-" if value is None else f"{value:.{digits}f}" for value in values)


def percent(values: Iterable[float], digits: int = 1) -> str:
    """Return shares in percent."""
    return numbers((100 * value for value in values), digits) + " %"


def mean_and_spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the mean over seeds with the standard deviation."""
    return f"{statistics.fmean(values):.{digits}f} ±{statistics.stdev(values):.{digits}f}"


def with_error(mean: float, error: float, digits: int = 2, sign: str = "") -> str:
    """Return a mean with its standard error."""
    return f"{mean:{sign}.{digits}f} ±{error:.{digits}f}"


def over_seeds(results: Results, name: str) -> list[dict[str, Any]]:
    """Return the values of an experiment by seed."""
    return [results[name, seed].values for seed in SEEDS if (name, seed) in results]
