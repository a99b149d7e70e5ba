"""From the data section of a config to sources of windows, one for each split."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from vidpred.data.balls import BallWindows
from vidpred.data.clips import CertainWorld, TrainingSource, WorldWindows, training_offsets
from vidpred.data.images import image_windows
from vidpred.data.index import note_short_videos, require_videos
from vidpred.data.labels import FewLabels
from vidpred.data.mixture import Mixture
from vidpred.data.points import PointWindows
from vidpred.data.prepared import Manifest
from vidpred.data.prepared_windows import PreparedWindows
from vidpred.data.sampling import kept_cuts, kept_frames
from vidpred.data.settings import DataSettings
from vidpred.data.solids import SolidWindows
from vidpred.data.splits import SPLITS, by_listing, divide, whole
from vidpred.data.synthetic_motion import MotionWindows
from vidpred.data.video import VideoInfo
from vidpred.data.video_windows import Segment, VideoWindows
from vidpred.errors import ConfigError, DataError

WORLD_CLIPS: dict[str, int] = {"train": 20_000, "validation": 128, "test": 256}
POINTS_COUNT: dict[str, int] = {"train": 1_000_000, "validation": 2_500, "test": 2_500}
CERTAIN_WORLDS: dict[str, type[CertainWorld]] = {"rotating_solids": SolidWindows, "bouncing_balls": BallWindows}
WORLD_SEEDS: dict[str, int] = {"train": 11, "validation": 12, "test": 13}


def build_source(settings: DataSettings, split: str, offsets: Sequence[int], progress: bool = False) -> TrainingSource:
    """The windows of one split. Raises ConfigError for a split of another name, DataError where there is none; see
    `data.on_bad_video` for bad files."""
    if split not in SPLITS:
        raise ConfigError(f"no such split [{split}]; choose from {', '.join(SPLITS)}")
    source = whole_source(settings, split, offsets, progress)
    few = settings.labelled is not None and split == "train"
    if few and settings.labelled:
        source = FewLabels(source, settings.labelled, settings.labelled_share)
    if split != "train" or not settings.synthetic_share or list(offsets) != training_offsets(settings):
        return source
    return Mixture(source, moving_things(settings, split, offsets), settings.synthetic_share)


def moving_things(settings: DataSettings, split: str, offsets: Sequence[int]) -> MotionWindows:
    return MotionWindows(settings, offsets, WORLD_CLIPS[split], WORLD_SEEDS[split])


def whole_source(settings: DataSettings, split: str, offsets: Sequence[int], progress: bool) -> TrainingSource:
    """The same, with every label that is known, and nothing mixed in."""
    if settings.root is None and settings.context_frames == 0 and not settings.has_points:
        raise DataError("an image model needs pictures [data.root]; give a folder of pictures, an .npz or IDX files")
    if settings.root is None and settings.world in CERTAIN_WORLDS:
        return CERTAIN_WORLDS[settings.world](settings, offsets, WORLD_CLIPS[split], WORLD_SEEDS[split])
    if settings.has_points:
        return PointWindows(settings.world, POINTS_COUNT[split], WORLD_SEEDS[split])
    if settings.root is None:
        if settings.world == "motion":
            return moving_things(settings, split, offsets)
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
    if settings.context_frames == 0 and (pictures := image_windows(root, settings, split)) is not None:
        return pictures
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
    """Divide videos as `data.split_file`, `data.split` and `data.split_fractions` say; parts of a video divided by time
    have gaps as long as a training window between them. Raises DataError."""
    known = {video.path: video for video in videos}
    lengths = {path: len(kept_frames(video, settings.rate)) for path, video in known.items()}
    listing = Path(settings.split_file) if settings.split_file else root / "splits.csv"
    if settings.split_file or listing.is_file():
        parts = whole(lengths, by_listing(listing, lengths))
    else:
        window = training_offsets(settings)[-1] * settings.frame_skip + 1
        parts = divide(lengths, settings.split, settings.split_fractions, window)
    splits: dict[str, list[Segment]] = {split: [] for split in SPLITS}
    for part in sorted(parts, key=lambda part: (part.clip, part.first)):
        splits[part.split].append(Segment(known[part.clip], part.first, part.end))
    return splits


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
