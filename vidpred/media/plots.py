"""Plots of logged numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidpred.errors import printable
from vidpred.files import atomic_write


def plot_text(name: str) -> str:
    """Return a name of any file as text that matplotlib draws as it is."""
    return printable(name).replace("$", r"\$")


def curve_keys(logged: dict[str, list[dict[str, float]]]) -> list[str]:
    """Return the keys of losses and validation numbers in logged lines, without those of monitors."""
    keys = {key for lines in logged.values() for line in lines for key in line if "/" in key}
    return sorted(key for key in keys if not key.startswith("monitor/"))


def draw_curves(path: Path, logged: dict[str, list[dict[str, float]]], keys: Sequence[str]) -> None:
    """Plot logged numbers against the step: one panel per key, one line per run, in the same color in every panel."""
    from matplotlib.figure import Figure

    columns = min(3, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(4 * columns, 2.7 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    shown: dict[str, Any] = {}  # the legend has one line per run
    for axis, key in zip(axes.flat, keys, strict=False):
        for number, (name, lines) in enumerate(logged.items()):
            points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
            if points:
                marker = "." if len(points) < 30 else ""
                (curve,) = axis.plot(*zip(*points, strict=True), color=f"C{number}", linewidth=1, marker=marker)
                shown.setdefault(name, curve)
        axis.set_title(plot_text(key))
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(keys) :]:
        axis.axis("off")
    if len(logged) > 1:
        ordered = {name: shown[name] for name in logged if name in shown}
        figure.legend(ordered.values(), map(plot_text, ordered), loc="outside upper center", ncols=4)
    save_figure(figure, path)


def save_figure(figure: Any, path: Path, dpi: int = 110) -> None:
    """Write a figure atomically, over an existing file. Raises StorageError."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=dpi)
