"""From the data section of a config to sources of windows, one for each split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vidpred.data.images.windows import image_source
from vidpred.data.mixed_source import MixedSource
from vidpred.data.partial_labels import PartiallyLabeled
from vidpred.data.prepared.windows import listed_videos, prepared_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, training_offsets
from vidpred.data.splits import SPLITS
from vidpred.data.videos.build import video_source
from vidpred.data.worlds.build import moving_world, world_source
from vidpred.errors import ConfigError

# Each takes (settings, split, offsets, progress); the first that finds data of its kind builds the source.
BUILDERS: tuple[Callable[[DataSettings, str, Sequence[int], bool], Source | None], ...] = (
    world_source,
    prepared_source,
    image_source,
    video_source,
)


def build_source(settings: DataSettings, split: str, offsets: Sequence[int], progress: bool = False) -> Source:
    """Build the windows of one split, frames `offsets` from the first one of each.

    Raises ConfigError for a split of another name, DataError where there is no window; see
    `data.video.on_bad_video` for bad files.
    """
    if split not in SPLITS:
        raise ConfigError(f"no such split [{split}]; choose from {', '.join(SPLITS)}")
    located = listed_videos(settings)
    source = next(found for build in BUILDERS if (found := build(located, split, offsets, progress)) is not None)
    if settings.labelled is not None and split == "train":
        source = PartiallyLabeled(source, settings.labelled, settings.labelled_share)
    if settings.root is None or split != "train" or list(offsets) != training_offsets(settings):
        return source
    share = settings.world_settings.synthetic_share
    return MixedSource(source, moving_world("moving_shapes", settings, split, offsets), share) if share else source
