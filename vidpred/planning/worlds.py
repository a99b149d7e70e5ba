"""Worlds to record episodes of and to plan in: block_push, PushT, and every Gymnasium environment with RGB frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vidpred.data.block_push import BLOCK, DISC, EPISODE_STEPS, HALF, POLICIES, RADIUS, BlockPush
from vidpred.data.frame_writer import scaled
from vidpred.data.video import scaled_size
from vidpred.errors import ConfigError
from vidpred.planning import pusht
from vidpred.planning.costs import GoalImage, GoalThings, PushBehind, soonest
from vidpred.planning.true_world import TruePushT, TrueWorld
from vidpred.planning.world_model import Bounds, Cost, Imagines

Act = Callable[[], np.ndarray]  # the next action of a policy, in the world as it stands


@dataclass(frozen=True)
class Seen:
    """After a step: the frame `(H, W, 3)` uint8, whether the episode is over and whether its goal is reached."""

    frame: np.ndarray
    over: bool
    success: bool


class World(Protocol):
    """policies: names that `policy` knows. steps: the longest episode, of the kind that has begun. reach: see
    `vidpred.planning.receding`."""

    @property
    def name(self) -> str: ...

    @property
    def policies(self) -> tuple[str, ...]: ...

    @property
    def steps(self) -> int: ...

    @property
    def bounds(self) -> Bounds: ...

    @property
    def reach(self) -> float | None: ...

    def reset(self, seed: int) -> np.ndarray:
        """The first frame of an episode to record, a function of the seed."""

    def begin(self, seed: int) -> np.ndarray:
        """The first frame of an episode to plan in, which has a goal, a function of the seed."""

    def step(self, action: np.ndarray) -> Seen: ...

    def state(self) -> np.ndarray | None:
        """`(S,)` numbers that are recorded beside the frame; None where there are none."""

    def rest(self) -> np.ndarray:
        """The action `(A,)` that plans begin around."""

    def policy(self, name: str, random: np.random.Generator) -> Act: ...

    def cost(self, goal: Tensor | None) -> Cost:
        """Of this episode's goal; goal: a picture `(C, H, W)` of it, for worlds that do not know their own."""

    def goal_picture(self, goal: Tensor | None) -> Tensor: ...

    def truths(self) -> dict[str, Imagines]:
        """Models that know this very world, by name; none where there are none."""


class BlockPushWorld:
    """See `vidpred.data.block_push`. Each size of a frame is a render of its own."""

    name = "block_push"
    policies = tuple(POLICIES)
    steps = EPISODE_STEPS
    reach = None

    def __init__(self, size: int | None = None) -> None:
        self.inner = BlockPush(size or 32)
        self.bounds = Bounds.of([-1.0, -1.0], [1.0, 1.0])

    def reset(self, seed: int) -> np.ndarray:
        return self.inner.reset(seed)[0]

    begin = reset

    def step(self, action: np.ndarray) -> Seen:
        frame, _, success, over, _ = self.inner.step(action)
        return Seen(frame, success or over, success)

    def state(self) -> np.ndarray:
        return self.inner.state.values()

    def rest(self) -> np.ndarray:
        return np.zeros(2)

    def policy(self, name: str, random: np.random.Generator) -> Act:
        chosen = POLICIES[name](random)
        return lambda: chosen(self.inner)

    def cost(self, goal: Tensor | None) -> Cost:
        place = self.inner.goal.tolist()
        return PushBehind(DISC.tolist(), BLOCK.tolist(), place, HALF + RADIUS)

    def goal_picture(self, goal: Tensor | None) -> Tensor:
        return to_picture(self.inner.goal_picture())

    def truths(self) -> dict[str, Imagines]:
        return {"true simulator": TrueWorld(self.inner)}


