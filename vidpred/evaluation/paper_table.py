"""Table of frames 1 and 2, one row per method, as Table 2 of Mathieu, Couprie & LeCun 2016 (arXiv 1511.05440)."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from vidpred.errors import ConfigError, counted
from vidpred.evaluation.metric_table import METRICS
from vidpred.evaluation.protocols import Evaluation
from vidpred.media.text_table import format_table

FRAMES = 2
COLUMNS: dict[str, tuple[str, ...]] = {  # protocol -> metrics
    "plain": ("psnr_moving", "ssim_moving", "sharpness_moving"),
    "mathieu2016": ("psnr_as_released", "ssim_as_released", "sharpness_as_released"),
}
SPREAD = "+- is the standard deviation over seeds"
SEEDS_DIFFER = ("seed", "run", "training.init_from")  # settings that may differ between the runs of one row


def check_paper(protocol: str) -> None:
    """Check that a protocol has the table's metrics. Raises ConfigError."""
    if protocol not in COLUMNS:
        raise ConfigError(f"[--paper] protocol {protocol} has no such metrics; set --protocol {' or '.join(COLUMNS)}")


def by_method(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Group runs whose settings differ only in their seed.

    Args:
        settings: Name of a run (as in the evaluation) -> its settings by dotted key.

    Returns:
        Method -> names of its runs. A method is named by the common start of its runs' names.
    """
    groups: dict[str, list[str]] = {}
    for name, values in settings.items():
        key = repr(sorted((key, value) for key, value in values.items() if key not in SEEDS_DIFFER))
        groups.setdefault(key, []).append(name)
    titled: dict[str, list[str]] = {}
    for names in groups.values():
        title = common_start([re.sub(r" \(\d+\)$", "", name) for name in names]) or names[0]
        titled[title if title not in titled else names[0]] = names
    return titled


def common_start(names: Sequence[str]) -> str:
    """Return the common start of names without separators: `common_start(["l2-0", "l2-1"]) == "l2"`."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rstrip(" -_")


def paper_rows(evaluation: Evaluation, methods: Mapping[str, Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Build the table's head and rows.

    A cell is the mean over the windows where the metric is defined, averaged over a method's runs, with their standard
    deviation where there are several. Models of no method (the baselines) come last.

    Raises:
        ConfigError: See `check_paper`.
    """
    check_paper(evaluation.protocol.name)
    columns = COLUMNS[evaluation.protocol.name]
    num_frames = range(min(FRAMES, evaluation.num_frames))
    head = ["method", "seeds", *(f"{METRICS[name].title} {step + 1}" for step in num_frames for name in columns)]
    listed = {name for names in methods.values() for name in names}
    everything = {**methods, **{name: [name] for name in evaluation.scores if name not in listed}}
    rows = []
    for title, names in everything.items():
        cells = []
        for step in num_frames:
            for metric in columns:
                values = [evaluation.scores[name].overall[metric][step].mean for name in names]
                cells.append(_cell(values, 3 if metric.startswith("ssim") else 2))
        rows.append([title, str(len(names)) if title in methods else "-", *cells])
    return head, rows


def _cell(values: Sequence[float], digits: int) -> str:
    spread = f" ±{statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def paper_table(evaluation: Evaluation, methods: Mapping[str, Sequence[str]]) -> str:
    """Return `paper_rows` as text for the terminal."""
    head, rows = paper_rows(evaluation, methods)
    return "\n".join([caption(evaluation), "", *format_table(head, rows)])


def caption(evaluation: Evaluation) -> str:
    """Return the table's caption."""
    return f"{counted(evaluation.windows, 'window')}, moving pixels, protocol {evaluation.protocol.name}; {SPREAD}"
