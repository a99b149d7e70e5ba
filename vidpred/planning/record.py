"""Record episodes of an environment as a prepared data set: in parallel, resumable and extensible."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import Summary, prepare, read_through
from vidpred.errors import ConfigError, counted
from vidpred.files import check_output
from vidpred.planning.envs.base import Env
from vidpred.planning.envs.registry import make_env
from vidpred.planning.lerobot_export import write_lerobot
from vidpred.processes.temporary import remove, temporary_path

EPISODES_AN_ITEM = 20
TENTHS = ("validation", "test")  # splits of the last of every ten episodes
RATE = 10.0  # nominal frames a second; environments do not define it


@dataclass(frozen=True)
class Recording:
    """Episodes of an environment under a policy. Implements vidpred.data.prepared.frame_writer.Preparation.

    Episode i is a function of (seed, i), independent of the number of episodes.

    Attributes:
        env_name: The environment's name.
        episodes: Number of episodes.
        policy: Name of the policy.
        size: Short side of frames in pixels; None: the environment's.
        seed: Seed of the episodes.
        steps: Maximum length of an episode; None: the environment's.
        state_key: Key of the state, where observations are dictionaries; None: their only vector.
        cameras: Keys of the images in observations that are dictionaries, which are stacked along the channels; empty:
            what the environment renders.
        max_bad_fraction: Largest fraction of the episodes that may fail.
    """

    env_name: str
    episodes: int
    policy: str = "random"
    size: int | None = None
    seed: int = 0
    steps: int | None = None
    state_key: str | None = None
    cameras: tuple[str, ...] = ()
    max_bad_fraction: float = 0.0
    channels: ClassVar[int] = 3
    of_images: ClassVar[bool] = False

    @property
    def num_cameras(self) -> int:
        return len(self.cameras) or 1

    def make_env(self) -> Env:
        """Make the environment. Raises ConfigError."""
        return make_env(self.env_name, self.size, self.state_key, cameras=self.cameras)

    @property
    def name(self) -> str:
        return f"{self.env_name}, {self.policy} policy"

    @property
    def source(self) -> Path:
        return Path(self.env_name)

    def items(self) -> list[Item]:
        firsts = range(0, self.episodes, EPISODES_AN_ITEM)
        return [
            Item(f"episodes from {first:06}", (), detail={"first": first, "count": min(EPISODES_AN_ITEM, left)})
            for first in firsts
            for left in [self.episodes - first]
        ]

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        env = self.make_env()
        first = int(item.detail["first"])
        for episode in range(first, first + int(item.detail["count"])):
            yield self._episode(env, episode)

    def _episode(self, env: Env, episode: int) -> Clip:
        frames = [env.reset(int(np.random.default_rng((self.seed, episode, 0)).integers(2**31)))]
        act = env.policy(self.policy, np.random.default_rng((self.seed, episode, 1)))
        actions, states, over = [], [env.state()], False
        while not over and len(frames) <= (self.steps or env.steps):
            actions.append(act())
            result = env.step(actions[-1])
            frames.append(result.frame)
            states.append(env.state())
            over = result.over
        actions.append(act())  # every frame has an action, also the last
        split = dict(zip(range(10 - len(TENTHS), 10), TENTHS, strict=True)).get(episode % 10, "train")
        known = [state for state in states if state is not None]
        return Clip(
            f"episode {episode:06}", split, iter(frames), RATE, np.stack(actions).astype(np.float32),
            np.stack(known) if len(known) == len(frames) else None, cuts=(),
        )  # fmt: skip

    def classes(self) -> list[str]:
        return []

    def action_names(self) -> list[str]:
        with suppress(ConfigError):  # of actions without bounds
            return list(self.make_env().bounds.names)
        return []

    def candidates(self) -> list[Item]:
        return self.items()

    def look(self, item: Item) -> dict[str, Any]:
        return read_through(self, item)

    def fingerprint_settings(self) -> dict[str, Any]:
        """Return all settings except the number of episodes, which may grow without changing the first ones."""
        return {
            "env": self.env_name,
            "policy": self.policy,
            "frame_size": self.size,
            "seed": self.seed,
            "steps": self.steps,
            **({} if self.state_key is None else {"state": self.state_key}),
            **({"cameras": list(self.cameras)} if self.cameras else {}),
        }


def record_lerobot(recording: Recording, target: Path, workers: int | None = None, progress: bool = True) -> str:
    """Record episodes as a LeRobot data set of version 3, whole or not at all; return a summary.

    Raises:
        ConfigError: The target exists; see also `record` and `write_lerobot`.
        DataError, StorageError: See `prepare`.
    """
    if target.exists():
        raise ConfigError(f"exists already, and a LeRobot data set is written as a whole [{target}]; choose another")
    check_output(target, overwrite=False, option="folder")  # also what appears while it records is kept
    folder = temporary_path(target.with_name(f"{target.name}-prepared"))
    try:
        record(recording, folder, workers, progress)
        count = write_lerobot(folder, target, recording.cameras, recording.name)
    finally:
        remove(folder)
    return f"{counted(count, 'episode')} as a LeRobot data set, version 3 [{target}]"


def record(recording: Recording, target: Path, workers: int | None = None, progress: bool = True) -> Summary:
    """Record the episodes that are missing in a folder as a prepared data set; return a summary.

    Args:
        recording: What to record.
        target: The folder, new or with the first episodes of the same recording.
        workers: Number of processes; None: one per core.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: The environment or the policy is unknown.
        DataError, StorageError: See `prepare`.
    """
    env = recording.make_env()
    if recording.policy not in env.policies:
        raise ConfigError(
            f"{recording.env_name} has no such policy [--policy {recording.policy}]; "
            f"choose from {', '.join(env.policies)}"
        )
    return prepare(recording, target, None, workers, progress)
