"""What a set's script hands over, and how the frames of one item are written down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidpred.data.prepared import ClipEntry
from vidpred.data.video import THUMBNAIL, find_cuts, scaled_size
from vidpred.errors import DataError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Item:
    """What one process reads in one go: a video, a folder of pictures, a file with many episodes.

    name: unique in the set; clips are named after it. files: the source files; an item is read again when one of them
    has changed. split: train, validation, test, or empty where each clip says its own. detail: whatever the script
    needs to read it (JSON values).
    """

    name: str
    files: tuple[str, ...]
    split: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Clip:
    """A clip as a script reads it.

    frames: `(H, W, C)` uint8 each, all of one size; an iterator is read once, so that memory does not grow.
    actions: `(n, A)`, row t moves frame t to frame t+1 (where a source has only n-1, add a row of zeros);
    states: `(n, S)`. continuous: no cuts are looked for.
    """

    name: str
    split: str
    frames: Iterable[np.ndarray]
    rate: float
    actions: np.ndarray | None = None
    states: np.ndarray | None = None
    continuous: bool = False


class ItemWriter:
    """Writes the clips of one item, frame by frame, to the files of their kinds."""

    def __init__(self, paths: dict[str, Path], stem: str, size: int | None, channels: int) -> None:
        self.stem, self.size, self.channels = stem, size, channels
        self.entries: list[ClipEntry] = []
        self._files = {kind: path.open("wb") for kind, path in paths.items()}
        self._frames = 0  # written, of all clips
        self._bytes = 0

    def __enter__(self) -> ItemWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            empty = file.tell() == 0
            file.close()
            if empty:
                Path(file.name).unlink()

    def add(self, clip: Clip, item: Item) -> None:
        """Raises DataError: no frames, an unknown split, actions or states that are not one a frame."""
        split = clip.split or item.split
        if split not in SPLITS:
            raise DataError(f"clip {clip.name} has the split {split!r}; it must be one of {', '.join(SPLITS)}")
        first, offset, count = self._frames, self._bytes, 0
        shape: tuple[int, int] | None = None
        thumbnails: list[np.ndarray] = []
        differences: list[float] = []
        for frame in clip.frames:
            shape = shape or scaled_size(frame.shape[0], frame.shape[1], self.size)
            frame = scaled(with_channels(frame, self.channels), shape)
            self._files["u8"].write(np.ascontiguousarray(frame.transpose(2, 0, 1)).data)
            count += 1
            if not clip.continuous:
                thumbnails = [*thumbnails[-1:], thumbnail(frame)]
                if len(thumbnails) == 2:
                    differences.append(float(np.abs(thumbnails[1] - thumbnails[0]).mean()))
        if shape is None:
            raise DataError(f"clip {clip.name} has no frames")
        for kind, values in (("actions", clip.actions), ("states", clip.states)):
            if values is not None:
                self._add_values(kind, values, count, clip.name)
        entry = ClipEntry(
            clip.name, split, self.stem, first, offset, count, self.channels, *shape, clip.rate, find_cuts(differences)
        )
        self.entries.append(entry)
        self._frames, self._bytes = self._frames + count, self._bytes + entry.bytes

    def _add_values(self, kind: str, values: np.ndarray, count: int, name: str) -> None:
        values = np.asarray(values, np.float32)
        if values.ndim != 2 or len(values) != count:
            raise DataError(f"clip {name} has {count} frames and {kind} of shape {values.shape}; one row a frame")
        if not np.isfinite(values).all():
            raise DataError(f"clip {name} has {kind} that are not finite numbers")
        self._files[f"{kind}.f32"].write(np.ascontiguousarray(values).data)


def scaled(frame: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`(H, W, C)` uint8 resized to shape = (height, width): by areas downwards, bicubic upwards."""
    if frame.shape[:2] == shape:
        return frame
    shrinks = frame.shape[0] >= shape[0] and frame.shape[1] >= shape[1]
    resized = cv2.resize(frame, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return resized.reshape(*shape, frame.shape[2])


def with_channels(frame: np.ndarray, channels: int) -> np.ndarray:
    """`(H, W)` or `(H, W, 1 | 3)` uint8 as `(H, W, channels)`; gray from colour is luma (ITU-R BT.601)."""
    if frame.dtype != np.uint8:
        raise DataError(f"frames of type {frame.dtype}; they must be uint8")
    frame = frame[..., None] if frame.ndim == 2 else frame
    if frame.shape[2] == channels:
        return frame
    if frame.shape[2] == 1:
        return np.repeat(frame, 3, 2)
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None]


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """The small gray picture in which cuts are looked for, float32 in [0, 255]."""
    small = cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return with_channels(small, 1).astype(np.float32)
