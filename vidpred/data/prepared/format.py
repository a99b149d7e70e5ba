"""The format of prepared data sets: an index of clips and memory-mapped frames (docs/reference/data-format.md).

<folder>/prepared.json   a `Manifest`
<folder>/index.jsonl     one `ClipEntry` per line, sorted by split and name
<folder>/frames/*.u8     frames as uint8, (frame, channel, row, column), clip after clip
<folder>/frames/*.actions.f32, *.states.f32   float32, (frame, value), if the set has them
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

    Attributes:
        clip: Unique name.
        split: "train", "validation" or "test".
        file: Stem of the clip's files in frames/.
        first: Position of the clip's first frame in its files, in frames.
        offset: The same position in bytes of the *.u8 file.
        frames: Number of frames.
        channels: 3 for RGB, 1 for gray.
        height: Height in pixels.
        width: Width in pixels.
        rate: Frames per second.
        cuts: Indices of the frames that begin a new shot.
        label: Index of the class; -1 without classes.
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
        """Size of the clip's frames."""
        return self.frames * self.channels * self.height * self.width


@dataclass(frozen=True)
class Manifest:
    """The name of a prepared set and its preparation settings.

    Attributes:
        name: Name of the set.
        settings: Settings of the preparation, see `Preparation.fingerprint_settings`.
        videos: Folder of the source videos relative to the set, if they are used directly instead of prepared frames.
        size: Short side in pixels; None for the size of the source.
        channels: 3 for RGB, 1 for gray.
        action_size: Size of an action; 0 without actions.
        state_size: Size of a state; 0 without states.
        statistics: Mean and standard deviation of actions and states over the training split.
        classes: Names of the classes; empty without labels.
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
        """Return the manifest as indented JSON."""
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1)

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Load the manifest of a prepared folder; return None for other folders.

        Raises:
            DataError: The manifest is damaged or has another version.
        """
        file = folder / MANIFEST
        if not file.is_file():
            return None
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if (content.pop("format"), content.pop("version")) != (FORMAT, VERSION):
                raise ValueError("unsupported format or version")
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"cannot read the manifest ({error}); prepare the set again [{file}]") from None


class PreparedFrames:
    """The clips of one split, memory-mapped on first use in each process."""

    def __init__(self, folder: Path, manifest: Manifest, split: str) -> None:
        self.folder, self.manifest = folder, manifest
        self.clips = [clip for clip in read_index(folder) if clip.split == split]
        self._maps: dict[str, np.ndarray] = {}

    def frames(self, clip: ClipEntry) -> np.ndarray:
        """Return the frames of a clip, memory-mapped read-only `(n, C, H, W)` uint8.

        Raises:
            DataError: The file cannot be read.
        """
        place = clip.offset
        array = self._map(f"{clip.file}.u8", np.uint8)[place : place + clip.bytes]
        return array.reshape(clip.frames, clip.channels, clip.height, clip.width)

    def actions(self, clip: ClipEntry) -> np.ndarray:
        """Return the actions of a clip, `(n, A)` float32; row t leads from frame t to t+1, the last beyond the clip."""
        return self._values(clip, "actions", self.manifest.action_size)

    def states(self, clip: ClipEntry) -> np.ndarray:
        """Return the states of a clip, `(n, S)` float32; row t is the state at frame t."""
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
        return {**self.__dict__, "_maps": {}}  # copies in other processes map the files again


def read_index(folder: Path) -> list[ClipEntry]:
    """Read all clips of a prepared folder.

    Raises:
        DataError: The index or one of its lines cannot be read.
    """
    file = folder / INDEX
    clips: list[ClipEntry] = []
    try:
        for line in file.read_text("utf-8", "surrogateescape").split("\n")[:-1]:
            clips.append(ClipEntry(**json.loads(line)))
    except OSError as error:
        raise DataError(f"cannot read the index ({error.strerror}); prepare the set again [{file}]") from None
    except (ValueError, TypeError) as error:
        raise DataError(f"line {len(clips) + 1} is not a clip ({error}); prepare the set again [{file}]") from None
    return clips


def value_statistics(rows: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Compute the mean and standard deviation of each component over all rows `(n, A)`; constant components get 1."""
    values = np.concatenate(rows).astype(np.float64)
    std = values.std(0)
    return {"mean": values.mean(0).tolist(), "deviation": np.where(std > 0, std, 1.0).tolist()}
