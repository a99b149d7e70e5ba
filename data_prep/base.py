"""Base classes of data sets. The fields of a set are its settings on the command line (KEY=VALUE)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from vidpred.bounds import MOST_SIDE
from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import UNLISTED, read_through
from vidpred.data.resize import resize_frame, with_channels
from vidpred.data.split_lists import by_listing
from vidpred.data.splits import Part, divide, split_by_folder, whole_clips
from vidpred.errors import DataError
from vidpred.settings import Settings

Fractions = tuple[float, float, float]
MOST_CAMERAS = 4


class DataSet(Settings):
    """A set of clips, which implements `vidpred.data.prepared.frame_writer.Preparation`.

    Attributes:
        name: Name on the command line.
        about: Description in the list of sets.
        expects: Expected contents of `source`.
        keeps_videos: Whether the source consists of videos, which are used directly unless --cache is given.
        of_images: Whether the set consists of separate images, not of clips.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    expects: ClassVar[str]
    keeps_videos: ClassVar[bool] = False
    of_images: ClassVar[bool] = False

    source: Path = Field(description="Folder or file of the set.")
    size: int | None = Field(
        None,
        ge=1,
        le=MOST_SIDE,
        description="Short side of the prepared frames in pixels. null: the size of the source.",
    )
    max_bad_fraction: float = Field(0.2, ge=0, le=1, description="Largest fraction of bad clips or images to skip.")
    channels: Literal[1, 3] = Field(3, description="Channels of the prepared frames: 3 for color, 1 for gray.")

    def items(self) -> list[Item]:
        raise NotImplementedError

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        raise NotImplementedError

    def candidates(self) -> list[Item]:
        return self.items()

    def look(self, item: Item) -> dict[str, Any]:
        return read_through(self, item)

    def fingerprint_settings(self) -> dict[str, Any]:
        """Return the settings that affect the result, except the size and paths, whose contents are in the items."""
        values = self.model_dump(mode="json")
        paths = {key for key in values if isinstance(getattr(self, key), Path | None)}
        return {key: value for key, value in values.items() if key not in paths | {"size", "max_bad_fraction"}}

    def classes(self) -> list[str]:
        """Return the names of the classes; empty without labels."""
        return []

    def action_names(self) -> list[str]:
        """Return the names of the action's components; empty if they have none."""
        return []

    @property
    def num_cameras(self) -> int:
        """Number of cameras, whose frames are stacked along the channels."""
        return 1

    def unpacked(self, target: Path | None) -> Self:
        """Extract the set's archive into `target` and return the extracted set; without an archive, return self."""
        return self

    def absent(self, what: str = "") -> DataError:
        """Return the error for a source that lacks the expected files."""
        found = what or ("no files of this set" if self.source.exists() else "no such file or folder")
        return DataError(f"{found} [{self.source}]; {self.name} expects {self.expects}")


class ImageSet(DataSet):
    """A set whose source consists of image files."""

    white_level: float | None = Field(
        None,
        gt=0,
        description="Sample value of image files with more than 8 bits that is read as white, such as 4095. null: what "
        "the file states, else 65535 for unsigned 16-bit integers and 1 for floats; others are refused.",
    )


