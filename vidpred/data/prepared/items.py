"""Writing items, and the records of those that are prepared already."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2

from vidpred.data.field_types import from_mapping
from vidpred.data.prepared.format import FRAMES, ClipEntry, Manifest, check_clip
from vidpred.data.prepared.frame_writer import Item, ItemWriter, Preparation, WrittenItem, reason
from vidpred.errors import DataError, StorageError, printable, warn
from vidpred.files import content_fingerprint, parse_json, read_lines, with_checksum, write_file
from vidpred.processes.temporary import is_temporary, remove, temporary_path

KINDS = ("u8", "actions.f32", "states.f32")  # suffixes of an item's files
PART = re.compile(r".*-[0-9a-f]{10}\.(u8|actions\.f32|states\.f32|json)|\.tmp-\d+-.*")  # the latter: earlier versions
WriteJob = tuple[Preparation, Item, Path, int | None, dict[str, Any]]


@dataclass(frozen=True)
class ItemRecord:
    """What is stored about an item that is prepared.

    Attributes:
        fingerprint: See `_fingerprint`.
        clips: The entries of its clips.
        skipped: [name, reason] of bad clips or images.
        parts: See `WrittenItem`.
        files: Size and checksum of each of its files, by kind; empty in records of earlier versions.
    """

    fingerprint: str
    clips: list[dict[str, Any]]
    skipped: list[list[str]]
    parts: int
    files: dict[str, list[Any]] = field(default_factory=dict)


def write_item(job: WriteJob) -> WrittenItem | str:
    """Write one item's files and, last, its record.

    Returns:
        What was written, or the reason why the whole item is skipped.
    """
    preparation, item, target, size, fingerprint_settings = job
    cv2.setNumThreads(1)
    folder, stem = target / FRAMES, file_stem(item)
    temporary = {kind: temporary_path(folder / f"{stem}.{kind}") for kind in KINDS}
    try:
        fingerprint = _fingerprint(item, fingerprint_settings)
        with ItemWriter(temporary, stem, size, preparation.channels * preparation.num_cameras) as writer:
            for clip in preparation.clips(item, size):
                writer.add(clip, item)
        if not writer.entries and writer.skipped:
            return "; ".join(f"{name}: {why}" for name, why in writer.skipped[:3])
        # Remove the record first and write it last: while it is missing, the files count as incomplete.
        remove(folder / f"{stem}.json")
        for kind, path in temporary.items():
            remove(folder / f"{stem}.{kind}")
            if path.exists():
                os.replace(path, folder / f"{stem}.{kind}")
        written = WrittenItem(writer.entries, writer.skipped, writer.parts)
        clips, skipped = [asdict(entry) for entry in written.entries], [list(row) for row in written.skipped]
        record = ItemRecord(fingerprint, clips, skipped, written.parts, _contents(folder / stem))
        write_file(folder / f"{stem}.json", with_checksum([json.dumps(asdict(record))]))
        return written
    except DataError as error:
        return reason(error)
    except OSError as error:
        raise StorageError(f"cannot write [{folder}]: {error.strerror}; free space or choose another target") from None
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _fingerprint(item: Item, fingerprint_settings: dict[str, Any]) -> str:
    """Return a hash of the item's files (size and modification time), its detail and the settings.

    Raises:
        DataError: A file cannot be read.
    """
    stamps = []
    for name in item.files:
        try:
            status = os.stat(name)
        except OSError as error:
            raise DataError(f"cannot read the file: {error.strerror} [{printable(name)}]") from None
        stamps.append([Path(name).name, status.st_size, status.st_mtime_ns])
    text = json.dumps([stamps, item.split, item.detail, fingerprint_settings], sort_keys=True)
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def recorded(
    target: Path, item: Item, fingerprint_settings: dict[str, Any], existing: Manifest | None = None
) -> WrittenItem | None:
    """Return the record of an item that was prepared before with these settings, or None if it has to be prepared.

    Files that were damaged or lost since are named in warnings.

    Args:
        target: Folder of the prepared data set.
        item: The item.
        fingerprint_settings: The settings.
        existing: Manifest of the set, which has the sizes that records of earlier versions lack; None: unknown.
    """
    stem = target / FRAMES / file_stem(item)
    damaged = []
    try:
        (line,) = read_lines(Path(f"{stem}.json"))
        record = from_mapping(ItemRecord, parse_json(line))
        if record.fingerprint != _fingerprint(item, fingerprint_settings):
            return None
        entries = [from_mapping(ClipEntry, entry) for entry in record.clips]
        for entry in entries:
            check_clip(entry, None)
        written = WrittenItem(entries, [(name, why) for name, why in record.skipped], record.parts)
        found, expected = _contents(stem), record.files or _expected(entries, existing)
        damaged = [kind for kind in KINDS if _differ(found.get(kind), expected.get(kind))]
    except (FileNotFoundError, DataError):  # DataError: a source file, whose reading will say why
        return None
    except (OSError, ValueError):
        damaged = ["json"]
    for kind in damaged:
        warn(f"a damaged or lost file; preparing {printable(item.name)} again [{stem}.{kind}]")
    return None if damaged else written


def _contents(stem: Path) -> dict[str, list[Any]]:
    """Return the size of each file of an item and a checksum of its first and last bytes, by kind."""
    files = {kind: Path(f"{stem}.{kind}") for kind in KINDS}
    return {
        kind: [file.stat().st_size if file.is_file() else -1, content_fingerprint(file)]
        for kind, file in files.items()
        if os.path.lexists(file)
    }


def _expected(entries: Sequence[ClipEntry], existing: Manifest | None) -> dict[str, list[Any]]:
    """Return the sizes that a record of an earlier version implies, in the form of `_contents`."""
    frames = sum(entry.frames for entry in entries)
    widths = {"actions.f32": existing.action_size, "states.f32": existing.state_size} if existing else {}
    sizes = {"u8": sum(entry.bytes for entry in entries)} | {kind: 4 * frames * width for kind, width in widths.items()}
    return {kind: [size] for kind, size in sizes.items() if size}


def _differ(found: list[Any] | None, expected: list[Any] | None) -> bool:
    """Return whether a file is not as expected; None: there is no file."""
    if found is None or expected is None:
        return found is not expected
    return found[: len(expected)] != expected


def file_stem(item: Item) -> str:
    """Return a unique and readable file name for an item."""
    readable = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in item.name)[-40:]
    return f"{readable}-{sha256(item.name.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"


def is_part(name: str) -> bool:
    """Return whether a name in the folder of frames is that of an item's file, or of a temporary one."""
    return PART.fullmatch(name) is not None or is_temporary(name)