class PushTWorld:
    """See `vidpred.planning.pusht`. Start and goal are two moments of an episode that the scripted policy plays, 25
    steps of the environment apart, between which the block moves by more than the test of success forgives."""

    name = pusht.NAME
    policies = tuple(pusht.POLICIES)
    reach = pusht.REACH
    recorded_steps, planned_steps = 30, 10
    steps_to_goal, steps_before = 5, 8  # of the episode that goals are from; before the start, at most

    def __init__(self, size: int | None = None) -> None:
        self.inner = pusht.PushT(size or 32)
        self.bounds = Bounds.of([pusht.MARGIN] * 2, [pusht.ARENA - pusht.MARGIN] * 2)
        self.goal: np.ndarray | None = None

    @property
    def steps(self) -> int:
        return self.recorded_steps if self.goal is None else self.planned_steps

    def reset(self, seed: int) -> np.ndarray:
        self.inner.reset(seed)
        self.goal = None
        return self.inner.render()

    def begin(self, seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        act = self.policy("scripted", random)
        self.inner.reset(seed)
        left = int(random.integers(self.steps_before + 1))
        while True:
            for _ in range(left):
                self.inner.step(act())
            start, first = self.inner.state, self.inner.render()
            for _ in range(self.steps_to_goal):
                self.inner.step(act())
            goal, left = self.inner.state, 0
            if not pusht.is_near(np.array([*goal[:2], *start[2:]]), goal):
                break
        self.goal, self.goal_frame = goal, self.inner.render()
        self.inner.state = start
        return first

    def step(self, action: np.ndarray) -> Seen:
        self.inner.step(action)
        success = self.goal is not None and bool(pusht.is_near(self.inner.state, self.goal))
        return Seen(self.inner.render(), success, success)

    def state(self) -> np.ndarray:
        return self.inner.state.astype(np.float32)

    def rest(self) -> np.ndarray:
        return self.inner.state[:2]

    def policy(self, name: str, random: np.random.Generator) -> Act:
        chosen = pusht.POLICIES[name](random)
        return lambda: chosen(self.inner)

    def cost(self, goal: Tensor | None) -> Cost:
        return soonest(GoalThings(self.goal_picture(goal), (pusht.AGENT.tolist(), pusht.BLOCK.tolist())))

    def goal_picture(self, goal: Tensor | None) -> Tensor:
        return to_picture(self.goal_frame)

    def truths(self) -> dict[str, Imagines]:
        def judge(states: np.ndarray) -> np.ndarray:
            assert self.goal is not None
            misses = np.hypot(*pusht.misses(states, self.goal))
            return np.asarray((misses + 0.1 * np.arange(states.shape[-2])).min(-1))

        return {
            "true simulator, cost of pictures": TruePushT(self.inner),
            "true simulator, cost of states": TruePushT(self.inner, judge),
        }


class GymnasiumWorld:
    """Any environment of Gymnasium with a Box or Discrete action space; discrete actions are recorded one-hot.

    Frames are what `render()` gives, scaled to `size` (short side). An observation that is a vector is the state.
    Success is what `info` calls is_success or success, or else that the episode terminated.
    """

    policies: tuple[str, ...] = ("random",)
    reach = None

    def __init__(self, name: str, size: int | None = None) -> None:
        """Raises ConfigError without gymnasium, for a name that it does not know and for other action spaces."""
        try:
            import gymnasium
        except ImportError:
            raise ConfigError(f"[--env {name}] needs gymnasium; pip install 'vidpred[sim]'") from None
        try:
            self.env: Any = gymnasium.make(name, render_mode="rgb_array")
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            reason = str(error).splitlines()[0][:120]
            raise ConfigError(f"no such world [--env {name}]: {reason}; block_push is built in") from None
        self.name, self.size = name, size
        self.discrete = isinstance(self.env.action_space, gymnasium.spaces.Discrete)
        if not self.discrete and not isinstance(self.env.action_space, gymnasium.spaces.Box):
            raise ConfigError(f"its actions are neither Box nor Discrete [--env {name}]: {self.env.action_space}")
        limit = self.env.spec.max_episode_steps if self.env.spec else None
        self.steps = int(limit or 200)
        self.bounds = self._bounds()

    def _bounds(self) -> Bounds:
        space = self.env.action_space
        if self.discrete:
            return Bounds.of(np.zeros(int(space.n)), np.ones(int(space.n)))
        low, high = np.ravel(space.low).astype(np.float32), np.ravel(space.high).astype(np.float32)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigError(f"its actions have no bounds [--env {self.name}]; wrap it in a bounded Box")
        return Bounds.of(low, high)

    def reset(self, seed: int) -> np.ndarray:
        observation, _ = self.env.reset(seed=seed)
        self.env.action_space.seed(seed)
        self._note(observation)
        return self._frame()

    begin = reset

    def step(self, action: np.ndarray) -> Seen:
        space = self.env.action_space
        given = int(np.argmax(action)) if self.discrete else action.reshape(space.shape).astype(space.dtype)
        observation, _, terminated, truncated, info = self.env.step(given)
        self._note(observation)
        success = bool(info.get("is_success", info.get("success", terminated)))
        return Seen(self._frame(), bool(terminated or truncated or success), success)

    def _note(self, observation: Any) -> None:
        is_vector = isinstance(observation, np.ndarray) and observation.ndim == 1 and observation.size <= 1024
        self._state = observation.astype(np.float32) if is_vector else None

    def _frame(self) -> np.ndarray:
        frame = np.asarray(self.env.render())
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ConfigError(f"it renders no RGB frames [--env {self.name}]: {frame.dtype} {frame.shape}")
        return scaled(frame, scaled_size(frame.shape[0], frame.shape[1], self.size))

    def state(self) -> np.ndarray | None:
        return self._state

    def rest(self) -> np.ndarray:
        return (self.bounds.low.numpy() + self.bounds.high.numpy()) / 2

    def policy(self, name: str, random: np.random.Generator) -> Act:
        count = int(self.env.action_space.n) if self.discrete else 0

        def act() -> np.ndarray:
            drawn = self.env.action_space.sample()
            return np.eye(count)[int(drawn)] if self.discrete else np.ravel(drawn).astype(np.float64)

        return act

    def cost(self, goal: Tensor | None) -> Cost:
        return GoalImage(self.goal_picture(goal))

    def goal_picture(self, goal: Tensor | None) -> Tensor:
        if goal is None:
            raise ConfigError(f"[--env {self.name}] says no goal of its own; give a picture of it, --goal FILE.png")
        return goal

    def truths(self) -> dict[str, Imagines]:
        return {}


def make_world(name: str, size: int | None = None) -> World:
    """size: the short side of frames in pixels; None: the world's own. Raises ConfigError."""
    own: dict[str, Callable[[int | None], World]] = {BlockPushWorld.name: BlockPushWorld, PushTWorld.name: PushTWorld}
    return own[name](size) if name in own else GymnasiumWorld(name, size)


def world_state(world: World) -> Tensor | None:
    """The state that is recorded beside the newest frame, `(S,)` float32; None where there is none."""
    state = world.state()
    return None if state is None else torch.from_numpy(np.asarray(state, np.float32).copy())


def to_picture(frame: np.ndarray) -> Tensor:
    """`(H, W, 3)` uint8 -> `(3, H, W)` float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float() / 255
