"""Writing items, and the records of those that are prepared already."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2

from vidpred.data.field_types import from_mapping
from vidpred.data.prepared.format import FRAMES, ClipEntry
from vidpred.data.prepared.frame_writer import Item, ItemWriter, Preparation, WrittenItem, reason
from vidpred.errors import DataError, StorageError, printable
from vidpred.files import read_json, write_file

WriteJob = tuple[Preparation, Item, Path, int | None, dict[str, Any]]


def write_item(job: WriteJob) -> WrittenItem | str:
    """Write one item's files and, last, its record.

    Returns:
        What was written, or the reason why the whole item is skipped.
    """
    preparation, item, target, size, fingerprint_settings = job
    cv2.setNumThreads(1)
    folder, stem = target / FRAMES, file_stem(item)
    temporary = {kind: folder / f".tmp-{os.getpid()}-{stem}.{kind}" for kind in ("u8", "actions.f32", "states.f32")}
    try:
        fingerprint = _fingerprint(item, fingerprint_settings)
        with ItemWriter(temporary, stem, size, preparation.channels * preparation.num_cameras) as writer:
            for clip in preparation.clips(item, size):
                writer.add(clip, item)
        if not writer.entries and writer.skipped:
            return "; ".join(f"{name}: {why}" for name, why in writer.skipped[:3])
        # Remove the record first and write it last: while it is missing, the files count as incomplete.
        (folder / f"{stem}.json").unlink(missing_ok=True)
        for kind, path in temporary.items():
            (folder / f"{stem}.{kind}").unlink(missing_ok=True)
            if path.exists():
                os.replace(path, folder / f"{stem}.{kind}")
        written = WrittenItem(writer.entries, writer.skipped, writer.parts)
        record = {
            "fingerprint": fingerprint, "clips": [asdict(entry) for entry in written.entries],
            "skipped": written.skipped, "parts": written.parts,
        }  # fmt: skip
        write_file(folder / f"{stem}.json", json.dumps(record, ensure_ascii=False))
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


def recorded(target: Path, item: Item, fingerprint_settings: dict[str, Any]) -> WrittenItem | None:
    """Return the record of an item that was prepared before with these settings, or None if it has to be prepared."""
    stem = target / FRAMES / file_stem(item)
    try:
        record = read_json(Path(f"{stem}.json"))
        entries = [from_mapping(ClipEntry, entry) for entry in record["clips"]]
        complete = os.path.getsize(f"{stem}.u8") == sum(entry.bytes for entry in entries)
        if not complete or record["fingerprint"] != _fingerprint(item, fingerprint_settings):
            return None
        skipped = [(name, why) for name, why in record["skipped"]]
        return WrittenItem(entries, skipped, int(record["parts"]))
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


def file_stem(item: Item) -> str:
    """Return a unique and readable file name for an item."""
    readable = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in item.name)[-40:]
    return f"{readable}-{sha256(item.name.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"
