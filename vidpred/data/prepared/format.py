"""The format of prepared data sets: an index of clips and memory-mapped frames (docs/reference/data-format.md).

<folder>/prepared.json   a `Manifest`
<folder>/index.jsonl     one `ClipEntry` per line, sorted by split and name
<folder>/frames/*.u8     frames as uint8, (frame, channel, row, column), clip after clip
<folder>/frames/*.actions.f32, *.states.f32   float32, (frame, value), if the set has them
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from vidpred.data.field_types import from_mapping
from vidpred.data.splits import SPLITS
from vidpred.errors import DataError
from vidpred.files import parse_json, read_bytes, read_json

MANIFEST, INDEX, FRAMES = "prepared.json", "index.jsonl", "frames"
FORMAT, VERSION = "vidpred prepared", 1
CHANNELS = (1, 3, 6, 9, 12)  # gray, or up to four color cameras


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
        channels: 3 for RGB, 1 for gray, 3n for n cameras.
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
        """Size of the clip's frames in bytes."""
        return self.frames * self.channels * self.height * self.width


@dataclass(frozen=True)
class Manifest:
    """The name of a prepared data set and its preparation settings.

    Attributes:
        name: Name of the set.
        settings: Settings of the preparation, see `Preparation.fingerprint_settings`.
        videos: Folder of the source videos relative to the set, if they are used directly instead of prepared frames.
        size: Short side in pixels; None for the size of the source.
        channels: 3 for RGB, 1 for gray, 3n for n cameras.
        action_size: Size of an action; 0 without actions.
        state_size: Size of a state; 0 without states.
        statistics: Mean, standard deviation, minimum and maximum of actions and states over the training split.
        action_names: Names of the action's components; empty if they have none.
        classes: Names of the classes; empty without labels.
        index_crc32: Checksum of index.jsonl; None in sets that were prepared without it.
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
    index_crc32: int | None = None
    action_names: list[str] = field(default_factory=list)

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
        if not file.exists():
            return None
        try:
            content = read_json(file)
            if not isinstance(content, dict):
                raise ValueError("not a mapping")
            if (content.pop("format", None), content.pop("version", None)) != (FORMAT, VERSION):
                raise ValueError("unsupported format or version")
            manifest = from_mapping(cls, content)
            _check_manifest(manifest)
            return manifest
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the manifest ({reason(error)}); prepare the set again [{file}]") from None


def _check_manifest(manifest: Manifest) -> None:
    """Raise ValueError unless the sizes are possible and there are statistics of all actions and states."""
    sizes = {"actions": manifest.action_size, "states": manifest.state_size}
    if manifest.channels not in CHANNELS or min(sizes.values()) < 0 or (manifest.size or 1) < 1:
        raise ValueError("a wrong size")
    for kind, size in sizes.items():
        given = manifest.statistics.get(kind, {})
        for name in (
            ("mean", "deviation", *(given.keys() & {"low", "high"})) if size else ()
        ):  # older sets have no range
            values: Any = given.get(name)
            numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
            if not numbers or len(values) != size or not np.isfinite(values).all():
                raise ValueError(f"wrong statistics of {kind}")
    if len(manifest.action_names) not in (0, manifest.action_size):
        raise ValueError("another number of names than actions")


def reason(error: Exception) -> str:
    """Return what is wrong, without the file, which the message names already."""
    return str(getattr(error, "strerror", None) or error)[:80]


class PreparedFrames:
    """The clips of one split, memory-mapped on first use in each process."""

    def __init__(self, folder: Path, manifest: Manifest, split: str, of_run: Mapping[str, str] | None = None) -> None:
        """Read the index.

        Args:
            folder: The prepared data set.
            manifest: Its manifest.
            split: "train", "validation" or "test".
            of_run: Split of each clip that a run stores; None: those of the set.

        Raises:
            DataError: The index is damaged, or contradicts the manifest or the files' sizes.
        """
        self.folder, self.manifest = folder, manifest
        self.everything = everything = read_index(folder, manifest)
        splits = {clip.clip: clip.split for clip in everything} if of_run is None else of_run
        self.clips = [clip for clip in everything if splits.get(clip.clip) == split]
        self._written: dict[str, int] = {}  # when each file was, in nanoseconds
        self._check_files(everything)
        self._maps: dict[str, np.ndarray] = {}

    def _check_files(self, everything: Sequence[ClipEntry]) -> None:
        """Check that every file of the split has exactly the bytes of its clips, which follow one another."""
        wanted = {clip.file for clip in self.clips}
        ends: dict[str, tuple[int, int]] = {}  # frames and bytes of the clips so far, by file
        for clip in sorted((clip for clip in everything if clip.file in wanted), key=lambda clip: clip.offset):
            frames, size = ends.get(clip.file, (0, 0))
            if (clip.first, clip.offset) != (frames, size):
                raise DataError(
                    f"clip {clip.clip} begins at the wrong place; prepare the set again [{self.folder / INDEX}]"
                )
            ends[clip.file] = frames + clip.frames, size + clip.bytes
        values = {"actions": self.manifest.action_size, "states": self.manifest.state_size}
        for name, (frames, size) in ends.items():
            self._check_size(f"{name}.u8", size)
            for kind, width in values.items():
                if width:
                    self._check_size(f"{name}.{kind}.f32", frames * width * 4)

    def _check_size(self, name: str, size: int) -> None:
        file = self.folder / FRAMES / name
        try:
            status = file.stat()
            found = status.st_size if stat.S_ISREG(status.st_mode) else None
            self._written[name] = status.st_mtime_ns
        except OSError:
            found = None
        if found != size:
            what = "is missing" if found is None else f"has {found:,} bytes, not {size:,}"
            raise DataError(f"a file of the prepared data set {what}; prepare the set again [{file}]")

    def frames(self, clip: ClipEntry) -> np.ndarray:
        """Return the frames of a clip, memory-mapped read-only `(n, C, H, W)` uint8.

        Raises:
            DataError: The file cannot be read.
        """
        self.check_present(clip)
        place = clip.offset
        array = self._map(f"{clip.file}.u8", np.uint8)[place : place + clip.bytes]
        return array.reshape(clip.frames, clip.channels, clip.height, clip.width)

    def content(self, clip: ClipEntry) -> str:
        """Return a checksum of the number of frames of a clip, and of its first and last one. Raises DataError."""
        frames = self.frames(clip)
        found = zlib.crc32(f"{frames.shape}".encode())
        for frame in (frames[0], frames[-1]):
            found = zlib.crc32(np.ascontiguousarray(frame).data, found)
        return f"{found:08x}"

    def check_present(self, clip: ClipEntry) -> None:
        """Check that the clip's bytes are still there: reading a map beyond the end of its file ends the process.

        Raises:
            DataError: The file was cut short, removed or replaced.
        """
        self._check_end(f"{clip.file}.u8", clip.offset + clip.bytes)

    def _check_end(self, name: str, end: int) -> None:
        """Check that a file still has bytes up to `end`, and was not written anew. Raises DataError."""
        file = f"{self.folder}/{FRAMES}/{name}"
        try:
            status = os.stat(file)
            if status.st_size >= end and status.st_mtime_ns == self._written.get(name, status.st_mtime_ns):
                return
            if status.st_size >= end:
                raise DataError(f"a file of the prepared data set changed while it was used; start again [{file}]")
        except OSError:
            pass
        raise DataError(f"a file of the prepared data set was cut short or removed; prepare the set again [{file}]")

    def actions(self, clip: ClipEntry) -> np.ndarray:
        """Return the actions of a clip, `(n, A)` float32; row t leads from frame t to t+1, the last beyond the clip."""
        return self._values(clip, "actions", self.manifest.action_size)

    def states(self, clip: ClipEntry) -> np.ndarray:
        """Return the states of a clip, `(n, S)` float32; row t is the state at frame t."""
        return self._values(clip, "states", self.manifest.state_size)

    def _values(self, clip: ClipEntry, kind: str, size: int) -> np.ndarray:
        name = f"{clip.file}.{kind}.f32"
        self._check_end(name, (clip.first + clip.frames) * size * 4)
        values = self._map(name, np.float32).reshape(-1, size)
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


def read_index(folder: Path, manifest: Manifest | None = None) -> list[ClipEntry]:
    """Read all clips of a prepared folder.

    Args:
        folder: The folder.
        manifest: Its manifest, for checks; None: without them.

    Raises:
        DataError: The index or one of its lines cannot be read, or contradicts the manifest.
    """
    file = folder / INDEX
    clips: list[ClipEntry] = []
    try:
        content = read_bytes(file)
        for line in content.decode("utf-8", "surrogateescape").split("\n")[:-1]:
            clips.append(from_mapping(ClipEntry, parse_json(line)))
            check_clip(clips[-1], manifest)
    except OSError as error:
        raise DataError(f"cannot read the index ({reason(error)}); prepare the set again [{file}]") from None
    except ValueError as error:
        line_number = len(clips) + 1
        raise DataError(f"line {line_number} is not a clip ({reason(error)}); prepare the set again [{file}]") from None
    if manifest is not None and manifest.index_crc32 not in (None, zlib.crc32(content)):
        raise DataError(f"the index is damaged (its checksum differs); prepare the set again [{file}]")
    if len({clip.clip for clip in clips}) < len(clips):
        raise DataError(f"two clips have the same name; prepare the set again [{file}]")
    return clips


def check_clip(clip: ClipEntry, manifest: Manifest | None) -> None:
    """Raise ValueError unless the values of a clip are possible."""
    if clip.split not in SPLITS or not clip.file or "/" in clip.file or "\0" in clip.file or os.sep in clip.file:
        raise ValueError("a wrong split or file")
    if min(clip.first, clip.offset, *clip.cuts) < 0 or min(clip.frames, clip.height, clip.width) < 1 or clip.rate <= 0:
        raise ValueError("a number out of range")
    channels = CHANNELS if manifest is None else (manifest.channels,)
    classes = clip.label + 1 if manifest is None else len(manifest.classes)
    if clip.channels not in channels or not -1 <= clip.label < classes:
        raise ValueError("channels or a class that the manifest does not have")


def value_statistics(rows: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Compute mean, standard deviation (1 if constant), minimum and maximum of each component over rows `(n, A)`."""
    values = np.concatenate(rows).astype(np.float64)
    std = values.std(0)
    return {
        "mean": values.mean(0).tolist(), "deviation": np.where(std > 0, std, 1.0).tolist(),
        "low": values.min(0).tolist(), "high": values.max(0).tolist(),
    }  # fmt: skip
