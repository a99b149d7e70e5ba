"""From the data section of a config to sources of windows, one for each split."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from vidpred.data.clips import TrainingSource, WorldWindows, training_offsets
from vidpred.data.index import note_short_videos, require_videos
from vidpred.data.prepared import Manifest
from vidpred.data.prepared_windows import PreparedWindows
from vidpred.data.sampling import kept_cuts, kept_frames
from vidpred.data.settings import DataSettings
from vidpred.data.splits import SPLITS
from vidpred.data.video import VideoInfo
from vidpred.data.video_windows import Segment, VideoWindows
from vidpred.errors import DataError

FILES_FOR_FILE_SPLIT = 5  # with fewer files, `split: auto` divides each file by time
WORLD_CLIPS: dict[str, int] = {"train": 20_000, "validation": 128, "test": 256}
WORLD_SEEDS: dict[str, int] = {"train": 11, "validation": 12, "test": 13}


def build_source(settings: DataSettings, split: str, offsets: Sequence[int], progress: bool = False) -> TrainingSource:
    """The windows of one split. Raises DataError where there is none; see `data.on_bad_video` for bad files."""
    assert split in SPLITS
    if settings.root is None:
        return WorldWindows(settings, offsets, WORLD_CLIPS[split], WORLD_SEEDS[split])
    root = Path(settings.root)
    manifest = Manifest.load(root)
    if manifest is not None and manifest.videos is None:
        return prepared_source(root, manifest, settings, split, offsets)
    if manifest is not None and manifest.videos is not None:
        listing = root / "splits.csv"  # absent where few videos are divided by time
        if settings.split_file is None and listing.is_file():
            settings = settings.model_copy(update={"split_file": str(listing)})
        root = root / manifest.videos
    videos = require_videos(root, settings.on_bad_video, progress, settings.limits)
    if progress:
        kept = [len(kept_frames(video, settings.rate)) for video in videos]
        note_short_videos(root, videos, offsets[-1] * settings.frame_skip + 1, kept, settings.on_bad_video)
    segments = split_videos(root, videos, settings)[split]
    if settings.skip_cuts:
        segments = [shot for segment in segments for shot in without_cuts(segment, settings.rate)]
    source = VideoWindows(root, segments, settings, offsets)
    if not len(source):
        raise _too_short(settings, split, offsets, segments, videos)
    return source


def prepared_source(
    folder: Path, manifest: Manifest, settings: DataSettings, split: str, offsets: Sequence[int]
) -> PreparedWindows:
    """The windows of one split of a prepared set. Raises DataError where there is none."""
    source = PreparedWindows(folder, manifest, split, settings, offsets)
    if not len(source):
        raise DataError(
            f"no {split} window: {len(source.prepared.clips)} clips, the longest stretch has {source.longest} frames "
            f"of the {source.offsets[-1] + 1} needed [{folder}]; lower data.context_frames, data.pred_frames or "
            "data.frame_skip"
        )
    return source


def split_videos(root: Path, videos: Sequence[VideoInfo], settings: DataSettings) -> dict[str, list[Segment]]:
    """Divide videos as `data.split_file`, `data.split` and `data.split_fractions` say."""
    listing = Path(settings.split_file) if settings.split_file else root / "splits.csv"
    if settings.split_file or listing.is_file():
        return _split_by_listing(listing, videos, settings.rate)
    by_file = settings.split == "file" or (settings.split == "auto" and len(videos) >= FILES_FOR_FILE_SPLIT)
    if not by_file:
        window = training_offsets(settings)[-1] * settings.frame_skip + 1
        return _split_by_time(videos, settings.split_fractions, window, settings.rate)
    if len(videos) < len(SPLITS):
        raise DataError(f"{len(videos)} videos cannot be split by file [data.split]; use data.split=time")
    return _split_by_file(videos, settings.split_fractions, settings.rate)


def _split_by_file(
    videos: Sequence[VideoInfo], fractions: Sequence[float], rate: float | None
) -> dict[str, list[Segment]]:
    # Ordered by a hash of the name: adding files to a folder moves few of the others to another split.
    ordered = sorted(videos, key=lambda video: sha256(video.path.encode("utf-8", "surrogateescape")).hexdigest())
    test = max(1, round(fractions[2] * len(videos))) if fractions[2] else 0
    validation = max(1, round(fractions[1] * len(videos))) if fractions[1] else 0
    parts = {
        "test": ordered[:test],
        "validation": ordered[test : test + validation],
        "train": ordered[test + validation :],
    }
    return {split: [_whole(video, rate) for video in sorted(parts[split], key=lambda v: v.path)] for split in SPLITS}


def _split_by_time(
    videos: Sequence[VideoInfo], fractions: Sequence[float], gap: int, rate: float | None
) -> dict[str, list[Segment]]:
    """Train, then validation, then test, with gaps as long as a training window between them."""
    splits: dict[str, list[Segment]] = {split: [] for split in SPLITS}
    for video in videos:
        frames = len(kept_frames(video, rate))
        first = round(fractions[0] * frames)
        second = round((fractions[0] + fractions[1]) * frames)
        splits["train"].append(Segment(video, 0, first - gap if first < frames else first))
        splits["validation"].append(Segment(video, first, second))
        splits["test"].append(Segment(video, second + gap, frames))
    return splits


def _split_by_listing(listing: Path, videos: Sequence[VideoInfo], rate: float | None) -> dict[str, list[Segment]]:
    try:
        with listing.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = [row for row in csv.reader(file) if row and row != ["path", "split"]]
    except OSError as error:
        raise DataError(f"cannot read the split file [{listing}]: {error.strerror}; see data.split_file") from None
    known = {video.path: video for video in videos}
    splits: dict[str, list[Segment]] = {split: [] for split in SPLITS}
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or row[1] not in SPLITS:
            raise DataError(f"row {number} is not path,{'|'.join(SPLITS)} [{listing}]")
        if row[0] in known:  # a listed file may have been left out as bad
            splits[row[1]].append(_whole(known[row[0]], rate))
    if not any(splits.values()):
        raise DataError(f"names none of the videos in the data folder [{listing}]; paths are relative to data.root")
    return splits


def _whole(video: VideoInfo, rate: float | None) -> Segment:
    return Segment(video, 0, len(kept_frames(video, rate)))


def without_cuts(segment: Segment, rate: float | None = None) -> list[Segment]:
    """The shots of a segment: no window may span a hard cut."""
    cuts = kept_cuts(segment.video, kept_frames(segment.video, rate)) if segment.video.cuts else []
    borders = [segment.first, *(cut for cut in cuts if segment.first < cut < segment.end), segment.end]
    return [Segment(segment.video, a, b) for a, b in pairwise(borders) if b > a]


def _too_short(
    settings: DataSettings,
    split: str,
    offsets: Sequence[int],
    segments: Sequence[Segment],
    videos: Sequence[VideoInfo],
) -> DataError:
    needed = offsets[-1] * settings.frame_skip + 1
    longest = max((segment.end - segment.first for segment in segments), default=0)
    return DataError(
        f"no {split} window: the longest stretch has {longest} frames of the {needed} needed [{settings.root}]; "
        f"lower data.context_frames, data.pred_frames or data.frame_skip, or add longer videos "
        f"({len(videos)} found, the longest of {max(video.frames for video in videos)} frames"
        f"{'' if settings.rate is None else f', of which data.rate={settings.rate:g} keeps some'})"
    )
