"""The interface of preparation scripts, and the writer of an item's frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from vidpred.data.prepared.format import ClipEntry
from vidpred.data.resize import resize_frame, with_channels
from vidpred.data.splits import SPLITS
from vidpred.data.videos.probe import THUMBNAIL, find_cuts
from vidpred.data.videos.reader import scaled_size
from vidpred.errors import DataError, VidpredError


@dataclass(frozen=True)
class Item:
    """A unit of work that one process reads at once: a video, a folder of images, a file with many episodes.

    Attributes:
        name: Unique name in the set; clips are named after it.
        files: Source files; the item is prepared again if one of them changes.
        split: "train", "validation" or "test"; empty if each clip defines its own.
        detail: JSON values that the script needs to read the item.
        bad: Why the item cannot be read, if already known.
    """

    name: str
    files: tuple[str, ...]
    split: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    bad: str = ""


@dataclass(frozen=True)
class Clip:
    """A clip as read by a preparation script.

    Attributes:
        name: Unique name in the set.
        split: "train", "validation" or "test"; empty to use the item's.
        frames: Frames `(H, W, C)` uint8 of equal size; an iterator keeps memory constant.
        rate: Frames per second.
        actions: `(n, A)`; row t leads from frame t to frame t+1 (if the source has only n-1 rows, add a row of zeros).
        states: `(n, S)`; row t is the state at frame t.
        cuts: Indices of the frames that begin a new shot; empty for one shot, None to detect cuts.
        label: Index of the class; -1 without classes.
        separate: Whether bad frames are skipped one by one, so that losses are counted in frames, not in clips.
        skipped: (name, reason) of the images that `frames` skipped; filled while it is read.
    """

    name: str
    split: str
    frames: Iterable[np.ndarray]
    rate: float
    actions: np.ndarray | None = None
    states: np.ndarray | None = None
    cuts: Sequence[int] | None = None
    label: int = -1
    separate: bool = False
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class WrittenItem:
    """What was written of an item.

    Attributes:
        entries: The clips.
        skipped: (name, reason) of bad clips or images.
        parts: Number of clips, or of frames where these are skipped one by one, written.
    """

    entries: list[ClipEntry]
    skipped: list[tuple[str, str]]
    parts: int


class Preparation(Protocol):
    """The interface of preparation scripts. Objects are sent to other processes and must contain plain values only."""

    @property
    def name(self) -> str:
        """Name of the set."""

    @property
    def source(self) -> Path:
        """Folder or file that is prepared."""

    @property
    def channels(self) -> int:
        """Channels of the prepared frames of each camera: 3 for RGB, 1 for gray."""

    @property
    def num_cameras(self) -> int:
        """Number of cameras, whose frames are stacked along the channels."""

    @property
    def of_images(self) -> bool:
        """Whether the set consists of separate images, not of clips."""

    @property
    def max_bad_fraction(self) -> float:
        """Largest fraction of clips, or of images, that may be skipped as bad."""

    def items(self) -> list[Item]:
        """Return all items, without reading them.

        Raises:
            DataError: Files are missing; the message describes the expected layout.
        """

    def candidates(self) -> list[Item]:
        """Return the items for `check`, which writes nothing and reads those that are not marked bad."""

    def look(self, item: Item) -> dict[str, Any]:
        """Read an item and return its contents as {clips, frames, seconds}.

        Raises:
            DataError: The item cannot be read.
        """

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        """Yield the clips of an item.

        Args:
            item: The item.
            size: Short side in pixels. A script may ignore it, because frames of other sizes are scaled afterwards.

        Raises:
            DataError: The item cannot be read.
        """

    def fingerprint_settings(self) -> dict[str, Any]:
        """Return the settings that affect the result, as JSON values; changing one prepares everything again."""

    def classes(self) -> list[str]:
        """Return the names of the classes that the clips' labels index; empty without labels."""

    def action_names(self) -> list[str]:
        """Return the names of the action's components; empty if they have none."""


