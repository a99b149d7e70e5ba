"""The environments by name."""

from __future__ import annotations

from collections.abc import Callable

from vidpred.planning.envs.base import World
from vidpred.planning.envs.block_push import BlockPushWorld
from vidpred.planning.envs.gymnasium_env import GymnasiumWorld
from vidpred.planning.envs.pusht import PushTWorld

WORLDS: dict[str, Callable[[int | None], World]] = {
    BlockPushWorld.name: BlockPushWorld,
    PushTWorld.name: PushTWorld,
}


def make_world(name: str, size: int | None = None) -> World:
    """Make a world of the table, else Gymnasium's environment of that name. Raises ConfigError.

    Args:
        name: The environment's name.
        size: Short side of frames in pixels; None: the world's own.
    """
    return WORLDS[name](size) if name in WORLDS else GymnasiumWorld(name, size)
