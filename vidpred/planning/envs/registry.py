"""The environments by name."""

from __future__ import annotations

from collections.abc import Callable

from vidpred.planning.envs.base import World
from vidpred.planning.envs.block_push import BlockPushWorld
from vidpred.planning.envs.gymnasium_env import GymnasiumWorld
from vidpred.planning.envs.pusht import PushTWorld


def make_world(name: str, size: int | None = None) -> World:
    """size: the short side of frames in pixels; None: the world's own. Raises ConfigError."""
    own: dict[str, Callable[[int | None], World]] = {BlockPushWorld.name: BlockPushWorld, PushTWorld.name: PushTWorld}
    return own[name](size) if name in own else GymnasiumWorld(name, size)
