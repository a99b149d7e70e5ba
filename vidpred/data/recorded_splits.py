"""The splits of a run: which files, and which frames of them, it was trained, validated and tested on.

A run stores them in splits.csv, so that files added or removed later never turn training data into test data.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vidpred.data.settings import DataSettings
from vidpred.data.splits import SPLITS, Part
from vidpred.errors import DataError
from vidpred.files import write_file

FILE = "splits.csv"
HEADER = ["path", "split", "first", "end", "bytes"]
NAMED = 3


@dataclass(frozen=True)
class RecordedSplits:
    """The parts of a run's data, and the size of each file in bytes (0: unknown)."""

    parts: list[Part]
    sizes: dict[str, int]

    @classmethod
    def read(cls, file: Path) -> RecordedSplits | None:
        """Return the splits in a file; None if it is a list of path,split that a user wrote.

        Raises:
            DataError: A row is invalid.
        """
        if not _is_recorded(file):
            return None
        try:
            with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
                rows = islice(csv.reader(lines), 1, None)
                found = [(Part(path, split, int(first), int(end)), int(size)) for path, split, first, end, size in rows]
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the splits of the run ({error}) [{file}]; restore the file") from None
        if not all(part.split in SPLITS for part, _ in found):
            raise DataError(f"a split is none of {', '.join(SPLITS)} [{file}]; restore the file")
        return cls([part for part, _ in found], {part.clip: size for part, size in found})

    def write(self, file: Path) -> None:
        """Write the splits to a file. Raises StorageError."""
        text = io.StringIO()
        rows = [(part.clip, part.split, part.first, part.end, self.sizes.get(part.clip, 0)) for part in self.parts]
        csv.writer(text, lineterminator="\n").writerows([HEADER, *sorted(rows)])
        write_file(file, text.getvalue(), "free space or choose another run=")

    def present(self, lengths: Mapping[str, int]) -> list[Part]:
        """Return the parts of the files that are there, shortened to their lengths in frames."""
        found = [replace(part, end=min(part.end, lengths[part.clip])) for part in self.parts if part.clip in lengths]
        return [part for part in found if part.end > part.first]

    def warn_of_changes(self, sizes: Mapping[str, int], root: Path) -> None:
        """Warn about files that are new, gone or changed since the run began."""
        changed = [name for name, size in sizes.items() if self.sizes.get(name) not in (None, 0, size)]
        for names, what in (
            (sizes.keys() - self.sizes.keys(), "new and belong to no split of the run are not used"),
            (self.sizes.keys() - sizes.keys(), "gone or unreadable since the run began"),
            (changed, "changed since the run began keep their split"),
        ):
            if names:
                print(f"vidpred: warning: files that are {what} [{root}]: {_named(names)}", file=sys.stderr)


def _named(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - NAMED:,} more" if len(ordered) > NAMED else ""
    return ", ".join(name.encode("utf-8", "backslashreplace").decode() for name in ordered[:NAMED]) + more


def with_recorded_splits(settings: DataSettings, run: Path) -> DataSettings:
    """Return the data settings of a run with the splits that its folder stores, if it stores any.

    Raises:
        DataError: The file is damaged: new splits could turn test data into training data.
    """
    file = run / FILE
    if not _is_recorded(file):
        if file.exists() and not _is_list(file):
            raise DataError(f"cannot read the splits of the run [{file}]; restore the file, or choose another run=")
        return settings
    return settings.model_copy(update={"split_file": str(file)})


def _is_recorded(file: Path) -> bool:
    """Return whether a file stores the splits of a run; a list of path,split that a user wrote does not."""
    try:
        if not file.is_file():  # also a pipe, whose reading would never end
            return False
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
            return lines.readline().rstrip("\n") == ",".join(HEADER)
    except OSError:
        return False


def _is_list(file: Path) -> bool:
    """Return whether a file is a list of path,split that a user wrote, by its first line."""
    if not file.is_file():
        return False
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        fields = lines.readline().strip().split(",")
    return len(fields) == len(HEADER[:2]) and fields[1] in (HEADER[1], *SPLITS)


def with_root(settings: DataSettings, root: str | None) -> DataSettings:
    """Return the settings for the data in another place (None: the same); the splits of a run are not those of it."""
    if root is None or (settings.root is not None and Path(root).resolve() == Path(settings.root).resolve()):
        return settings
    changes: dict[str, Any] = {"root": root}
    if settings.split_file is not None and _is_recorded(Path(settings.split_file)):
        changes["split_file"] = None
    if not settings.split_fractions[2]:  # trained without a test split, which other data needs
        changes |= {name: DataSettings.model_fields[name].default for name in ("split", "split_fractions")}
    return settings.model_copy(update=changes)
