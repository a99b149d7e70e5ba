"""What a set's script hands over, and how the frames of one item are written down."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from vidpred.data.prepared.format import FRAMES, ClipEntry
from vidpred.data.resize import scaled, with_channels
from vidpred.data.splits import SPLITS
from vidpred.data.videos.containers import printable
from vidpred.data.videos.probe import THUMBNAIL, find_cuts
from vidpred.data.videos.reader import scaled_size
from vidpred.errors import DataError, StorageError
from vidpred.files import write_file


@dataclass(frozen=True)
class Item:
    """What one process reads in one go: a video, a folder of images, a file with many episodes.

    name: unique in the set; clips are named after it. files: the source files; an item is read again when one of them
    has changed. split: train, validation, test, or empty where each clip says its own. detail: whatever the script
    needs to read it (JSON values). bad: why it cannot be read, where that is known already.
    """

    name: str
    files: tuple[str, ...]
    split: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    bad: str = ""


@dataclass(frozen=True)
class Clip:
    """A clip as a script reads it.

    frames: `(H, W, C)` uint8 each, all of one size; an iterator is read once, so that memory does not grow.
    actions: `(n, A)`, row t moves frame t to frame t+1 (where a source has only n-1, add a row of zeros);
    states: `(n, S)`. cuts: frame numbers that begin a new shot (empty: one shot); None: they are looked for.
    """

    name: str
    split: str
    frames: Iterable[np.ndarray]
    rate: float
    actions: np.ndarray | None = None
    states: np.ndarray | None = None
    cuts: Sequence[int] | None = None
    label: int = -1  # the number of its class


class Preparation(Protocol):
    """A set's script. Objects are sent to other processes, so they hold plain values only."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> Path: ...

    @property
    def channels(self) -> int: ...

    def items(self) -> list[Item]:
        """All items, without reading them. Raises DataError naming what is missing and the expected layout."""

    def candidates(self) -> list[Item]:
        """What `check` looks at: all items, found without writing anything."""

    def look(self, item: Item) -> dict[str, Any]:
        """Read an item and say what is in it ({clips, frames, seconds}); raises DataError where it cannot be read."""

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        """The clips of one item. size: the short side wanted; frames of another size are scaled afterwards, so a
        script may ignore it. Raises DataError with the reason why the item cannot be read."""

    def fingerprint_settings(self) -> dict[str, Any]:
        """The settings that shape the result (JSON values); another value prepares everything anew."""

    def classes(self) -> list[str]:
        """The names of the classes whose numbers clips have as labels; none where they have none."""


class ItemWriter:
    """Writes the clips of one item, frame by frame, to the files of their kinds (none: only checks them)."""

    def __init__(self, paths: dict[str, Path], stem: str, size: int | None, channels: int) -> None:
        self.stem, self.size, self.channels = stem, size, channels
        self.entries: list[ClipEntry] = []
        self._files = {kind: path.open("wb") for kind, path in paths.items()}
        self._frames = 0  # written, of all clips
        self._bytes = 0
        self._widths: dict[str, int] = {}  # values a frame, by kind, as in the first clip

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
            self._write("u8", np.ascontiguousarray(frame.transpose(2, 0, 1)))
            count += 1
            if clip.cuts is None:
                thumbnails = [*thumbnails[-1:], thumbnail(frame)]
                if len(thumbnails) == 2:
                    differences.append(float(np.abs(thumbnails[1] - thumbnails[0]).mean()))
        if shape is None:
            raise DataError(f"clip {clip.name} has no frames")
        for kind, values in (("actions", clip.actions), ("states", clip.states)):
            self._add_values(kind, values, count, clip.name)
        cuts = find_cuts(differences) if clip.cuts is None else list(clip.cuts)
        entry = ClipEntry(
            clip.name, split, self.stem, first, offset, count, self.channels, *shape, clip.rate, cuts, clip.label
        )
        self.entries.append(entry)
        self._frames, self._bytes = self._frames + count, self._bytes + entry.bytes

    def _add_values(self, kind: str, values: np.ndarray | None, count: int, name: str) -> None:
        values = np.empty((count, 0)) if values is None else values
        values = np.asarray(values, np.float32)
        if values.ndim != 2 or len(values) != count:
            raise DataError(f"clip {name} has {count} frames and {kind} of shape {values.shape}; one row a frame")
        if not np.isfinite(values).all():
            raise DataError(f"clip {name} has {kind} that are not finite numbers")
        width = self._widths.setdefault(kind, values.shape[1])
        if values.shape[1] != width:
            raise DataError(f"clip {name} has {values.shape[1]} {kind} a frame, the clips before it {width}")
        self._write(f"{kind}.f32", np.ascontiguousarray(values))

    def _write(self, kind: str, values: np.ndarray) -> None:
        if kind in self._files:  # none where the item is only looked at
            self._files[kind].write(values.tobytes())


