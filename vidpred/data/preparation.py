"""Prepare a data set: read every item of a source once, in several processes, and write the frames down.

A set's script (data_prep/) says what its items are and how an item is read; everything else is done here: scaling,
writing whole files or none, resuming, skipping what cannot be read and saying why.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from tqdm import tqdm

from vidpred.data.frame_writer import SPLITS, Clip, Item, ItemWriter
from vidpred.data.prepared import FRAMES, INDEX, MANIFEST, ClipEntry, Manifest, value_statistics
from vidpred.data.video import printable
from vidpred.errors import DataError, StorageError


class Preparation(Protocol):
    """A set's script. Objects are sent to other processes, so they hold plain values only."""

    name: str
    source: Path
    channels: int

    def items(self) -> list[Item]:
        """All items, without reading them. Raises DataError naming what is missing and the expected layout."""

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        """The clips of one item. size: the short side wanted; frames of another size are scaled afterwards, so a
        script may ignore it. Raises DataError with the reason why the item cannot be read."""

    def described(self) -> dict[str, Any]:
        """The settings that shape the result (JSON values); another value prepares everything anew."""


@dataclass
class Summary:
    """What a preparation did. left_out: (item, reason)."""

    target: Path
    manifest: Manifest
    clips: list[ClipEntry]
    left_out: list[tuple[str, str]]
    reused: int  # items that were there already

    def text(self) -> str:
        frames = sum(clip.frames for clip in self.clips)
        hours = sum(clip.frames / clip.rate for clip in self.clips) / 3600
        counts = ", ".join(f"{sum(clip.split == split for clip in self.clips):,} {split}" for split in SPLITS)
        lines = [
            f"{len(self.clips):,} clips ({counts}), {frames:,} frames, {hours:.2f} hours, "
            f"{sum(clip.bytes for clip in self.clips) / 1e6:,.1f} MB [{self.target}]"
        ]
        if self.reused:
            lines.append(f"{self.reused:,} items were prepared already")
        if self.left_out:
            lines.append(f"left out: {len(self.left_out):,} (all in {self.target / 'left_out.csv'})")
            lines += [f"  {name}: {reason}" for name, reason in self.left_out[:10]]
        return "\n".join(lines)


def prepare(
    preparation: Preparation, target: Path, size: int | None = None, workers: int | None = None, progress: bool = True
) -> Summary:
    """Write the frames of a whole set to `target`; interrupted or repeated, only what is missing or changed is done.

    size: the short side in pixels (None: as the source has it). workers: processes (None: one a core).
    Raises DataError where nothing can be read, StorageError where `target` cannot be written or holds another set.
    """
    items = preparation.items()
    check_names(items)
    described = {**preparation.described(), "size": size}
    _claim(target, preparation, size, described)
    done: dict[str, list[ClipEntry]] = {}
    left_out: list[tuple[str, str]] = []
    todo = []
    for item in items:
        entries = _recorded(target, item, described)
        if entries is None:
            todo.append(item)
        else:
            done[item.name] = entries
    reused = len(done)
    jobs = [(preparation, item, target, size, described) for item in todo]
    for item, result in _in_processes(_write_item, jobs, workers, f"prepare {preparation.name}", progress):
        if isinstance(result, str):
            left_out.append((item.name, result))
        else:
            done[item.name] = result
    clips = sorted((clip for entries in done.values() for clip in entries), key=_place)
    if not clips:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out[:3])
        raise DataError(f"none of the {len(items)} items can be prepared [{preparation.source}]: {reasons}")
    manifest = _manifest(preparation, size, described, target, clips)
    _write(target / INDEX, "".join(json.dumps(asdict(clip), ensure_ascii=False) + "\n" for clip in clips))
    _write(target / "left_out.csv", _csv([("item", "reason"), *sorted(left_out)]))
    _write(target / MANIFEST, manifest.to_json())
    return Summary(target, manifest, clips, sorted(left_out), reused)


def check(preparation: Preparation, workers: int | None = None, progress: bool = True) -> list[dict[str, Any]]:
    """Read every item and write nothing: a row for each, {item, ok, reason, clips, frames, seconds}."""
    items = preparation.items()
    check_names(items)
    jobs = [(preparation, item) for item in items]
    rows = [
        {"item": item.name, "ok": not isinstance(result, str), "reason": result if isinstance(result, str) else None,
         **({} if isinstance(result, str) else result)}
        for item, result in _in_processes(_read_item, jobs, workers, f"check {preparation.name}", progress)
    ]  # fmt: skip
    return sorted(rows, key=lambda row: str(row["item"]))


def check_names(items: list[Item]) -> None:
    """Raises DataError for two items of one name, which would overwrite each other."""
    seen: set[str] = set()
    for item in items:
        if item.name in seen:
            raise DataError(f"two items have the same name [{printable(item.name)}]; rename one of them")
        seen.add(item.name)


def _in_processes(work: Any, jobs: list[Any], workers: int | None, title: str, progress: bool) -> Iterator[Any]:
    """(item, result or reason) for every job (preparation, item, ...), as they finish."""
    count = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    bar = tqdm(total=len(jobs), desc=title, unit="item", disable=not progress)
    with bar:
        if count <= 1:
            for job in jobs:
                yield job[1], work(job)
                bar.update()
            return
        # Not forked: a forked process would share this one's open videos and locks.
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
            futures = {pool.submit(work, job): job[1] for job in jobs}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
                    bar.update()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _read_item(job: tuple[Preparation, Item]) -> dict[str, Any] | str:
    preparation, item = job
    clips = frames = 0
    seconds = 0.0
    try:
        for clip in preparation.clips(item, None):
            count = sum(1 for _ in clip.frames)
            clips, frames, seconds = clips + 1, frames + count, seconds + count / clip.rate
    except DataError as error:
        return reason(error)
    return {"clips": clips, "frames": frames, "seconds": round(seconds, 3)}


