"""Building the windows of each split from a folder of videos."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from vidpred.data.recorded_splits import RecordedSplits
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, training_offsets
from vidpred.data.split_lists import by_listing
from vidpred.data.splits import SPLITS, Part, divide, split_by_folder, whole_clips
from vidpred.data.videos.frame_rate import kept_frames, kept_positions
from vidpred.data.videos.index import find_videos, note_short_videos, require_videos
from vidpred.data.videos.reader import VideoInfo
from vidpred.data.videos.windows import Segment, VideoWindows
from vidpred.errors import DataError, counted


def video_source(settings: DataSettings, split: str, offsets: Sequence[int], progress: bool = False) -> Source:
    """Build the windows of a folder of videos, or of one video.

    Args:
        settings: Data settings; see `data.video.on_bad_video` for unreadable files.
        split: "train", "validation" or "test".
        offsets: Frame offsets of a window, in units of `data.frame_skip`.
        progress: Show the progress of the scan, and warn about videos that are shorter than a window.

    Raises:
        DataError: There are no videos, or none has a whole window.
    """
    root = Path(str(settings.root))
    on_bad = settings.video_settings.on_bad_video
    videos = require_videos(root, on_bad, progress, settings.limits, settings.allowed_bad_fraction)
    recorded = RecordedSplits.read(Path(settings.split_file)) if settings.split_file else None
    if progress:
        kept = [len(kept_frames(video, settings.video_settings.fps)) for video in videos]
        if recorded is not None:
            sizes = {video.path: video.bytes for video in videos}
            recorded.warn_of_changes(sizes, {video.path: video.fingerprint for video in videos}, root)
        note_short_videos(root, videos, offsets[-1] * settings.frame_skip + 1, kept, on_bad)
    segments = split_videos(root, videos, settings)[split]
    if recorded is not None and not segments:
        raise recorded.nothing_left(split, root)
    skip_cuts, fps = settings.video_settings.skip_cuts, settings.video_settings.fps
    segments = [shot for segment in segments for shot in without_breaks(segment, fps, skip_cuts)]
    source = VideoWindows(root, segments, settings, offsets)
    if not len(source):
        raise _too_short(settings, split, offsets, segments, videos)
    return source


def split_videos(root: Path, videos: Sequence[VideoInfo], settings: DataSettings) -> dict[str, list[Segment]]:
    """Divide videos according to `data.split_file`, `data.split` and `data.split_fractions`.

    A video that is divided by time has gaps of one training window between its parts.

    Raises:
        DataError: The split file is invalid, or the videos cannot be divided.
    """
    by_path = {video.path: video for video in videos}
    lengths = {path: len(kept_frames(video, settings.video_settings.fps)) for path, video in by_path.items()}
    listing = Path(settings.split_file) if settings.split_file else root / "splits.csv"
    recorded = RecordedSplits.read(listing) if settings.split_file else None
    if recorded is not None:
        parts = recorded.present(lengths, {video.path: video.fingerprint for video in videos})
    elif settings.split_file or listing.is_file():
        parts = whole_clips(lengths, by_listing(listing, lengths, lambda: find_videos(root)))
    elif settings.split == "auto" and (folders := split_by_folder(list(lengths), settings.split_fractions)):
        parts = whole_clips(lengths, folders)
    else:
        window = training_offsets(settings)[-1] * settings.frame_skip + 1
        parts = divide(lengths, settings.split, settings.split_fractions, window)
    splits: dict[str, list[Segment]] = {split: [] for split in SPLITS}
    for part in sorted(parts, key=lambda part: (part.clip, part.first)):
        splits[part.split].append(Segment(by_path[part.clip], part.first, part.end))
    return splits


def record_video_splits(settings: DataSettings) -> RecordedSplits:
    """Divide a folder of videos, and return the splits for `RecordedSplits.write`. Raises DataError."""
    root = Path(str(settings.root))
    on_bad = settings.video_settings.on_bad_video
    videos = require_videos(root, on_bad, False, settings.limits, settings.allowed_bad_fraction)
    splits = split_videos(root, videos, settings)
    parts = [
        Part(segment.video.path, split, segment.first, segment.end)
        for split, segments in splits.items()
        for segment in segments
    ]
    sizes = {video.path: video.bytes for video in videos}
    return RecordedSplits(parts, sizes, {video.path: video.fingerprint for video in videos})


def without_breaks(segment: Segment, rate: float | None = None, skip_cuts: bool = True) -> list[Segment]:
    """Divide a segment where frames are missing and, with skip_cuts, at its hard cuts: no window spans one."""
    video = segment.video
    breaks = sorted({*video.gaps, *(video.cuts if skip_cuts else ())})
    places = kept_positions(breaks, kept_frames(video, rate)) if breaks else []
    borders = [segment.first, *(place for place in places if segment.first < place < segment.end), segment.end]
    return [Segment(video, a, b) for a, b in pairwise(borders) if b > a]


def _too_short(
    settings: DataSettings,
    split: str,
    offsets: Sequence[int],
    segments: Sequence[Segment],
    videos: Sequence[VideoInfo],
) -> DataError:
    needed = offsets[-1] * settings.frame_skip + 1
    fps = settings.video_settings.fps
    longest = max((segment.end - segment.first for segment in segments), default=0)
    resampled = "" if fps is None else f" at data.video.fps={fps:g}"
    of_all = f"(the longest of {counted(len(videos), 'video')} has {max(video.frames for video in videos)})"
    fewer = "" if split == "train" else "predict fewer --frames, or "
    return DataError(
        f"no {split} window: the longest shot has {longest} of the {needed} frames needed{resampled} {of_all} "
        f"[{settings.root}]; {fewer}lower data.context_frames, or data.pred_frames, or add longer videos"
    )
