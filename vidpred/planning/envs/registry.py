"""The environments by name."""

from __future__ import annotations

from collections.abc import Callable

from vidpred.planning.envs.base import Env
from vidpred.planning.envs.block_push import BlockPushEnv
from vidpred.planning.envs.gymnasium_env import GymnasiumEnv
from vidpred.planning.envs.pusht import PushTEnv

WORLDS: dict[str, Callable[[int | None], Env]] = {
    BlockPushEnv.name: BlockPushEnv,
    PushTEnv.name: PushTEnv,
}


def make_env(name: str, size: int | None = None) -> Env:
    """Make a world of the table, else Gymnasium's environment of that name. Raises ConfigError.

    Args:
        name: The environment's name.
        size: Short side of frames in pixels; None: the world's own.
    """
    return WORLDS[name](size) if name in WORLDS else GymnasiumEnv(name, size)
