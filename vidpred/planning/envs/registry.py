"""The environments by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vidpred.errors import ConfigError
from vidpred.planning.envs.base import Env
from vidpred.planning.envs.block_push import BlockPushEnv
from vidpred.planning.envs.gymnasium_env import GymnasiumEnv
from vidpred.planning.envs.pusht import PushTEnv

ENVS: dict[str, Callable[[int | None], Env]] = {
    BlockPushEnv.name: BlockPushEnv,
    PushTEnv.name: PushTEnv,
}


def make_env(
    name: str,
    size: int | None = None,
    state_key: str | None = None,
    protocol: str | None = None,
    cameras: Sequence[str] = (),
) -> Env:
    """Make an environment of the table, or Gymnasium's environment of that name. Raises ConfigError.

    Args:
        name: The environment's name.
        size: Short side of frames in pixels; None: the environment's.
        state_key: See `GymnasiumEnv`.
        protocol: Name of an evaluation protocol of the environment; None: its own.
        cameras: See `GymnasiumEnv`.
    """
    if protocol is not None:
        if name != PushTEnv.name or protocol not in PushTEnv.protocols:
            choices = ", ".join(PushTEnv.protocols)
            raise ConfigError(f"{name} has no such protocol [--protocol {protocol}]; {PushTEnv.name} has {choices}")
        if state_key is None and not cameras:
            return PushTEnv(size, protocol)
    if name not in ENVS:
        return GymnasiumEnv(name, size, state_key, cameras)
    if cameras:
        raise ConfigError(f"{name} has one camera [--camera {' '.join(cameras)}]; remove --camera")
    if state_key is not None:
        raise ConfigError(f"{name} has one kind of state [--state {state_key}]; remove --state")
    return ENVS[name](size)


def cost_names(name: str) -> tuple[str, ...]:
    """Return the names of the costs of an environment, the default first."""
    names: tuple[str, ...] = getattr(ENVS.get(name, GymnasiumEnv), "costs", GymnasiumEnv.costs)
    return names
