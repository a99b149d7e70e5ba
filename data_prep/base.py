"""What all sets share. The fields of a set are its settings on the command line (KEY=VALUE)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import read_through
from vidpred.data.splits import Part, by_folder, by_listing, divide, whole
from vidpred.errors import DataError
from vidpred.settings import Settings

Fractions = tuple[float, float, float]


class DataSet(Settings):
    """A set of clips, a `Preparation` of vidpred.data.prepared.frame_writer.

    Attributes:
        about: Its line in the list of sets.
        expects: What `source` is expected to hold.
        keeps_videos: Whether the source is videos, which stay as they are unless --cache is given.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    expects: ClassVar[str]
    keeps_videos: ClassVar[bool] = False

    source: Path = Field(description="where the set is")
    size: int | None = Field(None, ge=1, description="short side of the written frames in pixels; null: as the source")
    channels: Literal[1, 3] = Field(3, description="of the prepared frames: 3 for colour, 1 for gray")

    def items(self) -> list[Item]:
        raise NotImplementedError

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        raise NotImplementedError

    def candidates(self) -> list[Item]:
        return self.items()

    def look(self, item: Item) -> dict[str, Any]:
        return read_through(self, item)

    def fingerprint_settings(self) -> dict[str, Any]:
        """Return the settings that shape the result, except paths, whose content is part of the items, and the size."""
        values = self.model_dump(mode="json")
        paths = {key for key in values if isinstance(getattr(self, key), Path | None)}
        return {key: value for key, value in values.items() if key not in paths | {"size"}}

    def classes(self) -> list[str]:
        """The names of the classes, where clips have labels."""
        return []

    def unpacked(self, target: Path | None) -> Self:
        """The set after its archive was extracted into target; itself where there is no archive."""
        return self

    def absent(self, what: str = "") -> DataError:
        """The error for a source without what is expected of it."""
        found = what or ("nothing of this set is in it" if self.source.exists() else "no such file or folder")
        return DataError(f"{found} [{self.source}]; {self.name} expects {self.expects}")


class DividedSet(DataSet):
    """A set without official splits."""

    splits: Path | None = Field(
        None, description="CSV of path,train|validation|test (default: splits.csv in the source)"
    )
    split: Literal["auto", "file", "time"] = Field(
        "auto",
        description="without such a list: by folders named train, validation, test; else by whole clip, "
        "or, with fewer than 5, by time within each",
    )
    fractions: Fractions = Field((0.7, 0.1, 0.2), description="of train, validation and test, as in [0.7,0.1,0.2]")
    gap: int | None = Field(
        None,
        ge=0,
        description="frames left out between the parts of a clip divided by time "
        "(default: a twentieth of it, 20 at most)",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6 or self.fractions[0] == 0:
            raise ValueError(f"fractions: three parts that add up to 1, got {self.fractions}")
        return self

    def parts(self, lengths: Mapping[str, int]) -> list[Part]:
        """Which frames of which clip (name -> frames) belong to which split. Raises DataError."""
        listing = self.splits or self.source / "splits.csv"
        if self.splits or listing.is_file():
            return whole(lengths, by_listing(listing, lengths))
        folders = by_folder(list(lengths), self.fractions) if self.split == "auto" else None
        return whole(lengths, folders) if folders else divide(lengths, self.split, self.fractions, self.gap)


def parts_by_clip(parts: list[Part]) -> dict[str, list[Part]]:
    """The parts of each clip in the order of their frames."""
    found: dict[str, list[Part]] = {}
    for part in sorted(parts, key=lambda part: (part.clip, part.first)):
        found.setdefault(part.clip, []).append(part)
    return found


def clip_name(part: Part, parts: list[Part]) -> str:
    """A clip is named after its source; one divided by time after its part as well."""
    return part.clip if len(parts) == 1 else f"{part.clip} [{part.split}]"
