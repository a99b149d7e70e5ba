"""What all sets share. A set's fields are its options on the command line, with their descriptions as help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import read_through
from vidpred.data.splits import Part, by_folder, by_listing, divide, whole
from vidpred.errors import DataError
from vidpred.settings import Settings


def _from_words(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value


Fractions = Annotated[tuple[float, float, float], BeforeValidator(_from_words)]


class DataSet(Settings):
    """A set of clips. Implements vidpred.data.prepared.frame_writer.Preparation.

    about: its line in the list of sets. expects: what `source` is expected to hold. default_size: the short side of its
    prepared frames in pixels where the user says none (None: as the source has it). keeps_videos: the source are
    videos, which stay as they are unless --cache is given.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    expects: ClassVar[str]
    default_size: ClassVar[int | None] = None
    keeps_videos: ClassVar[bool] = False

    source: Path = Field(description="where the set is")
    channels: Literal[1, 3] = Field(3, description="of the prepared frames: 3 for colour, 1 for gray")

    def items(self) -> list[Item]:
        raise NotImplementedError

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        raise NotImplementedError

    def candidates(self) -> list[Item]:
        return self.items()

    def look(self, item: Item) -> dict[str, Any]:
        return read_through(self, item)

    def described(self) -> dict[str, Any]:
        """The options that shape the result. Paths are not among them: what they hold is part of the items."""
        values = self.model_dump(mode="json")
        return {key: value for key, value in values.items() if not isinstance(getattr(self, key), Path | None)}

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
    fractions: Fractions = Field((0.7, 0.1, 0.2), description="of train, validation and test, as in 0.7,0.1,0.2")
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