class DividedSet(DataSet):
    """A set without official splits."""

    splits: Path | None = Field(
        None, description="CSV file of path,train|validation|test. null: splits.csv in the source, if there is one."
    )
    split: Literal["auto", "file", "time"] = Field(
        "auto",
        description="Division without a splits file: by clip (file), by time within each clip (time), or auto (by "
        "folders named train, validation, test if there are any, else by clip if there are at least 5, else by time).",
    )
    fractions: Fractions = Field(
        (0.7, 0.1, 0.2), description="Shares of train, validation and test, such as [0.7,0.1,0.2]."
    )
    gap: int | None = Field(
        None,
        ge=0,
        description="Frames skipped between the parts of a clip divided by time. null: a twentieth of the clip, at "
        "most 20.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6 or self.fractions[0] == 0:
            raise ValueError(
                f"fractions: three shares must add up to 1, that of training above 0; got {self.fractions}"
            )
        return self

    def unusable(self) -> Iterable[str]:
        """Return the names of the files that are there; a list may name them, even if they cannot be read."""
        return os.listdir(self.source) if self.source.is_dir() else ()

    def parts(self, lengths: Mapping[str, int]) -> list[Part]:
        """Divide clips, given the number of frames of each, into the parts of each split.

        Raises:
            DataError: The list of splits is invalid, or the clips cannot be divided.
        """
        listing = self.splits or self.source / "splits.csv"
        if self.splits or listing.is_file():
            return whole_clips(lengths, by_listing(listing, lengths, self.unusable))
        folders = split_by_folder(list(lengths), self.fractions) if self.split == "auto" else None
        return whole_clips(lengths, folders) if folders else divide(lengths, self.split, self.fractions, self.gap)


class CameraSet(DividedSet):
    """A set of episodes that several cameras may have filmed."""

    camera: str | tuple[str, ...] | None = Field(
        None,
        description="Name of the frames in an episode, such as obs/agentview_image or observation.images.top; several "
        "(camera=A camera=B) are stacked along the channels, for runs with data.channels=6. null: the only ones.",
    )

    @model_validator(mode="after")
    def _colored(self) -> Self:
        if not 1 <= self.num_cameras <= MOST_CAMERAS or len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"camera: give one to {MOST_CAMERAS} different ones, not {', '.join(self.cameras)}")
        if self.num_cameras > 1 and self.channels != 3:
            raise ValueError("channels: several cameras are stacked in color; leave channels out")
        return self

    @property
    def cameras(self) -> tuple[str, ...]:
        """The chosen cameras; empty for the only one."""
        return () if self.camera is None else (self.camera,) if isinstance(self.camera, str) else self.camera

    @property
    def num_cameras(self) -> int:
        return len(self.cameras) if self.camera is not None else 1


def stacked(views: Sequence[Iterable[np.ndarray]]) -> Iterable[np.ndarray]:
    """Return frames `(H, W, C)` of several cameras stacked along the channels, at the size of the first camera's."""
    if len(views) == 1:
        return views[0]
    return (_stack(frames) for frames in zip(*views, strict=True))


def _stack(frames: tuple[np.ndarray, ...]) -> np.ndarray:
    colored = [with_channels(frame, 3) for frame in frames]
    return np.concatenate([resize_frame(frame, (colored[0].shape[0], colored[0].shape[1])) for frame in colored], 2)


def unlisted(clips: Iterable[str], parts: Mapping[str, Any]) -> list[Item]:
    """Return an item with the reason for each clip that no list of splits names."""
    return [Item(name, (), bad=UNLISTED) for name in clips if name not in parts]


def bad_frames(error: DataError) -> Iterator[np.ndarray]:
    """Return frames whose reading raises the error, so that a bad clip costs only itself."""
    raise error
    yield


def unique_stems(names: Iterable[str]) -> dict[str, str]:
    """Return each file's name without its suffix; with it, where another file has the same name without."""
    stems = {name: Path(name).with_suffix("").as_posix() for name in names}
    counts = Counter(stems.values())
    return {name: stem if counts[stem] == 1 else name for name, stem in stems.items()}


def parts_by_clip(parts: list[Part]) -> dict[str, list[Part]]:
    """Return the parts of each clip, sorted by their first frame."""
    found: dict[str, list[Part]] = {}
    for part in sorted(parts, key=lambda part: (part.clip, part.first)):
        found.setdefault(part.clip, []).append(part)
    return found


def clip_name(part: Part, parts: list[Part]) -> str:
    """Return the name of a part: the name of its clip and, if the clip has several parts, the split."""
    return part.clip if len(parts) == 1 else f"{part.clip} [{part.split}]"
