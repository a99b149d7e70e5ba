"""From the data section of a config to sources of windows, one for each split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidpred.data.few_labels import FewLabels
from vidpred.data.images.windows import image_windows
from vidpred.data.mixed_source import Mixture
from vidpred.data.prepared.format import Manifest
from vidpred.data.prepared.windows import prepared_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import TrainingSource, training_offsets
from vidpred.data.splits import SPLITS
from vidpred.data.videos.build import _too_short, split_videos, without_cuts
from vidpred.data.videos.frame_rate import kept_frames
from vidpred.data.videos.index import note_short_videos, require_videos
from vidpred.data.videos.windows import VideoWindows
from vidpred.data.worlds.build import CERTAIN_WORLDS, POINTS_COUNT, WORLD_CLIPS, WORLD_SEEDS, moving_things
from vidpred.data.worlds.points import PointWindows
from vidpred.data.worlds.two_way import WorldWindows
from vidpred.errors import ConfigError, DataError


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
