"""Dividing clips into train, validation and test: by a listing, by folder, by clip, or by time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Literal

from vidpred.errors import DataError

SPLITS = ("train", "validation", "test")
FILES_FOR_FILE_SPLIT = 5  # with fewer clips, `auto` divides each clip by time
FOLDERS = {"train": "train", "training": "train", "validation": "validation", "val": "validation",
           "valid": "validation", "test": "test", "testing": "test"}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """The frames first <= number < end of a clip, which belong to one split."""

    clip: str
    split: str
    first: int
    end: int


def divide(
    lengths: Mapping[str, int],
    how: Literal["auto", "file", "time"] = "auto",
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    gap: int | None = 0,
) -> list[Part]:
    """Divide clips into splits.

    Args:
        lengths: Name and number of frames of each clip.
        how: By whole clip ("file"), by time within each clip ("time"), or by clip if there are at least 5 ("auto").
        fractions: Shares of training, validation and test.
        gap: Frames skipped between the parts of a clip; None skips a twentieth of the clip, at most 20.

    Raises:
        DataError: There are too few clips to divide by clip.
    """
    if how == "time" or (how == "auto" and len(lengths) < FILES_FOR_FILE_SPLIT):
        parts = [part for name, frames in lengths.items() for part in _by_time(name, frames, fractions, gap)]
        return [part for part in parts if part.end > part.first]
    if len(lengths) < len(SPLITS):
        raise DataError(f"{len(lengths)} clips cannot be divided by clip [split=file]; use split=time")
    return whole_clips(lengths, split_by_hash(lengths, fractions))


def split_by_hash(names: Iterable[str], fractions: Sequence[float]) -> dict[str, str]:
    """Return name -> split, by a hash of the name: adding clips moves few of the others to another split.

    `fractions` are the shares of train, validation and test.
    """
    ordered = _in_order_of_hashes(tuple(names))
    test = max(1, round(fractions[2] * len(ordered))) if fractions[2] else 0
    validation = max(1, round(fractions[1] * len(ordered))) if fractions[1] else 0
    splits = ["test"] * test + ["validation"] * validation
    return {name: splits[place] if place < len(splits) else "train" for place, name in enumerate(ordered)}


@lru_cache(1)  # a start asks for several splits
def _in_order_of_hashes(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: sha256(name.encode("utf-8", "surrogateescape")).digest()))


by_hash = split_by_hash  # the earlier name, which data sets of other packages import


def split_by_folder(names: Sequence[str], fractions: Sequence[float]) -> dict[str, str] | None:
    """Return the split of each name by its first folder ("train/a/b.mp4"), or None if a name has no such folder.

    Without a validation folder, some of the training clips (by hash) become validation clips.
    """
    folders = {folder: FOLDERS.get(folder.lower(), "") for folder in {name.partition("/")[0] for name in names}}
    if "" in folders.values() or "train" not in folders.values():
        return None
    found = {name: folders[name.partition("/")[0]] for name in names if "/" in name}
    if len(found) < len(names):
        return None
    return with_validation(found, fractions)


def with_validation(splits: dict[str, str], fractions: Sequence[float]) -> dict[str, str]:
    """Return splits in which, if there were none, some of the training clips (by hash) are validation clips."""
    train = [name for name, split in splits.items() if split == "train"]
    if "validation" in splits.values() or not fractions[1] or len(train) < 2:
        return splits
    share = fractions[1] / (fractions[0] + fractions[1])
    return splits | split_by_hash(train, (1 - share, share, 0))


def whole_clips(lengths: Mapping[str, int], splits: Mapping[str, str]) -> list[Part]:
    """Return whole clips as parts, from their lengths in frames and their splits; clips without a split are skipped."""
    return [Part(name, splits[name], 0, frames) for name, frames in lengths.items() if name in splits]


def _by_time(name: str, frames: int, fractions: Sequence[float], gap: int | None) -> list[Part]:
    """Divide a clip by time: train, then validation, then test."""
    gap = min(20, frames // 20) if gap is None else gap
    first = round(fractions[0] * frames)
    second = round((fractions[0] + fractions[1]) * frames)
    return [
        Part(name, "train", 0, first - gap if first < frames else first),
        Part(name, "validation", first, second),
        Part(name, "test", second + gap if second > first else second, frames),
    ]
