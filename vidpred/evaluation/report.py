"""Report an evaluation as a table on the terminal, as JSON and as a plot."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidpred.errors import counted
from vidpred.evaluation.metric_table import METRICS, Protocol
from vidpred.evaluation.network_metrics import NetworkMetrics
from vidpred.evaluation.protocols import AVERAGING, REFERENCE, Evaluation, RunningMean
from vidpred.evaluation.samples import SPREAD, definitions, row_name
from vidpred.files import write_file
from vidpred.media.plots import plot_text, save_figure
from vidpred.media.text_table import format_table
from vidpred.models.baselines import BASELINES

PLOT_SUFFIXES = (".png", ".pdf", ".svg")


def to_json(evaluation: Evaluation, about: dict[str, Any]) -> dict[str, Any]:
    """Return means, standard errors and n as plain values, by model, metric and frame ahead, overall and by clip.

    `about` describes what was measured; its entries are included.
    """
    return {
        **about,
        "windows": evaluation.windows,
        "steps": evaluation.num_frames,
        "protocol": evaluation.protocol.name,
        "definitions": {
            **{name: METRICS[name].definition for name in evaluation.protocol.metrics},
            "averaging": AVERAGING,
            **(definitions(evaluation.num_samples) if evaluation.num_samples else {}),
        },
        **_samples_json(evaluation),
        "models": {
            name: {
                "overall": _tables(scores.overall),
                "by_clip": {clip: _tables(table) for clip, table in scores.by_clip.items()},
                "gain_over_copy_last": _tables(scores.gain),
                "gain_over_copy_last_by_clip": {clip: _tables(table) for clip, table in scores.gain_by_clip.items()},
            }
            for name, scores in evaluation.scores.items()
        },
    }


def _samples_json(evaluation: Evaluation) -> dict[str, Any]:
    if evaluation.num_samples is None:
        return {}
    return {
        "samples": evaluation.num_samples,
        "seed": evaluation.seed,
        f"{SPREAD} of {evaluation.num_samples}": _tables(evaluation.spread),
    }


def _tables(table: dict[str, list[RunningMean]]) -> dict[str, dict[str, list[float | int | None]]]:
    return {
        metric: {
            "mean": [to_number(total.mean) for total in totals],
            "standard_error": [to_number(total.error) for total in totals],
            "n": [total.count for total in totals],
        }
        for metric, totals in table.items()
    }


def to_number(value: float) -> float | None:
    """Round a value to the digits of reports; None for NaN and infinity, which JSON does not have."""
    return round(value, 5) if math.isfinite(value) else None


def text(evaluation: Evaluation, learned: NetworkMetrics | None, about: dict[str, Any] | None = None) -> str:
    """Return all tables for the terminal, and which models predict better than copying.

    Args:
        evaluation: The numbers.
        learned: Numbers of the user's networks, if any.
        about: The data and the split; None: not shown.
    """
    parts = [f"{about['split']} split of {about['data']}, {about['frames']}"] if about else []
    parts += [table(evaluation), clip_table(evaluation), *([learned.table()] if learned else [])]
    return "\n\n".join([*parts, *(["\n".join(verdicts(evaluation))] if REFERENCE in evaluation.scores else [])])


def verdicts(evaluation: Evaluation) -> list[str]:
    """Return a sentence for each model except the baselines: whether it predicts better than copying.

    The first and the last predicted frame count, by `Protocol.compared`. A mean gain within two standard errors of 0 is
    no clear difference.
    """
    metric = evaluation.protocol.compared
    sentences = []
    for name, scores in evaluation.scores.items():
        if name in BASELINES:
            continue
        ends = {step: scores.gain[metric][step - 1] for step in (1, evaluation.num_frames)}
        found = {step: _compared(gain) for step, gain in ends.items() if gain.count}
        shown = [f"{_cell(ends[step], signed=True)} at frame t+{step} ({word})" for step, word in found.items()]
        if shown:
            unit = f"gain in {METRICS[metric].title} over {REFERENCE}"
            sentences.append(f"{name}: {unit} {', '.join(shown)}")
    return sentences


def _compared(gain: RunningMean) -> str:
    doubt = 0.0 if math.isnan(gain.error) else 2 * gain.error
    return "better" if gain.mean > doubt else "worse" if gain.mean < -doubt else "no clear difference"


def write(
    evaluation: Evaluation, about: dict[str, Any], learned: NetworkMetrics | None, json: Path | None, plot: Path | None
) -> None:
    """Write the numbers as JSON and the plot, each to its file if one is given (None: not). Raises StorageError."""
    if json:
        write_json(json, {**to_json(evaluation, about), **(learned.to_json() if learned else {})})
    if plot:
        write_plot(plot, evaluation)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically, over an existing one; make its folder. Raises StorageError."""
    write_file(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def table(evaluation: Evaluation, frames_ahead: Sequence[int] | None = None) -> str:
    """Return the table for the terminal: a block for each of the frames ahead.

    Args:
        evaluation: The evaluation.
        frames_ahead: Numbers of the frames, from 1; None: 1, 2, 4, ... and the last.
    """
    shown = frames_ahead or doubling_steps(evaluation.num_frames)
    titles = [METRICS[name].title for name in evaluation.protocol.metrics]
    if evaluation.num_samples:
        titles.append(f"{SPREAD} of {evaluation.num_samples}")
    lines = [
        f"{counted(evaluation.windows, 'window')}, protocol {evaluation.protocol.name}, float32; "
        f"{describe_directions(evaluation.protocol)}; {AVERAGING}"
    ]
    if evaluation.num_samples:
        lines += [f"{name}: {text}" for name, text in definitions(evaluation.num_samples).items()]
    for frame_ahead in shown:
        lines += ["", *format_table([f"frame t+{frame_ahead}", *titles], table_rows(evaluation, frame_ahead), 16)]
    return "\n".join(lines)


def table_rows(evaluation: Evaluation, frame_ahead: int) -> list[list[str]]:
    """Return the rows of a table at one frame ahead: one per model, then the LAST row, "n", of measured frames.

    Where models differ in n, as where a prediction is NaN, it is a range: their means are of different frames.
    Every row has a name and a cell for each metric. If several samples were drawn, a model that takes noise has three
    rows (the mean over samples, the best sample, the worst one), and a last cell, the spread of the samples.

    Args:
        evaluation: The evaluation.
        frame_ahead: Which predicted frame, from 1: frame t+1, t+2, ...
    """
    names = evaluation.protocol.metrics
    lines = [
        [name, *(_cell(scores.overall[metric][frame_ahead - 1]) for metric in names)]
        for name, scores in evaluation.scores.items()
    ]
    models = evaluation.scores.values()
    counts = [{scores.overall[metric][frame_ahead - 1].count for scores in models} for metric in names]
    lines.append(["n", *(str(max(of)) if len(of) == 1 else f"{min(of)} to {max(of)}" for of in counts)])
    if evaluation.num_samples:
        apart = {
            row_name(name, "mean", evaluation.num_samples): total[frame_ahead - 1]
            for name, total in evaluation.spread.items()
        }
        for line in lines:
            line.append(_cell(apart.get(line[0], RunningMean())))
        lines[-1][-1] = str(max((total.count for total in apart.values()), default=0))
    return lines


def clip_table(evaluation: Evaluation, frame_ahead: int = 1, metric: str | None = None) -> str:
    """Return the table of one metric at one frame ahead: a row for every clip, a column for every model.

    The gains over copy-last on the same frames follow. For the arguments see `clip_rows`.
    """
    metric = metric or evaluation.protocol.shown
    names = list(evaluation.scores)
    clips, gains = clip_rows(evaluation, frame_ahead, metric)
    head, *lines = format_table(["clip", *names], [*clips, *gains], 14)
    values, differences = lines[: len(clips)], lines[len(clips) :]
    lines = [f"{METRICS[metric].title}, frame t+{frame_ahead}", head, *values]
    if REFERENCE in names:
        lines += [
            "",
            f"gain in {METRICS[metric].title} over {REFERENCE} on the same frames, frame t+{frame_ahead}",
            *differences,
        ]
    return "\n".join(lines)


def clip_rows(
    evaluation: Evaluation, frame_ahead: int = 1, metric: str | None = None
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the values by clip, and the gains over copy-last on the same frames, as table cells.

    Args:
        evaluation: The evaluation.
        frame_ahead: Which predicted frame, from 1.
        metric: Its name; None: the protocol's first choice.

    Returns:
        Two lists of rows, one row per clip in alphabetical order: the clip's name, then a cell for every model.
    """
    metric = metric or evaluation.protocol.shown
    models = evaluation.scores.values()
    clips = sorted(next(iter(models)).by_clip)
    values = [[clip, *(_cell(scores.by_clip[clip][metric][frame_ahead - 1]) for scores in models)] for clip in clips]
    gains = [
        [clip, *(_cell(scores.gain_by_clip[clip][metric][frame_ahead - 1], signed=True) for scores in models)]
        for clip in clips
    ]
    return values, gains


def describe_directions(protocol: Protocol) -> str:
    """Return a clause for a report: for which metrics of a protocol higher values are better, and for which lower."""
    metrics = [METRICS[name] for name in protocol.metrics]
    lower = [metric.title for metric in metrics if metric.lower_is_better]
    exact = [f"{metric.title} ({metric.best:g})" for metric in metrics if metric.best is not None]
    if not lower and not exact:
        return "higher is better everywhere"
    words = "higher is better" + (f", except {' and '.join(lower)}" if lower else "")
    verb = "are" if len(exact) > 1 else "is"
    return words + (f"; {' and '.join(exact)} {verb} best at the true frames' value" if exact else "")


def doubling_steps(num_frames: int) -> list[int]:
    """Return the frames ahead to show: 1, 2, 4, ... and the last, as in `doubling_steps(10) == [1, 2, 4, 8, 10]`."""
    return sorted({*(2**power for power in range(num_frames.bit_length()) if 2**power <= num_frames), num_frames})


def _panel_title(metric: str, evaluation: Evaluation) -> str:
    if metric == SPREAD:
        return f"{SPREAD} of {evaluation.num_samples} (standard deviation of a pixel)"
    entry = METRICS[metric]
    best = "" if entry.best is None else f" (best: {entry.best:g})"
    return entry.title + (" (lower is better)" if entry.lower_is_better else best)


def _cell(total: RunningMean, signed: bool = False) -> str:
    if not total.count:
        return "-"
    digits = 4 if abs(total.mean) <= 1 and not signed else 2
    error = "" if math.isnan(total.error) else f" ±{total.error:.{digits}f}"
    return f"{total.mean:{'+' if signed else ''}.{digits}f}{error}"


def write_plot(path: Path, evaluation: Evaluation) -> None:
    """Plot every metric against the frames ahead: a panel per metric, a line per model, standard errors as bands.

    The .png, .pdf or .svg file is written atomically; its folder is made. Raises StorageError.
    """
    from matplotlib.figure import Figure

    names = evaluation.protocol.metrics
    panels = [*names, *([SPREAD] if evaluation.num_samples else [])]
    columns = math.ceil(len(panels) / 2)
    figure = Figure(figsize=(4 * columns, 6.4), layout="constrained")
    axes = figure.subplots(2, columns, sharex=True, squeeze=False)
    num_frames = list(range(1, evaluation.num_frames + 1))
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, metric in zip(axes.flat, panels, strict=False):
        lines = {name: scores.overall[metric] for name, scores in evaluation.scores.items() if metric != SPREAD}
        for name, totals in (lines or evaluation.spread).items():
            means = [total.mean for total in totals]
            errors = [0.0 if math.isnan(total.error) else total.error for total in totals]
            (line,) = axis.plot(num_frames, means, marker="o", markersize=3, label=plot_text(name))
            low, high = ([m + sign * e for m, e in zip(means, errors, strict=True)] for sign in (-1, 1))
            axis.fill_between(num_frames, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        axis.set_title(_panel_title(metric, evaluation))
        if metric == SPREAD:
            axis.legend()
        axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set_xlabel("frames ahead")
        axis.xaxis.get_major_locator().set_params(integer=True)
    handles, names_shown = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names_shown, loc="outside upper center", ncols=columns)
    save_figure(figure, path)
