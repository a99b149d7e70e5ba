"""A prepared data set: an index of clips and their frames in memory-mapped files (docs/reference/data-format.md).

<folder>/prepared.json   what it is: a `Manifest`
<folder>/index.jsonl     one `ClipEntry` a line, ordered by split and name
<folder>/frames/*.u8     frames as uint8, (frame, channel, row, column), clip after clip
<folder>/frames/*.actions.f32, *.states.f32   float32, (frame, value), where the set has them
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from vidpred.errors import DataError

MANIFEST, INDEX, FRAMES = "prepared.json", "index.jsonl", "frames"
FORMAT, VERSION = "vidpred prepared", 1


@dataclass(frozen=True)
class ClipEntry:
    """One clip of the index.

    file: the stem of its files below frames/. first: the place of its first frame there, in frames of other clips
    before it; offset: the same in bytes. rate: frames a second. cuts: frame numbers that begin a new shot. label: the
    number of its class, -1 without.
    """

    clip: str
    split: str
    file: str
    first: int
    offset: int
    frames: int
    channels: int
    height: int
    width: int
    rate: float
    cuts: list[int] = field(default_factory=list)
    label: int = -1

    @property
    def bytes(self) -> int:
        return self.frames * self.channels * self.height * self.width


@dataclass(frozen=True)
class Manifest:
    """The set's name and how it was prepared.

    videos: where the videos are that stay as they are, relative to the folder; then there are no frames. size: the
    short side in pixels (None: as the source has it). action_size, state_size: values a frame, 0 without.
    statistics: mean and standard deviation of actions and states over the training split. classes: their names, where
    the clips have labels.
    """

    name: str
    settings: dict[str, Any]
    videos: str | None = None
    size: int | None = None
    channels: int = 3
    action_size: int = 0
    state_size: int = 0
    statistics: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The manifest of a prepared folder; None for any other. Raises DataError for a damaged one."""
        file = folder / MANIFEST
        if not file.is_file():
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if (content.pop("format"), content.pop("version")) != (FORMAT, VERSION):
                raise ValueError("another format")
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"cannot be read ({error}); prepare the set again [{file}]") from None


class PreparedFrames:
    """The clips of one split, memory-mapped when they are first used (in the process that uses them)."""

    def __init__(self, folder: Path, manifest: Manifest, split: str) -> None:
        self.folder, self.manifest = folder, manifest
        self.clips = [clip for clip in read_index(folder) if clip.split == split]
        self._maps: dict[str, np.ndarray] = {}

    def frames(self, clip: ClipEntry) -> np.ndarray:
        """`(n, C, H, W)` uint8, mapped, read-only. Raises DataError naming the file."""
        place = clip.offset
        array = self._map(f"{clip.file}.u8", np.uint8)[place : place + clip.bytes]
        return array.reshape(clip.frames, clip.channels, clip.height, clip.width)

    def actions(self, clip: ClipEntry) -> np.ndarray:
        """`(n, A)` float32: row t moves frame t to frame t+1, the last row leads beyond the clip."""
        return self._values(clip, "actions", self.manifest.action_size)

    def states(self, clip: ClipEntry) -> np.ndarray:
        """`(n, S)` float32: the state in which frame t was taken."""
        return self._values(clip, "states", self.manifest.state_size)

    def _values(self, clip: ClipEntry, kind: str, size: int) -> np.ndarray:
        values = self._map(f"{clip.file}.{kind}.f32", np.float32).reshape(-1, size)
        return values[clip.first : clip.first + clip.frames]

    def _map(self, name: str, dtype: type[np.generic]) -> np.ndarray:
        if name not in self._maps:
            file = self.folder / FRAMES / name
            try:
                self._maps[name] = np.memmap(file, dtype, "r").view(np.ndarray)
            except (OSError, ValueError) as error:
                raise DataError(f"cannot read prepared frames ({error}); prepare the set again [{file}]") from None
        return self._maps[name]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # a process that gets a copy maps anew


def read_index(folder: Path) -> list[ClipEntry]:
    """All clips of a prepared folder. Raises DataError naming the line that cannot be read."""
    file = folder / INDEX
    clips: list[ClipEntry] = []
    try:
        for line in file.read_text("utf-8", "surrogateescape").split("\n")[:-1]:
            clips.append(ClipEntry(**json.loads(line)))
    except OSError as error:
        raise DataError(f"cannot read the index ({error.strerror}); prepare the set again [{file}]") from None
    except (ValueError, TypeError) as error:
        raise DataError(f"line {len(clips) + 1} is no clip ({error}); prepare the set again [{file}]") from None
    return clips


def value_statistics(rows: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Mean and standard deviation of each value over all rows `(n, A)`; a value that never changes has deviation 1."""
    values = np.concatenate(rows).astype(np.float64)
    deviation = values.std(0)
    return {"mean": values.mean(0).tolist(), "deviation": np.where(deviation > 0, deviation, 1.0).tolist()}
