"""Episodes of a world, recorded as a prepared set: in parallel, resumable, and extended by asking for more of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import Summary, prepare, read_through
from vidpred.errors import ConfigError
from vidpred.planning.envs.base import Env
from vidpred.planning.envs.registry import make_env

EPISODES_AN_ITEM = 20
TENTHS = ("validation", "test")  # which of ten episodes are not for training: the last ones
RATE = 10.0  # frames a second that are written down; no world says its own


@dataclass(frozen=True)
class Recording:
    """`episodes` episodes of a world under a policy. Implements vidpred.data.prepared.frame_writer.Preparation.

    Episode i is a function of (seed, i), whatever else is recorded. size: the short side of the frames (None: the
    world's own); steps: the longest episode (None: the world's own).
    """

    env: str
    episodes: int
    policy: str = "random"
    size: int | None = None
    seed: int = 0
    steps: int | None = None
    channels: int = 3

    @property
    def name(self) -> str:
        return f"{self.env}, {self.policy} policy"

    @property
    def source(self) -> Path:
        return Path(self.env)

    def items(self) -> list[Item]:
        firsts = range(0, self.episodes, EPISODES_AN_ITEM)
        return [
            Item(f"episodes from {first:06}", (), detail={"first": first, "count": min(EPISODES_AN_ITEM, left)})
            for first in firsts
            for left in [self.episodes - first]
        ]

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        world = make_env(self.env, self.size)
        first = int(item.detail["first"])
        for episode in range(first, first + int(item.detail["count"])):
            yield self._episode(world, episode)

    def _episode(self, world: Env, episode: int) -> Clip:
        frames = [world.reset(int(np.random.default_rng((self.seed, episode, 0)).integers(2**31)))]
        act = world.policy(self.policy, np.random.default_rng((self.seed, episode, 1)))
        actions, states, over = [], [world.state()], False
        while not over and len(frames) <= (self.steps or world.steps):
            actions.append(act())
            seen = world.step(actions[-1])
            frames.append(seen.frame)
            states.append(world.state())
            over = seen.over
        actions.append(act())  # the one that would have come: a frame has an action
        split = dict(zip(range(10 - len(TENTHS), 10), TENTHS, strict=True)).get(episode % 10, "train")
        known = [state for state in states if state is not None]
        return Clip(
            f"episode {episode:06}", split, iter(frames), RATE, np.stack(actions).astype(np.float32),
            np.stack(known) if len(known) == len(frames) else None, cuts=(),
        )  # fmt: skip

    def classes(self) -> list[str]:
        return []

    def candidates(self) -> list[Item]:
        return self.items()

    def look(self, item: Item) -> dict[str, Any]:
        return read_through(self, item)

    def fingerprint_settings(self) -> dict[str, Any]:
        """All but how many episodes there are: more of them leave the first as they are."""
        return {"env": self.env, "policy": self.policy, "frame_size": self.size, "seed": self.seed, "steps": self.steps}


def record(recording: Recording, target: Path, workers: int | None = None, progress: bool = True) -> Summary:
    """Record what is not there yet. Raises ConfigError for an unknown world or policy, and what `prepare` raises."""
    world = make_env(recording.env, recording.size)
    if recording.policy not in world.policies:
        raise ConfigError(
            f"{recording.env} has no such policy [--policy {recording.policy}]; choose from {', '.join(world.policies)}"
        )
    return prepare(recording, target, None, workers, progress)
