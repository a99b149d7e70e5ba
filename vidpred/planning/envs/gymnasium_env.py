"""Gymnasium environments that render RGB frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from torch import Tensor

from vidpred.data.resize import resize_frame
from vidpred.data.videos.reader import scaled_size
from vidpred.errors import ConfigError, install_extra
from vidpred.planning.costs import GoalImage
from vidpred.planning.envs.action_spaces import ActionVectors
from vidpred.planning.envs.base import Act, StepResult
from vidpred.planning.inputs import Cost
from vidpred.planning.planning_model import Bounds, PlanningModel

MAX_STATE = 1024  # values; longer vectors are images or sounds


class GymnasiumEnv:
    """A Gymnasium environment; see `ActionVectors` for its actions.

    Frames are those of `render()`, or the images of the observations that `cameras` names, stacked along the channels.
    They are scaled to `size` (short side). A vector observation, or the one named by `state_key`
    of a dictionary, is the state. Success is `is_success` or `success` of `info`, or else the termination of the
    episode.
    """

    policies: tuple[str, ...] = ("random",)
    costs: tuple[str, ...] = ("image",)
    reach = None

    def __init__(
        self, name: str, size: int | None = None, state_key: str | None = None, cameras: Sequence[str] = ()
    ) -> None:
        """Make the environment. Raises ConfigError without gymnasium, for unknown names and other action spaces."""
        try:
            import gymnasium
        except ImportError:
            raise ConfigError(f"[--env {name}] needs gymnasium; {install_extra('sim')}") from None
        try:
            self.env: Any = gymnasium.make(name, render_mode="rgb_array")
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            reason = str(error).splitlines()[0][:120].rstrip(".")
            raise ConfigError(f"no such environment [--env {name}]: {reason}; block_push is built in") from None
        self.name, self.size = name, size
        self.actions = ActionVectors(self.env.action_space, f"--env {name}")
        self.entries = _leaves(self.env.observation_space)
        self.state_key, self.cameras = self._choose_state(state_key), tuple(cameras)
        images = [key for key, space in self.entries.items() if len(getattr(space, "shape", None) or ()) == 3]
        for camera in cameras:
            if camera not in images:
                raise ConfigError(
                    f"no image of the observations [--camera {camera}]; choose from {', '.join(images) or 'none'}, or "
                    "leave it out to record what the environment renders"
                )
        limit = self.env.spec.max_episode_steps if self.env.spec else None
        self.steps = int(limit or 200)

    @property
    def bounds(self) -> Bounds:
        """Bounds of the actions. Raises ConfigError for unbounded ones, which can be recorded but not planned."""
        low, high = self.actions.low, self.actions.high
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigError(f"the actions have no bounds [--env {self.name}]; wrap them in a bounded Box")
        return Bounds.of(low, high)

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of options of each choice of one-hot actions; empty for other actions."""
        return tuple(self.actions.sizes)

    def _choose_state(self, key: str | None) -> str | None:
        """Return the key of the state in observations that are dictionaries; None for other observations."""
        if not self.entries:
            if key is not None:
                raise ConfigError(f"the observations are no dictionary [--state {key}]; remove --state")
            return None
        vectors = [name for name, space in self.entries.items() if hasattr(space, "low") and _is_vector(space.shape)]
        if key is not None and key not in vectors:
            raise ConfigError(f"no vector of the observations [--state {key}]; choose from {', '.join(vectors)}")
        if key is None and len(vectors) > 1:
            raise ConfigError(
                f"the observations have several vectors [--env {self.name}]; set --state to one of {', '.join(vectors)}"
            )
        return key or next(iter(vectors), None)

    def reset(self, seed: int) -> np.ndarray:
        observation, _ = self.env.reset(seed=seed)
        self.env.action_space.seed(seed)
        self._note(observation)
        return self._frame()

    reset_with_goal = reset

    def step(self, action: np.ndarray) -> StepResult:
        observation, _, terminated, truncated, info = self.env.step(self.actions.decode(action))
        self._note(observation)
        success = bool(info.get("is_success", info.get("success", terminated)))
        return StepResult(self._frame(), bool(terminated or truncated or success), success)

    def _note(self, observation: Any) -> None:
        self.views = [np.asarray(_entry(observation, camera)) for camera in self.cameras]
        if self.state_key is not None:
            observation = _entry(observation, self.state_key)
        is_state = isinstance(observation, np.ndarray | np.floating) and _is_vector(np.shape(observation))
        self._state = np.asarray(observation, np.float32).ravel() if is_state else None

    def _frame(self) -> np.ndarray:
        views = dict(zip(self.cameras, self.views, strict=True)) or {"render()": np.asarray(self.env.render())}
        for name, frame in views.items():
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
                raise ConfigError(
                    f"{name} is {frame.dtype} {frame.shape} [--env {self.name}]; it must be uint8 (H, W, 3)"
                )
        first = next(iter(views.values()))
        size = scaled_size(first.shape[0], first.shape[1], self.size)
        return np.concatenate([resize_frame(frame, size) for frame in views.values()], 2)

    def state(self) -> np.ndarray | None:
        return self._state

    def neutral_action(self) -> np.ndarray:
        return ((self.bounds.low + self.bounds.high) / 2).numpy()

    def policy(self, name: str, random: np.random.Generator) -> Act:
        return lambda: self.actions.encode(self.env.action_space.sample())

    def cost(self, goal: Tensor | None, name: str | None = None) -> Cost:
        return GoalImage(self.goal_image(goal))

    def goal_image(self, goal: Tensor | None) -> Tensor:
        if goal is None:
            raise ConfigError(f"[--env {self.name}] defines no goal; give an image of it, --goal FILE.png")
        return goal

    def about(self) -> dict[str, object]:
        return {}

    def simulators(self) -> dict[str, PlanningModel]:
        return {}


def _leaves(space: Any, prefix: str = "") -> dict[str, Any]:
    """Return the spaces of observations that are dictionaries by key, nested ones as outer/inner; empty for others."""
    found: dict[str, Any] = {}
    for name, inner in (space.spaces if isinstance(getattr(space, "spaces", None), Mapping) else {}).items():
        found |= _leaves(inner, f"{prefix}{name}/") or {f"{prefix}{name}": inner}
    return found


def _entry(observation: Any, key: str) -> Any:
    """Return an entry of an observation by its key, see `_leaves`."""
    if key in observation:
        return observation[key]
    outer, _, inner = key.partition("/")
    return _entry(observation[outer], inner)


def _is_vector(shape: tuple[int, ...] | None) -> bool:
    """Return whether values of a shape are the state: a number or a vector, not an image."""
    return shape is not None and len(shape) <= 1 and prod(shape) <= MAX_STATE
