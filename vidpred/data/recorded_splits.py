"""The splits of a run: which files, and which frames of them, it was trained, validated and tested on.

A run stores them in splits.csv, so that files added or removed later never turn training data into test data.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from vidpred.data.settings import DataSettings
from vidpred.data.splits import SPLITS, Part
from vidpred.errors import DataError, warn
from vidpred.files import csv_text, open_regular, write_file

FILE = "splits.csv"
HEADER = ["path", "split", "first", "end", "bytes", "fingerprint"]
HEADERS = [",".join(HEADER), ",".join(HEADER[:-1])]  # earlier runs stored no fingerprints
NAMED, MANY = 3, 1 << 62
MOST_CHARACTERS = 1 << 12  # of the first line


@dataclass(frozen=True)
class RecordedSplits:
    """The splits of a run's data.

    Attributes:
        parts: The parts of all splits.
        sizes: Size in bytes of each file; 0 if unknown.
        fingerprints: Checksum of the content of each file or clip; "" if unknown.
    """

    parts: list[Part]
    sizes: dict[str, int]
    fingerprints: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> RecordedSplits | None:
        """Return the splits in a file; None if it is a list of path,split that a user wrote.

        Raises:
            DataError: A row is invalid.
        """
        if not _is_recorded(file):
            return None
        try:
            with _opened(file) as lines:
                rows = islice(csv.reader(lines), 1, None)
                found = [
                    (Part(path, split, _count(first), _count(end)), _count(size), "".join(content))
                    for path, split, first, end, size, *content in rows
                ]
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"cannot read the splits of the run ({error}) [{file}]; restore the file") from None
        if not all(part.split in SPLITS for part, *_ in found):
            raise DataError(f"a split is none of {', '.join(SPLITS)} [{file}]; restore the file")
        sizes = {part.clip: size for part, size, _ in found}
        return cls([part for part, *_ in found], sizes, {part.clip: content for part, _, content in found})

    def write(self, file: Path) -> None:
        """Write the splits to a file. Raises StorageError."""
        rows = [
            (
                part.clip,
                part.split,
                part.first,
                part.end,
                self.sizes.get(part.clip, 0),
                self.fingerprints.get(part.clip, ""),
            )
            for part in self.parts
        ]
        write_file(file, csv_text([HEADER, *sorted(rows)]), "free space or choose another run=")

    def present(self, lengths: Mapping[str, int], fingerprints: Mapping[str, str]) -> list[Part]:
        """Return the parts of the files that are there, shortened to their lengths in frames.

        Files whose content changed are not trained on, since they may hold what is validated or tested; those that now
        have the content of training data are not validated or tested.

        Args:
            lengths: Number of frames of each file.
            fingerprints: Checksum of the content of each file.
        """
        found = [replace(part, end=min(part.end, lengths[part.clip])) for part in self.parts if part.clip in lengths]
        trained = self.trained_ranges()

        def usable(part: Part) -> bool:
            before, content = self.fingerprints.get(part.clip, ""), fingerprints.get(part.clip, "")
            if part.split == "train":
                return not self.has_changed(part.clip, content)
            return content == before or not trained.overlap(content, part)

        return [part for part in found if part.end > part.first and usable(part)]

    def has_changed(self, clip: str, content: str) -> bool:
        """Return whether a clip has another checksum than when the run began; False if either is unknown ("")."""
        before = self.fingerprints.get(clip, "")
        return "" not in (before, content) and content != before

    def trained_ranges(self) -> TrainedRanges:
        """Return the training data by its content."""
        return TrainedRanges([(self.fingerprints.get(part.clip, ""), part) for part in self.parts])

    def nothing_left(self, split: str, root: Path) -> DataError:
        """Return the error, to be raised, for a split of which no file can be used."""
        if all(part.split != split for part in self.parts):
            return DataError(f"the run has no {split} split [{root}]; choose another split, or give other data")
        return DataError(
            f"all files of the {split} split of the run are gone, or changed since it began [{root}]; restore them, or "
            "give other data"
        )

    def held_out_of(self, trained: TrainedRanges) -> set[str]:
        """Return the files of validation and test with content that was trained on."""
        held_out = (part for part in self.parts if part.split != "train")
        return {part.clip for part in held_out if trained.overlap(self.fingerprints.get(part.clip, ""), part)}

    def warn_of_duplicates(self, root: Path) -> None:
        """Warn about validation and test data with the content of training data."""
        names = self.held_out_of(self.trained_ranges())
        warn_of_files(names, f"in validation or test ({len(names):,}) and, by another name, in training", root)

    def warn_of_changes(self, sizes: Mapping[str, int], fingerprints: Mapping[str, str], root: Path) -> None:
        """Warn about files that are new, gone or changed since the run began.

        Args:
            sizes: Size in bytes of each file; 0 if unknown.
            fingerprints: Checksum of the content of each file; none of those that are not compared.
            root: The folder, for the message.
        """
        changed = [
            name
            for name, size in sizes.items()
            if 0 not in (size, self.sizes.get(name, size), size - self.sizes.get(name, size))
            or self.has_changed(name, fingerprints.get(name, ""))
        ]
        known = {part.clip for part in self.parts}
        kept = Counter(part.clip for part in self.present(dict.fromkeys(sizes, MANY), fingerprints))
        whole = {name for name, count in Counter(part.clip for part in self.parts).items() if kept[name] == count}
        for names, what in (
            (sizes.keys() - known, "new and belong to no split of the run are not used"),
            (known - sizes.keys(), "gone or unreadable since the run began"),
            (whole & set(changed), "changed since the run began keep their split"),
            (set(changed) - whole, "changed since the run began are not trained on, nor tested on its training data"),
        ):
            warn_of_files(names, what, root)


class TrainedRanges:
    """Ranges of frames that a run was trained on, by the checksum of the content they belong to."""

    def __init__(self, parts: Iterable[tuple[str, Part]]) -> None:
        """Take (checksum, part) of all splits."""
        self._ranges: dict[str, list[Part]] = {}
        for content, part in parts:
            if content and part.split == "train":
                self._ranges.setdefault(content, []).append(part)

    def overlap(self, content: str, part: Part) -> bool:
        """Return whether the run was trained on any of a part's frames, of a file with this checksum of the content."""
        return any(part.first < own.end and own.first < part.end for own in self._ranges.get(content, ()))


