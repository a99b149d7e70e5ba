"""Sets of videos: used directly with a list of splits, or decoded once into prepared frames (--cache)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vidpred.data.prepared.format import MANIFEST, Manifest
from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import MISSING, SKIPPED, UNLISTED, opened_target, skipped_lines, totals
from vidpred.data.splits import SPLITS, Part
from vidpred.data.videos.index import find_videos, require_videos, scan
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import VideoInfo, scaled_size, stream_frames
from vidpred.errors import ConfigError, DataError, counted
from vidpred.files import csv_text, write_file

from .base import DataSet, clip_name, parts_by_clip

Reasons = list[tuple[str, str]]


class VideoSet(DataSet):
    """The base class of sets whose source is a folder of videos at any depth."""

    keeps_videos: ClassVar[bool] = True

    def parts(self, lengths: Mapping[str, int]) -> list[Part]:
        """Divide videos, given the number of frames of each, into the parts of each split.

        Raises:
            DataError: The videos cannot be divided.
        """
        raise NotImplementedError

    def listed(self) -> set[str]:
        """Return the videos in the official list; empty without a list."""
        return set()

    def writes_splits(self) -> bool:
        """Return whether splits.csv is needed, because its splits differ from vidpred's default division."""
        return True

    def found(self) -> tuple[dict[str, VideoInfo], list[Part], Reasons]:
        """Scan the videos, and return them with their parts and (name, reason) of the skipped ones.

        Raises:
            DataError: No video can be read.
        """
        videos, skipped = scan(self.source, progress=True, processes=True)
        if not videos:
            require_videos(self.source, "skip")
        by_path = {video.path: video for video in videos}
        parts = self.parts({path: video.frames for path, video in by_path.items()})
        bad = {name for name, _ in skipped}
        unused = by_path.keys() - {part.clip for part in parts}
        skipped += [(name, UNLISTED) for name in unused]
        skipped += [(name, MISSING) for name in self.listed() - by_path.keys() - bad]
        return by_path, parts, sorted(skipped)

    def items(self) -> list[Item]:
        videos, parts, skipped = self.found()
        items = [Item(name, (), bad=why) for name, why in skipped]
        for path, video_parts in parts_by_clip(parts).items():
            video = videos[path]
            detail = {
                "height": video.height, "width": video.width, "rate": video.rate,
                "cuts": sorted({*video.cuts, *video.gaps}),
                "parts": [[clip_name(part, video_parts), part.split, part.first, part.end] for part in video_parts],
            }  # fmt: skip
            items.append(Item(path, (str(self.file(path)),), detail=detail))
        return items

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        """Yield the clips, scaled while decoding, so that frames equal those of a run that reads the video directly."""
        detail = item.detail
        shape = scaled_size(detail["height"], detail["width"], size)
        frames = stream_frames(Path(item.files[0]), shape, self.channels)
        position = 0
        for name, split, first, end in detail["parts"]:
            wanted = take_frames(frames, first - position, end - first)
            cuts = [cut - first for cut in detail["cuts"] if first < cut < end]
            yield Clip(name, split, wanted, detail["rate"], cuts=cuts)
            position = end

    def candidates(self) -> list[Item]:
        names = find_videos(self.source) if self.source.exists() else []
        if not names:
            require_videos(self.source)  # raises the error
        return [Item(name, (str(self.file(name)),)) for name in names]

    def look(self, item: Item) -> dict[str, Any]:
        video = probe(Path(item.files[0]), item.name)
        seconds = round(video.frames / video.rate, 3)
        return {
            "clips": 1, "frames": video.frames, "seconds": seconds, "codec": video.codec,
            "width": video.width, "height": video.height, "notes": video.notes,
        }  # fmt: skip

    def file(self, name: str) -> Path:
        """Return the path of a video."""
        return self.source if self.source.is_file() else self.source / name