class ItemWriter:
    """A writer of the clips of one item, frame by frame, to one file per kind; without files, it only checks clips."""

    def __init__(self, paths: dict[str, Path], stem: str, size: int | None, channels: int) -> None:
        self.stem, self.size, self.channels = stem, size, channels
        self.entries: list[ClipEntry] = []
        self.skipped: list[tuple[str, str]] = []
        self.parts = 0  # clips, or frames where these are skipped one by one
        self._files = {kind: path.open("wb") for kind, path in paths.items()}
        self._frames = 0  # written so far, over all clips
        self._bytes = 0
        self._widths: dict[str, int] = {}  # values per frame of the first clip, by kind

    def __enter__(self) -> ItemWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            empty = file.tell() == 0
            file.close()
            if empty:
                Path(file.name).unlink()

    def add(self, clip: Clip, item: Item) -> None:
        """Write a clip; a bad one is skipped, and noted with its reason.

        Raises:
            DataError: The clip has an unknown split.
        """
        split = clip.split or item.split
        if split not in SPLITS:
            raise DataError(f"clip {clip.name} has the split {split!r}; it must be one of {', '.join(SPLITS)}")
        starts = {kind: file.tell() for kind, file in self._files.items()}
        frames = iter(clip.frames)
        try:
            self._write_clip(clip, split, frames)
        except DataError as error:
            with suppress(DataError):
                deque(frames, 0)  # the next clip may follow in the same stream
            for kind, start in starts.items():
                self._files[kind].seek(start)
                self._files[kind].truncate()
            self.skipped.append((clip.name, reason(error)))
            return
        self.skipped += clip.skipped
        self.parts += self.entries[-1].frames if clip.separate else 1

    def _write_clip(self, clip: Clip, split: str, frames: Iterator[np.ndarray]) -> None:
        first, offset, count = self._frames, self._bytes, 0
        shape: tuple[int, int] | None = None
        thumbnails: list[np.ndarray] = []
        differences: list[float] = []
        for frame in frames:
            shape = shape or scaled_size(frame.shape[0], frame.shape[1], self.size)
            frame = resize_frame(with_channels(frame, self.channels), shape)
            self._write("u8", np.ascontiguousarray(frame.transpose(2, 0, 1)))
            count += 1
            if clip.cuts is None:
                thumbnails = [*thumbnails[-1:], thumbnail(frame)]
                if len(thumbnails) == 2:
                    differences.append(float(np.abs(thumbnails[1] - thumbnails[0]).mean()))
        if shape is None:
            why = f" ({'; '.join(f'{name}: {why}' for name, why in clip.skipped[:3])})" if clip.skipped else ""
            raise DataError(f"clip {clip.name} has no frames{why}")
        for kind, values in (("actions", clip.actions), ("states", clip.states)):
            self._add_values(kind, values, count, clip.name)
        cuts = find_cuts(differences) if clip.cuts is None else list(clip.cuts)
        entry = ClipEntry(
            clip.name, split, self.stem, first, offset, count, self.channels, *shape, clip.rate, cuts, clip.label
        )
        self.entries.append(entry)
        self._frames, self._bytes = self._frames + count, self._bytes + entry.bytes

    def _add_values(self, kind: str, values: np.ndarray | None, count: int, name: str) -> None:
        values = as_numbers(np.empty((count, 0)) if values is None else values, f"clip {name} has {kind}")
        if values.ndim != 2 or len(values) != count:
            raise DataError(
                f"clip {name} has {count} frames but {kind} of shape {values.shape}; provide one row per frame"
            )
        if not np.isfinite(values).all():
            raise DataError(f"clip {name} has {kind} that are not finite numbers")
        width = self._widths.setdefault(kind, values.shape[1])
        if values.shape[1] != width:
            raise DataError(f"clip {name} has {values.shape[1]} {kind} per frame, but earlier clips have {width}")
        self._write(f"{kind}.f32", np.ascontiguousarray(values))

    def _write(self, kind: str, values: np.ndarray) -> None:
        if kind in self._files:  # no files if the item is only checked
            self._files[kind].write(values.tobytes())


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """Return a frame as a small gray image, float32 in [0, 255], whose changes show cuts."""
    small = cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return with_channels(small, 1).astype(np.float32)


def as_numbers(values: Any, what: str) -> np.ndarray:
    """Return values as float32.

    Args:
        values: An array.
        what: What has the values, for the error: "clip a has actions".

    Raises:
        DataError: They are no real numbers.
    """
    found: np.ndarray = np.asarray(values)
    if found.dtype.kind not in "biuf":
        raise DataError(f"{what} of type {found.dtype}, not numbers")
    return found.astype(np.float32)


def reason(error: VidpredError) -> str:
    """Return the message without the location in brackets at its end, which the table row already contains."""
    text = str(error)
    return text.rsplit(" [", 1)[0] if text.endswith("]") else text
