"""Sets of videos: kept as they are beside a list of splits, or read once into prepared frames (--cache)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vidpred.data.prepared.format import MANIFEST, Manifest
from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import LEFT_OUT, left_out_lines, open_target, totals
from vidpred.data.splits import SPLITS, Part
from vidpred.data.videos.index import find_videos, require_videos, scan
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import VideoInfo, scaled_size, stream_frames
from vidpred.errors import DataError
from vidpred.files import csv_text, write_file

from .base import DataSet, clip_name, parts_by_clip

Reasons = list[tuple[str, str]]


class VideoSet(DataSet):
    """A set whose source is a folder of videos at any depth."""

    keeps_videos: ClassVar[bool] = True

    def parts(self, lengths: Mapping[str, int]) -> list[Part]:
        """Which frames of which video (path -> frames) belong to which split. Raises DataError."""
        raise NotImplementedError

    def listed(self) -> set[str]:
        """Videos that an official list names (empty: there is no list)."""
        return set()

    def writes_splits(self) -> bool:
        """Whether a splits.csv beside videos that stay in place says more than vidpred finds by itself."""
        return True

    def found(self) -> tuple[dict[str, VideoInfo], list[Part], Reasons]:
        """(videos, parts, left out), scanned once. Raises DataError where none can be read."""
        videos, left_out = scan(self.source, progress=True, processes=True)
        if not videos:
            require_videos(self.source, "skip")
        known = {video.path: video for video in videos}
        parts = self.parts({path: video.frames for path, video in known.items()})
        bad = {name for name, _ in left_out}
        unused = known.keys() - {part.clip for part in parts}
        left_out += [(name, "belongs to no split") for name in unused]
        left_out += [(name, "listed, but not there") for name in self.listed() - known.keys() - bad]
        return known, parts, sorted(left_out)

    def items(self) -> list[Item]:
        known, parts, left_out = self.found()
        items = [Item(name, (), bad=why) for name, why in left_out]
        for path, own in parts_by_clip(parts).items():
            video = known[path]
            detail = {
                "height": video.height, "width": video.width, "rate": video.rate,
                "cuts": sorted({*video.cuts, *video.gaps}),
                "parts": [[clip_name(part, own), part.split, part.first, part.end] for part in own],
            }  # fmt: skip
            items.append(Item(path, (str(self.file(path)),), detail=detail))
        return items

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        """Scaled while decoding: the same frames as those of a run that reads the video at this size."""
        detail = item.detail
        shape = scaled_size(detail["height"], detail["width"], size)
        frames = stream_frames(Path(item.files[0]), shape, self.channels)
        position = 0
        for name, split, first, end in detail["parts"]:
            wanted = stretch(frames, first - position, end - first)
            cuts = [cut - first for cut in detail["cuts"] if first < cut < end]
            yield Clip(name, split, wanted, detail["rate"], cuts=cuts)
            position = end

    def candidates(self) -> list[Item]:
        names = find_videos(self.source) if self.source.exists() else []
        if not names:
            require_videos(self.source)  # says what is wrong
        return [Item(name, (str(self.file(name)),)) for name in names]

    def look(self, item: Item) -> dict[str, Any]:
        video = probe(Path(item.files[0]), item.name)
        seconds = round(video.frames / video.rate, 3)
        return {
            "clips": 1, "frames": video.frames, "seconds": seconds, "codec": video.codec,
            "width": video.width, "height": video.height, "notes": video.notes,
        }  # fmt: skip

    def file(self, name: str) -> Path:
        return self.source if self.source.is_file() else self.source / name


def keep_videos(preparation: VideoSet, target: Path | None) -> str:
    """Scan the videos and write their splits: beside them, or to a folder of their own that points to them.

    Returns a summary. Raises DataError, and StorageError where the target cannot be written.
    """
    before = _index_stamps(preparation.source)
    known, parts, left_out = preparation.found()
    changed = not before or before != _index_stamps(preparation.source)
    apart = target is not None and not _same(target, preparation.source)
    folder = target if target is not None and apart else preparation.source
    if target is not None and apart:
        fingerprint_settings = preparation.fingerprint_settings()
        open_target(target, preparation.name, fingerprint_settings, frames=False)
    whole_videos = all(part.first == 0 and part.end == known[part.clip].frames for part in parts)
    if whole_videos and folder.is_dir() and (apart or preparation.writes_splits()):
        ordered = sorted(parts, key=lambda part: part.clip)
        rows = [("path", "split"), *((part.clip, part.split) for part in ordered)]
        changed = write_file(folder / "splits.csv", csv_text(rows)) or changed
    if target is not None and apart:
        write_file(target / LEFT_OUT, csv_text([("item", "reason"), *left_out]))
        manifest = Manifest(
            preparation.name,
            fingerprint_settings,
            os.path.relpath(preparation.source, target),
            None,
            preparation.channels,
        )
        changed = write_file(target / MANIFEST, manifest.to_json()) or changed
    lines = [_totals(known, parts, folder)]
    if not changed:
        lines.append("everything was prepared already; nothing to do")
    return "\n".join(lines + left_out_lines(left_out, target / LEFT_OUT if target is not None and apart else None))


def stretch(frames: Iterator[np.ndarray], skipped: int, count: int) -> Iterator[np.ndarray]:
    """The next `count` frames after `skipped` others. Raises DataError where there are fewer."""
    found = 0
    for frame in islice(frames, skipped, skipped + count):
        found += 1
        yield frame
    if found < count:
        raise DataError(f"ends {count - found} frames early")


def _totals(known: dict[str, VideoInfo], parts: list[Part], folder: Path) -> str:
    counts = {split: sum(part.split == split for part in parts) for split in SPLITS}
    frames = sum(part.end - part.first for part in parts)
    seconds = sum((part.end - part.first) / known[part.clip].rate for part in parts)
    size = sum(known[name].bytes for name in {part.clip for part in parts})
    return f"{totals(counts, frames, seconds / 3600, size)} [{folder}]"


def _index_stamps(source: Path) -> list[int]:
    """When the index beside the videos was written; empty where there is none."""
    folder = (source.parent if source.is_file() else source) / ".vidpred"
    return [path.stat().st_mtime_ns for path in sorted(folder.glob("index*.jsonl"))]


def _same(target: Path, source: Path) -> bool:
    return target.resolve() == source.resolve()