def _write_item(job: tuple[Preparation, Item, Path, int | None, dict[str, Any]]) -> list[ClipEntry] | str:
    """Write one item's files and, last, its record. Returns its clips, or the reason why it is left out."""
    preparation, item, target, size, described = job
    cv2.setNumThreads(1)
    folder, stem = target / FRAMES, file_stem(item)
    temporary = {kind: folder / f".tmp-{os.getpid()}-{stem}.{kind}" for kind in ("u8", "actions.f32", "states.f32")}
    try:
        fingerprint = _fingerprint(item, described)
        with ItemWriter(temporary, stem, size, preparation.channels) as writer:
            for clip in preparation.clips(item, size):
                writer.add(clip, item)
        for kind, path in temporary.items():
            if path.exists():
                os.replace(path, folder / f"{stem}.{kind}")
        record = {"fingerprint": fingerprint, "clips": [asdict(entry) for entry in writer.entries]}
        _write(folder / f"{stem}.json", json.dumps(record, ensure_ascii=False))
        return writer.entries
    except DataError as error:
        return reason(error)
    except OSError as error:
        raise StorageError(f"cannot write [{folder}]: {error.strerror}; free space or choose another target") from None
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def hashed_split(name: str, validation: float = 0.1, test: float = 0.2) -> str:
    """A split from a hash of the name: the same whatever other items there are."""
    place = int.from_bytes(sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
    return "test" if place < test else "validation" if place < test + validation else "train"


def file_stem(item: Item) -> str:
    """A file name that says what is inside and is unique."""
    readable = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in item.name)[-40:]
    return f"{readable}-{sha256(item.name.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"


def reason(error: DataError) -> str:
    """The message without the place in brackets at its end, which the row names already."""
    return str(error).rsplit(" [", 1)[0]


def _place(clip: ClipEntry) -> tuple[int, str]:
    return SPLITS.index(clip.split), clip.clip


def _fingerprint(item: Item, described: dict[str, Any]) -> str:
    """Changes with the item's files (size, time of change), its detail and the settings. Raises DataError."""
    stamps = []
    for name in item.files:
        try:
            status = os.stat(name)
        except OSError as error:
            raise DataError(f"cannot read the file: {error.strerror} [{printable(name)}]") from None
        stamps.append([name, status.st_size, status.st_mtime_ns])
    text = json.dumps([stamps, item.split, item.detail, described], sort_keys=True)
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _recorded(target: Path, item: Item, described: dict[str, Any]) -> list[ClipEntry] | None:
    """The clips of an item that is prepared already; None where it has to be (again)."""
    stem = target / FRAMES / file_stem(item)
    try:
        record = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
        entries = [ClipEntry(**entry) for entry in record["clips"]]
        whole = os.path.getsize(f"{stem}.u8") == sum(entry.bytes for entry in entries)
        return entries if whole and record["fingerprint"] == _fingerprint(item, described) else None
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None


def _claim(target: Path, preparation: Preparation, size: int | None, described: dict[str, Any]) -> None:
    """Make the folder. Raises StorageError where it cannot be written or holds something else."""
    known = Manifest.load(target)
    if known is not None and (known.name, known.settings) != (preparation.name, described):
        raise StorageError(
            f"holds the set {known.name!r} prepared otherwise [{target}]; choose another target or remove it"
        )
    if known is None and target.is_dir() and any(name != FRAMES for name in os.listdir(target)):
        raise StorageError(f"the folder is not empty and no prepared set [{target}]; choose another target")
    try:
        (target / FRAMES).mkdir(parents=True, exist_ok=True)
        for left in (target / FRAMES).glob(".tmp-*"):
            left.unlink()
    except OSError as error:
        raise StorageError(f"cannot write here: {error.strerror} [{target}]; choose another target") from None


def _manifest(
    preparation: Preparation, size: int | None, described: dict[str, Any], target: Path, clips: list[ClipEntry]
) -> Manifest:
    """Raises DataError where the items disagree about actions or states."""
    sizes: dict[str, int] = {}
    statistics = {}
    files = sorted({clip.file for clip in clips})
    train = {clip.file for clip in clips if clip.split == "train"} or set(files)
    for kind in ("actions", "states"):
        paths = {file: target / FRAMES / f"{file}.{kind}.f32" for file in files}
        present = {file for file, path in paths.items() if path.exists()}
        if not present:
            continue
        if len(present) < len(files):
            raise DataError(f"{len(files) - len(present)} of {len(files)} items have no {kind} [{preparation.source}]")
        rows = {file: sum(clip.frames for clip in clips if clip.file == file) for file in files}
        widths = {os.path.getsize(paths[file]) // 4 // rows[file] for file in files}
        if len(widths) > 1:
            raise DataError(f"{kind} of different sizes, {sorted(widths)} [{preparation.source}]")
        (sizes[kind],) = widths
        statistics[kind] = value_statistics(
            [np.fromfile(paths[file], np.float32).reshape(rows[file], -1) for file in sorted(train)]
        )
    return Manifest(
        preparation.name, described, None, size, preparation.channels,
        sizes.get("actions", 0), sizes.get("states", 0), statistics,
    )  # fmt: skip


def _csv(rows: list[tuple[str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    """Whole or not at all. Raises StorageError."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"cannot write [{path}]: {error.strerror}; free space or choose another target") from None
    finally:
        temporary.unlink(missing_ok=True)
