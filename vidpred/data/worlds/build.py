"""The embedded worlds by name, and the number and seed of the clips of each split."""

from __future__ import annotations

from collections.abc import Sequence

from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source
from vidpred.data.worlds.balls import BallWindows
from vidpred.data.worlds.base import World
from vidpred.data.worlds.forking_ball import WorldWindows
from vidpred.data.worlds.moving_things import MotionWindows
from vidpred.data.worlds.points import PointWindows
from vidpred.data.worlds.solids import SolidWindows
from vidpred.errors import DataError

WORLDS: dict[str, type[World]] = {
    "forking_ball": WorldWindows,
    "moving_shapes": MotionWindows,
    "rotating_solids": SolidWindows,
    "bouncing_balls": BallWindows,
}
WORLD_CLIPS: dict[str, int] = {"train": 20_000, "validation": 128, "test": 256}
POINTS_COUNT: dict[str, int] = {"train": 1_000_000, "validation": 2_500, "test": 2_500}
WORLD_SEEDS: dict[str, int] = {"train": 11, "validation": 12, "test": 13}


def world_source(settings: DataSettings, split: str, offsets: Sequence[int], progress: bool = False) -> Source | None:
    """Build the windows of the embedded world; return None if the settings define a `root`.

    Raises:
        DataError: The model is an image model, but the world consists of moving images.
    """
    if settings.root is not None:
        return None
    if settings.has_points:
        return PointWindows(settings.world_settings.name, POINTS_COUNT[split], WORLD_SEEDS[split])
    if settings.context_frames == 0:
        raise DataError("an image model needs images [data.root]; give a folder of images, an .npz or IDX files")
    return moving_world(settings.world_settings.name, settings, split, offsets)


def moving_world(name: str, settings: DataSettings, split: str, offsets: Sequence[int]) -> World:
    """Build the windows of the world of this name, a key of `WORLDS`."""
    return WORLDS[name](settings, offsets, WORLD_CLIPS[split], WORLD_SEEDS[split])