def thumbnail(frame: np.ndarray) -> np.ndarray:
    """The small gray image in which cuts are looked for, float32 in [0, 255]."""
    small = cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return with_channels(small, 1).astype(np.float32)


WriteJob = tuple[Preparation, Item, Path, int | None, dict[str, Any]]


def write_item(job: WriteJob) -> list[ClipEntry] | str:
    """Write one item's files and, last, its record. Returns its clips, or the reason why it is left out."""
    preparation, item, target, size, fingerprint_settings = job
    cv2.setNumThreads(1)
    folder, stem = target / FRAMES, file_stem(item)
    temporary = {kind: folder / f".tmp-{os.getpid()}-{stem}.{kind}" for kind in ("u8", "actions.f32", "states.f32")}
    try:
        fingerprint = _fingerprint(item, fingerprint_settings)
        with ItemWriter(temporary, stem, size, preparation.channels) as writer:
            for clip in preparation.clips(item, size):
                writer.add(clip, item)
        # The record goes first and comes last: while files are replaced, nothing says that they are whole.
        (folder / f"{stem}.json").unlink(missing_ok=True)
        for kind, path in temporary.items():
            (folder / f"{stem}.{kind}").unlink(missing_ok=True)
            if path.exists():
                os.replace(path, folder / f"{stem}.{kind}")
        record = {"fingerprint": fingerprint, "clips": [asdict(entry) for entry in writer.entries]}
        write_file(folder / f"{stem}.json", json.dumps(record, ensure_ascii=False))
        return writer.entries
    except DataError as error:
        return reason(error)
    except OSError as error:
        raise StorageError(f"cannot write [{folder}]: {error.strerror}; free space or choose another target") from None
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _fingerprint(item: Item, fingerprint_settings: dict[str, Any]) -> str:
    """Changes with the item's files (size, time of change), its detail and the settings. Raises DataError."""
    stamps = []
    for name in item.files:
        try:
            status = os.stat(name)
        except OSError as error:
            raise DataError(f"cannot read the file: {error.strerror} [{printable(name)}]") from None
        stamps.append([Path(name).name, status.st_size, status.st_mtime_ns])
    text = json.dumps([stamps, item.split, item.detail, fingerprint_settings], sort_keys=True)
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def recorded(target: Path, item: Item, fingerprint_settings: dict[str, Any]) -> list[ClipEntry] | None:
    """The clips of an item that is prepared already; None where it has to be (again)."""
    stem = target / FRAMES / file_stem(item)
    try:
        record = json.loads(Path(f"{stem}.json").read_text("utf-8", "surrogateescape"))
        entries = [ClipEntry(**entry) for entry in record["clips"]]
        whole = os.path.getsize(f"{stem}.u8") == sum(entry.bytes for entry in entries)
        return entries if whole and record["fingerprint"] == _fingerprint(item, fingerprint_settings) else None
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


def file_stem(item: Item) -> str:
    """A file name that says what is inside and is unique."""
    readable = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in item.name)[-40:]
    return f"{readable}-{sha256(item.name.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"


def reason(error: DataError) -> str:
    """The message without the place in brackets at its end, which the row names already."""
    text = str(error)
    return text.rsplit(" [", 1)[0] if text.endswith("]") else text
