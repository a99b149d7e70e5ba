"""Building the source of each split from the data settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vidpred.data.images.windows import image_source, record_image_splits
from vidpred.data.mixed_source import MixedSource
from vidpred.data.partial_labels import PartiallyLabeled
from vidpred.data.prepared.format import Manifest
from vidpred.data.prepared.windows import listed_videos, prepared_source, record_prepared_splits
from vidpred.data.recorded_splits import RecordedSplits
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, training_offsets
from vidpred.data.splits import SPLITS
from vidpred.data.unprepared import refuse_unprepared
from vidpred.data.videos.build import record_video_splits, video_source
from vidpred.data.worlds.build import moving_world, world_source
from vidpred.errors import ConfigError


def unprepared_source(settings: DataSettings, split: str, offsets: Sequence[int], progress: bool = False) -> None:
    """Check that the root is not data to prepare first. Raises DataError."""
    refuse_unprepared(Path(str(settings.root)))


# Each takes (settings, split, offsets, progress) and returns None for data of another kind; the first source is used.
BUILDERS: tuple[Callable[[DataSettings, str, Sequence[int], bool], Source | None], ...] = (
    world_source,
    prepared_source,
    image_source,
    unprepared_source,
    video_source,
)


def record_splits(settings: DataSettings) -> RecordedSplits | None:
    """Return all splits of the data; None for the embedded worlds.

    Raises:
        DataError: The data cannot be read or divided.
    """
    located = listed_videos(settings)
    if located.root is None:
        return None
    if (prepared := record_prepared_splits(located)) is not None:
        return prepared
    images = record_image_splits(located)
    if images is None:
        refuse_unprepared(Path(located.root))
    return images or record_video_splits(located)


def trained_clips(data: DataSettings, other: DataSettings, split: str) -> list[str]:
    """Return the clips of a split of other data that a run was trained on, by their content.

    Args:
        data: Data settings of the run, with the splits that it stores.
        other: Settings of the other data.
        split: Split of the other data.

    Raises:
        DataError: The data cannot be read or divided.
    """
    recorded = None if data.split_file is None else RecordedSplits.read(Path(data.split_file))
    found = None if recorded is None or other.split_file == data.split_file else record_splits(other)
    if recorded is None or found is None:
        return []
    trained = recorded.trained_ranges()
    return [
        part.clip
        for part in found.parts
        if part.split == split and trained.overlap(found.fingerprints.get(part.clip, ""), part)
    ]


def build_source(settings: DataSettings, split: str, offsets: Sequence[int], progress: bool = False) -> Source:
    """Build the windows of one split.

    Args:
        settings: Data settings; see `data.video.on_bad_video` for unreadable files.
        split: "train", "validation" or "test".
        offsets: Frame offsets of a window from its first frame, in units of `data.frame_skip`.
        progress: Show the progress of scanning videos.

    Raises:
        ConfigError: There is no split of this name.
        DataError: The split has no window.
    """
    if split not in SPLITS:
        raise ConfigError(f"no such split [{split}]; choose from {', '.join(SPLITS)}")
    located = listed_videos(settings)
    if settings.channels > 3 and (located.root is None or Manifest.load(Path(located.root)) is None):
        raise ConfigError(
            f"[data.channels={settings.channels}] are those of several cameras, which only prepared data sets have; "
            "set data.channels=3, or prepare episodes with several cameras"
        )
    source = next(found for build in BUILDERS if (found := build(located, split, offsets, progress)) is not None)
    if settings.labeled is not None and split == "train":
        source = PartiallyLabeled(source, settings.labeled, settings.labeled_share)
    if settings.root is None or split != "train" or list(offsets) != training_offsets(settings):
        return source
    share = settings.world_settings.synthetic_share
    return MixedSource(source, moving_world("moving_shapes", settings, split, offsets), share) if share else source
