"""Preparing a data set: read every item of a source once, in several processes, and store the frames.

A preparation script (data_prep/) defines the items of a set and reads them. Everything else is done here: scaling,
atomic writes, resuming, and skipping items that cannot be read, with the reason.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data.prepared.format import FRAMES, INDEX, MANIFEST, ClipEntry, Manifest, value_statistics
from vidpred.data.prepared.frame_writer import Item, ItemWriter, Preparation, WrittenItem, reason
from vidpred.data.prepared.items import is_part, recorded, write_item
from vidpred.data.splits import SPLITS
from vidpred.errors import DataError, StorageError, counted, printable, warn
from vidpred.files import csv_text, make_folder, write_file
from vidpred.processes.folder_lock import FILE as LOCK
from vidpred.processes.folder_lock import folder_lock
from vidpred.processes.pool import in_processes
from vidpred.processes.temporary import is_temporary, remove_leftovers

SKIPPED = "left_out.csv"
OTHERS = ("splits.csv", "preview.png")  # that some sets have
UNLISTED, MISSING = "not in any split", "listed, but missing"  # reasons of what is skipped on purpose


@dataclass
class Summary:
    """The result of a preparation.

    Attributes:
        target: Folder of the prepared data set.
        manifest: Its manifest.
        clips: All clips.
        skipped: (item, reason) of each skipped item.
        reused: Number of items that were already prepared.
        written: Number of items that were prepared now.
        of_images: Whether the set consists of separate images.
    """

    target: Path
    manifest: Manifest
    clips: list[ClipEntry]
    skipped: list[tuple[str, str]]
    reused: int
    written: int
    of_images: bool = False

    def text(self) -> str:
        """Return the summary as printed after a preparation."""
        frames = sum(clip.frames for clip in self.clips)
        hours = sum(clip.frames / clip.rate for clip in self.clips) / 3600
        size = sum(clip.bytes for clip in self.clips)
        parts = {split: [clip for clip in self.clips if clip.split == split] for split in SPLITS}
        if self.of_images:
            images = {split: sum(clip.frames for clip in clips) for split, clips in parts.items()}
            lines = [f"{_by_split(images, 'image')}, {size / 1e6:,.1f} MB [{self.target}]"]
        else:
            clips = {split: len(clips) for split, clips in parts.items()}
            lines = [f"{totals(clips, frames, hours, size)} [{self.target}]"]
        if not self.written:
            lines.append("everything was prepared already; nothing to do")
        elif self.reused:
            lines.append(f"{self.reused:,} of {self.reused + self.written:,} items were prepared already")
        return "\n".join(lines + skipped_lines(self.skipped, self.target / SKIPPED))


def totals(clips: dict[str, int], frames: int, hours: float, size: int) -> str:
    """Return one line with the clips of every split, frames, hours and megabytes (`size` is in bytes)."""
    return f"{_by_split(clips, 'clip')}, {counted(frames, 'frame')}, {hours:.2f} hours, {size / 1e6:,.1f} MB"


def _by_split(counts: dict[str, int], noun: str) -> str:
    listed = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return f"{counted(sum(counts.values()), noun)} ({listed})"


def skipped_lines(skipped: list[tuple[str, str]], file: Path | None) -> list[str]:
    """Return lines with the number of skipped items, and the first ten with their reasons."""
    if not skipped:
        return []
    where = f" (all in {file})" if file else ""
    return [f"skipped: {len(skipped):,}{where}"] + [f"  {printable(name)}: {why}" for name, why in skipped[:10]]


def prepare(
    preparation: Preparation, target: Path, size: int | None = None, workers: int | None = None, progress: bool = True
) -> Summary:
    """Write the frames of a whole set to `target`; when repeated, only missing or changed items are prepared.

    Args:
        preparation: Script of the set.
        target: Folder to write.
        size: Short side in pixels; None keeps the size of the source.
        workers: Number of processes; None uses one per core.
        progress: Show a progress bar.

    Raises:
        DataError: No item can be prepared, or the items contradict each other.
        StorageError: `target` cannot be written, or contains another set.
        InUseError: Another process prepares `target`.
    """
    items = preparation.items()
    check_names(items)
    fingerprint_settings = {**preparation.fingerprint_settings(), "size": size}
    with opened_target(target, preparation.name, fingerprint_settings):
        return _prepare(preparation, items, target, size, workers, progress)


def _prepare(
    preparation: Preparation, items: list[Item], target: Path, size: int | None, workers: int | None, progress: bool
) -> Summary:
    fingerprint_settings = {**preparation.fingerprint_settings(), "size": size}
    existing = Manifest.load(target)
    skipped = [(item.name, item.bad) for item in items if item.bad]
    found = {item.name: recorded(target, item, fingerprint_settings, existing) for item in items if not item.bad}
    done = {name: written for name, written in found.items() if written is not None}
    reused = len(done)
    todo = [item for item in items if item.name in found and item.name not in done]
    jobs = [(preparation, item, target, size, fingerprint_settings) for item in todo]
    for item, result in in_processes(write_item, jobs, workers, f"prepare {preparation.name}", progress):
        if isinstance(result, str):
            skipped.append((item.name, result))
        else:
            done[item.name] = result
    skipped += leave_out_other_widths(done, target)
    clips = sorted((clip for written in done.values() for clip in written.entries), key=_place)
    parts = sum(written.parts for written in done.values())
    skipped = sorted([*skipped, *(row for written in done.values() for row in written.skipped)])
    if not clips:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped[:3])
        raise DataError(f"none of the {len(items)} items can be prepared [{preparation.source}]: {reasons}")
    check_losses(preparation, clips, skipped, parts)
    if len({clip.clip for clip in clips}) < len(clips):
        raise DataError(f"two clips have the same name [{preparation.source}]; rename one of them")
    index = "".join(json.dumps(asdict(clip), ensure_ascii=False) + "\n" for clip in clips)
    manifest = replace(
        _manifest(preparation, size, fingerprint_settings, target, clips),
        index_crc32=zlib.crc32(index.encode("utf-8", "surrogateescape")),
    )
    write_file(target / INDEX, index)
    write_file(target / SKIPPED, csv_text([("item", "reason"), *skipped]))
    write_file(target / MANIFEST, manifest.to_json())
    _remove_others(target / FRAMES, {clip.file for clip in clips})
    return Summary(target, manifest, clips, skipped, reused, len(done) - reused, preparation.of_images)


def leave_out_other_widths(done: dict[str, WrittenItem], target: Path) -> list[tuple[str, str]]:
    """Remove items whose actions or states have another number of values than most, and return them with the reason.

    Args:
        done: What was written of each item.
        target: Folder of the prepared data set.
    """
    left_out = []
    for kind in ("actions", "states"):
        widths = {name: _width(target, written, kind) for name, written in done.items() if written.entries}
        usual = Counter(widths.values()).most_common(1)
        for name, width in widths.items():
            if width != usual[0][0]:
                left_out.append((name, f"has {counted(width, 'value')} of {kind} per frame, most have {usual[0][0]}"))
                del done[name]
    return left_out


def _width(target: Path, written: WrittenItem, kind: str) -> int:
    """Return the number of values of a kind per frame of an item; 0 without any."""
    file = target / FRAMES / f"{written.entries[0].file}.{kind}.f32"
    frames = sum(clip.frames for clip in written.entries)
    return file.stat().st_size // np.dtype(np.float32).itemsize // frames if file.exists() else 0


def check_losses(
    preparation: Preparation, clips: Sequence[ClipEntry], skipped: Sequence[tuple[str, str]], parts: int
) -> None:
    """Check that bad parts do not take too much away from a set.

    Args:
        preparation: The data set.
        clips: The clips that were written.
        skipped: Name and reason of each part that was left out.
        parts: Number of parts that were prepared.

    Raises:
        DataError: More than `max_bad_fraction` of the parts are bad, or no training clip is left.
    """
    bad = [row for row in skipped if row[1] not in (UNLISTED, MISSING)]
    named = "; ".join(f"{printable(name)}: {why}" for name, why in bad[:3])
    if len(bad) > preparation.max_bad_fraction * (parts + len(bad)):
        raise DataError(
            f"{len(bad):,} of {parts + len(bad):,} parts are bad [{preparation.source}]: {named}; remove them or raise "
            "max_bad_fraction"
        )
    if bad and not any(clip.split == "train" for clip in clips):
        what = "image" if preparation.of_images else "clip"
        raise DataError(f"no training {what} is left [{preparation.source}]: {named}; repair or remove them")


def check(preparation: Preparation, workers: int | None = None, progress: bool = True) -> list[dict[str, Any]]:
    """Read every item without writing anything; return {item, ok, reason, ...contents} for each."""
    items = [item for item in preparation.candidates() if item.bad not in (UNLISTED, MISSING)]
    check_names(items)
    rows = [{"item": printable(item.name), "ok": False, "reason": item.bad} for item in items if item.bad]
    jobs = [(preparation, item) for item in items if not item.bad]
    for item, result in in_processes(_look_at_item, jobs, workers, f"check {preparation.name}", progress):
        ok = not isinstance(result, str)
        found = result if ok else {}
        rows.append({"item": printable(item.name), "ok": ok, "reason": None if ok else result, **found})
    return sorted(rows, key=lambda row: str(row["item"]))


def read_through(preparation: Preparation, item: Item) -> dict[str, Any]:
    """Implement `Preparation.look` by reading all clips of an item."""
    clips = frames = 0
    seconds = 0.0
    with ItemWriter({}, "", None, preparation.channels * preparation.num_cameras) as writer:
        for clip in preparation.clips(item, None):
            writer.add(clip, item)
    for entry in writer.entries:
        clips, frames, seconds = clips + 1, frames + entry.frames, seconds + entry.frames / entry.rate
    if not writer.entries and writer.skipped:
        raise DataError("; ".join(f"{name}: {why}" for name, why in writer.skipped[:3]))
    notes = [f"{printable(name)}: {why}" for name, why in writer.skipped]
    return {"clips": clips, "frames": frames, "seconds": round(seconds, 3), **({"notes": notes} if notes else {})}


def check_names(items: list[Item]) -> None:
    """Check that all items have different names.

    Raises:
        DataError: Two items have the same name, so that they would overwrite each other.
    """
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            raise DataError(f"two items have the same name [{printable(item.name)}]; rename one of them")
        seen.add(item.name)


def _look_at_item(job: tuple[Preparation, Item]) -> dict[str, Any] | str:
    preparation, item = job
    try:
        return preparation.look(item)
    except DataError as error:
        return reason(error)


def _place(clip: ClipEntry) -> tuple[int, str]:
    return SPLITS.index(clip.split), clip.clip


@contextmanager
def opened_target(target: Path, name: str, fingerprint_settings: dict[str, Any], frames: bool = True) -> Iterator[None]:
    """Create the target folder and its folder of frames, and hold the folder's lock.

    Args:
        target: The folder.
        name: Kind of the data set.
        fingerprint_settings: Settings that a set in the folder must have been prepared with.
        frames: Whether frames are written.

    Raises:
        StorageError: The folder is not writable, or contains something else.
        InUseError: Another process prepares it.
    """
    try:
        make_folder(target)
    except OSError as error:
        raise StorageError(f"cannot write here: {error.strerror} [{target}]; choose another target") from None
    with folder_lock(target, "choose another target") as exclusive:
        for folder in (target, target / FRAMES):
            if kept := remove_leftovers(folder, exclusive):
                warn(
                    f"another machine may be writing {counted(len(kept), 'temporary file')} "
                    f"[{kept[0]}]; remove what none writes"
                )
        _check_target(target, name, fingerprint_settings, frames)
        yield


def _check_target(target: Path, name: str, fingerprint_settings: dict[str, Any], frames: bool) -> None:
    """Check that a folder may become this set, and create its folder of frames. Raises StorageError."""
    try:
        try:
            existing = Manifest.load(target)
        except DataError as error:  # its items are checked one by one
            warn(error)
            existing = None
            (target / MANIFEST).unlink(missing_ok=True)
        if existing is not None and (existing.name, existing.settings) != (name, fingerprint_settings):
            raise StorageError(
                f"contains the set {existing.name!r} prepared with other settings [{target}]; choose another target or "
                "remove it"
            )
        if existing is None and not _is_ours(target, frames):
            raise StorageError(f"the folder is not empty and not a prepared data set [{target}]; choose another target")
        (target / FRAMES if frames else target).mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write here: {error.strerror} [{target}]; choose another target") from None


def _is_ours(target: Path, frames: bool) -> bool:
    """Return whether a folder without a manifest is empty, or holds what a preparation that was killed has written."""
    found = {name for name in os.listdir(target) if not is_temporary(name)} - {LOCK}
    ours = {INDEX, SKIPPED, *OTHERS} if SKIPPED in found else {INDEX} if frames else set()
    written = os.listdir(target / FRAMES) if frames and FRAMES in found else []
    return found <= ours | ({FRAMES} if frames else set()) and (not written or any(map(is_part, written)))


def _remove_others(frames: Path, stems: set[str]) -> None:
    """Remove the files of items that no longer belong to the set."""
    for path in frames.iterdir():
        if path.name.split(".")[0] not in stems and is_part(path.name) and not is_temporary(path.name):
            with suppress(OSError):  # a folder, or what others may remove only
                path.unlink()


def _manifest(
    preparation: Preparation,
    size: int | None,
    fingerprint_settings: dict[str, Any],
    target: Path,
    clips: list[ClipEntry],
) -> Manifest:
    """Build the manifest, with the statistics of actions and states."""
    sizes: dict[str, int] = {}
    statistics = {}
    files = {clip.file: [other for other in clips if other.file == clip.file] for clip in clips}
    trained = {"train"} if any(clip.split == "train" for clip in clips) else set(SPLITS)
    for kind in ("actions", "states"):
        paths = {file: target / FRAMES / f"{file}.{kind}.f32" for file in files}
        if not any(path.exists() for path in paths.values()):
            continue
        rows = {
            file: np.fromfile(paths[file], np.float32).reshape(sum(clip.frames for clip in files[file]), -1)
            for file in files
        }
        sizes[kind] = next(iter(rows.values())).shape[1]
        statistics[kind] = value_statistics(
            [rows[clip.file][clip.first : clip.first + clip.frames] for clip in clips if clip.split in trained]
        )
    names = preparation.action_names()
    return Manifest(
        preparation.name, fingerprint_settings, None, size, preparation.channels * preparation.num_cameras,
        sizes.get("actions", 0), sizes.get("states", 0), statistics, preparation.classes(),
        action_names=names if len(names) == sizes.get("actions", 0) else [],
    )  # fmt: skip