def warn_of_files(names: Iterable[str], what: str, root: Path) -> None:
    """Print one warning to stderr that names the first of these files, and how many more there are; none without any.

    Args:
        names: The files.
        what: What they are, to complete "files that are ...".
        root: Their folder, for the message.
    """
    if named := _named(names):
        warn(f"files that are {what} [{root}]: {named}")


def _named(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - NAMED:,} more" if len(ordered) > NAMED else ""
    return ", ".join(name.encode("utf-8", "backslashreplace").decode() for name in ordered[:NAMED]) + more


def has_recorded_splits(settings: DataSettings) -> bool:
    """Return whether the splits of the data are those that a run stores."""
    return settings.split_file is not None and _is_recorded(Path(settings.split_file))


def warn_if_unrecorded(settings: DataSettings, name: str) -> None:
    """Warn if the data of a run have to be divided anew, because it stores no splits."""
    if settings.root is not None and not has_recorded_splits(settings):
        warn(
            f"{name} stores no splits ({FILE}), so its data are divided anew, which can turn what it "
            f"was trained on into test data if files came or went [{settings.root}]"
        )


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


def _opened(file: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_regular(file), "utf-8-sig", "surrogateescape", newline="")


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number < MANY:
        raise ValueError("a number out of range")
    return number


def _is_recorded(file: Path) -> bool:
    """Return whether a file stores the splits of a run; a list of path,split that a user wrote does not."""
    try:
        with _opened(file) as lines:
            return lines.readline(MOST_CHARACTERS).rstrip("\r\n") in HEADERS
    except OSError:
        return False


def _is_list(file: Path) -> bool:
    """Return whether a file is a list of path,split that a user wrote, by its first line."""
    try:
        with _opened(file) as lines:
            fields = lines.readline(MOST_CHARACTERS).strip().split(",")
    except OSError:
        return False
    return len(fields) == len(HEADER[:2]) and fields[1] in (HEADER[1], *SPLITS)


def with_root(settings: DataSettings, root: str | None) -> DataSettings:
    """Return the settings for the data at another root.

    Args:
        settings: The data settings of a run.
        root: Path of the data; None: that of the settings. For another one, the run's recorded splits do not apply.
    """
    if root is None or (settings.root is not None and Path(root).resolve() == Path(settings.root).resolve()):
        return settings
    changes: dict[str, Any] = {"root": root}
    if has_recorded_splits(settings):
        changes["split_file"] = None
    if not settings.split_fractions[2]:  # trained without a test split, which other data needs
        changes |= {name: DataSettings.model_fields[name].default for name in ("split", "split_fractions")}
    return settings.model_copy(update=changes)