def keep_videos(preparation: VideoSet, target: Path | None) -> str:
    """Scan the videos and write their splits next to them, or to a separate folder that refers to them.

    Returns:
        The summary to print.

    Raises:
        DataError: No video can be read.
        StorageError: The target cannot be written.
    """
    before = _index_stamps(preparation.source)
    videos, parts, skipped = preparation.found()
    _check_listable(preparation, videos, parts)
    changed = not before or before != _index_stamps(preparation.source)
    apart = target is not None and not _same(target, preparation.source)
    folder = target if target is not None and apart else preparation.source
    fingerprint_settings = preparation.fingerprint_settings()
    with opened_target(folder, preparation.name, fingerprint_settings, frames=False) if apart else nullcontext():
        changed = _write_lists(preparation, folder, apart, (videos, parts, skipped)) or changed
    lines = [_totals(videos, parts, folder)]
    if not changed:
        lines.append("everything was prepared already; nothing to do")
    return "\n".join(lines + skipped_lines(skipped, folder / SKIPPED if apart else None))


def _write_lists(
    preparation: VideoSet, folder: Path, apart: bool, found: tuple[dict[str, VideoInfo], list[Part], Reasons]
) -> bool:
    """Write what `VideoSet.found` returned; return whether that changed a file. Raises StorageError."""
    videos, parts, skipped = found
    changed = False
    if apart:  # first: what is there without a manifest belongs to a preparation that was killed then
        write_file(folder / SKIPPED, csv_text([("item", "reason"), *skipped]))
    if not _are_whole(videos, parts):
        if apart:
            (folder / "splits.csv").unlink(missing_ok=True)  # of earlier videos
    elif folder.is_dir() and (apart or preparation.writes_splits()):
        ordered = sorted(parts, key=lambda part: part.clip)
        rows = [("path", "split"), *((part.clip, part.split) for part in ordered)]
        changed = write_file(folder / "splits.csv", csv_text(rows)) or changed
    if apart:
        manifest = Manifest(
            preparation.name,
            preparation.fingerprint_settings(),
            path_from(folder, preparation.source),
            None,
            preparation.channels,
        )
        changed = write_file(folder / MANIFEST, manifest.to_json()) or changed
    return changed


def _are_whole(videos: dict[str, VideoInfo], parts: list[Part]) -> bool:
    """Return whether no video is divided by time."""
    return all(part.first == 0 and part.end == videos[part.clip].frames for part in parts)


def _check_listable(preparation: VideoSet, videos: dict[str, VideoInfo], parts: list[Part]) -> None:
    """Check that a list of videos can hold their division, or that it is the one of a run. Raises ConfigError."""
    given = sorted(preparation.model_fields_set & {"split", "fractions", "gap"})
    if given and not _are_whole(videos, parts):
        raise ConfigError(
            f"[{', '.join(given)}] divides videos by time, which a list of videos cannot hold; add --cache, or set "
            "data.split and data.split_fractions of the run"
        )


def path_from(folder: Path, source: Path) -> str:
    """Return the path of an existing source relative to an existing folder, which links may lead to."""
    plain = os.path.relpath(source, folder)
    leads_there = (folder / plain).exists() and (folder / plain).samefile(source)
    return plain if leads_there else os.path.relpath(source, folder.resolve())


def take_frames(frames: Iterator[np.ndarray], skipped: int, count: int) -> Iterator[np.ndarray]:
    """Skip `skipped` frames and yield the next `count`.

    Raises:
        DataError: There are too few frames.
    """
    found = 0
    for frame in islice(frames, skipped, skipped + count):
        found += 1
        yield frame
    if found < count:
        raise DataError(f"the video ends {counted(count - found, 'frame')} early")


def _totals(videos: dict[str, VideoInfo], parts: list[Part], folder: Path) -> str:
    counts = {split: sum(part.split == split for part in parts) for split in SPLITS}
    frames = sum(part.end - part.first for part in parts)
    seconds = sum((part.end - part.first) / videos[part.clip].rate for part in parts)
    size = sum(videos[name].bytes for name in {part.clip for part in parts})
    return f"{totals(counts, frames, seconds / 3600, size)} [{folder}]"


def _index_stamps(source: Path) -> list[int]:
    """Return the modification times of the index next to the videos; empty if there is none."""
    folder = (source.parent if source.is_file() else source) / ".vidpred"
    return [path.stat().st_mtime_ns for path in sorted(folder.glob("index*.jsonl"))]


def _same(target: Path, source: Path) -> bool:
    return target.resolve() == source.resolve()
