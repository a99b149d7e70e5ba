"""The settings and the log of a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from vidpred.checkpoint.records import CheckpointManifest
from vidpred.checkpoint.run_folder import RunFolder
from vidpred.checkpoint.verified import CONFIG, MANIFEST, find_damage
from vidpred.errors import StorageError, warn
from vidpred.files import parse_json, read_bytes
from vidpred.settings import flatten, migrate, parse_yaml

MOST_CONFIG_BYTES = 1 << 20
MOST_STEPS, MOST_VALUE = 1 << 62, 1e300  # of the log, whose other entries are ignored
Parsed = TypeVar("Parsed")


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Return the complete lines of a run's metrics.jsonl; none if there is no such file."""
    lines: list[dict[str, float]] = []
    try:
        content = read_bytes(run / "metrics.jsonl").decode(errors="replace")
    except OSError:
        return lines
    for text in content.splitlines():
        try:
            line = parse_json(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            numbers = {key: value for key, value in line.items() if _is_number(value)}
            if 0 <= numbers.get("step", -1) < MOST_STEPS:
                lines.append(numbers)
    return lines


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST_VALUE


def read_config(folder: Path, parse: Callable[[dict[str, Any]], Parsed], remedy: str = "is it a run folder?") -> Parsed:
    """Read and parse the settings of a run or checkpoint folder.

    Args:
        folder: The folder.
        parse: Function of the settings, a mapping of sections under their current names.
        remedy: End of the error message.

    Returns:
        The result of `parse`.

    Raises:
        StorageError: There are no settings, or `parse` raised ValueError, KeyError or TypeError. A run folder's own
            are replaced by the copy in its newest intact checkpoint then.
    """
    try:
        return _parse_config(folder / CONFIG, parse)
    except UNUSABLE_CONFIG:
        run = RunFolder(folder)
        for step in reversed(run.steps()):
            with suppress(*UNUSABLE_CONFIG):
                found = _parse_config(run.folder(step) / CONFIG, parse)
                if find_damage(run.folder(step)) is None:
                    warn(f"cannot read the run's settings [{folder / CONFIG}]; using the copy of step-{step}")
                    return found
        raise StorageError(f"cannot read the run's settings [{folder / CONFIG}]; {remedy}") from None


UNUSABLE_CONFIG = (OSError, ValueError, KeyError, TypeError, AttributeError)


def _parse_config(file: Path, parse: Callable[[dict[str, Any]], Parsed]) -> Parsed:
    tree = parse_yaml(read_bytes(file, MOST_CONFIG_BYTES).decode("utf-8"))
    with suppress(OSError, ValueError):  # no checkpoint, or a damaged one
        if file.name not in CheckpointManifest.read(file.with_name(MANIFEST)).files:
            _warn_of_unlisted(file)
    return parse(migrate(tree, str(file)))


@cache
def _warn_of_unlisted(file: Path) -> None:
    warn(f"settings that the checkpoint's manifest does not list, and verify [{file}]")


def read_settings(run: Path) -> dict[str, object]:
    """Return the settings of a run or checkpoint folder by dotted key. Raises StorageError."""
    return read_config(run, lambda tree: dict(flatten(tree)))
