"""The embedded worlds by name, with the number and seed of each split's clips."""

from __future__ import annotations

from collections.abc import Sequence

from vidpred.data.settings import DataSettings
from vidpred.data.worlds.balls import BallWindows
from vidpred.data.worlds.base import CertainWorld
from vidpred.data.worlds.moving_things import MotionWindows
from vidpred.data.worlds.solids import SolidWindows

WORLD_CLIPS: dict[str, int] = {"train": 20_000, "validation": 128, "test": 256}


POINTS_COUNT: dict[str, int] = {"train": 1_000_000, "validation": 2_500, "test": 2_500}


CERTAIN_WORLDS: dict[str, type[CertainWorld]] = {"rotating_solids": SolidWindows, "bouncing_balls": BallWindows}


WORLD_SEEDS: dict[str, int] = {"train": 11, "validation": 12, "test": 13}


def moving_things(settings: DataSettings, split: str, offsets: Sequence[int]) -> MotionWindows:
    return MotionWindows(settings, offsets, WORLD_CLIPS[split], WORLD_SEEDS[split])
