"""Gymnasium environments that render RGB frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from vidpred.data.resize import scaled
from vidpred.data.videos.reader import scaled_size
from vidpred.errors import ConfigError
from vidpred.planning.costs import GoalImage
from vidpred.planning.envs.base import Act, StepResult
from vidpred.planning.inputs import Cost
from vidpred.planning.world_model import Bounds, PlanningModel


class GymnasiumEnv:
    """A Gymnasium environment with a Box or Discrete action space; discrete actions are recorded one-hot.

    Frames are those of `render()`, scaled to `size` (short side). A vector observation is the state. Success is
    `is_success` or `success` of `info`, or else the termination of the episode.
    """

    policies: tuple[str, ...] = ("random",)
    costs: tuple[str, ...] = ("image",)
    reach = None

    def __init__(self, name: str, size: int | None = None) -> None:
        """Make the environment. Raises ConfigError without gymnasium, for unknown names and other action spaces."""
        try:
            import gymnasium
        except ImportError:
            raise ConfigError(f"[--env {name}] needs gymnasium; pip install 'vidpred[sim]'") from None
        try:
            self.env: Any = gymnasium.make(name, render_mode="rgb_array")
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            reason = str(error).splitlines()[0][:120]
            raise ConfigError(f"no such environment [--env {name}]: {reason}; block_push is built in") from None
        self.name, self.size = name, size
        self.discrete = isinstance(self.env.action_space, gymnasium.spaces.Discrete)
        if not self.discrete and not isinstance(self.env.action_space, gymnasium.spaces.Box):
            raise ConfigError(
                f"unsupported action space {self.env.action_space} [--env {name}]; it must be Box or Discrete"
            )
        limit = self.env.spec.max_episode_steps if self.env.spec else None
        self.steps = int(limit or 200)
        self.bounds = self._bounds()

    def _bounds(self) -> Bounds:
        space = self.env.action_space
        if self.discrete:
            return Bounds.of(np.zeros(int(space.n)), np.ones(int(space.n)))
        low, high = np.ravel(space.low).astype(np.float32), np.ravel(space.high).astype(np.float32)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigError(f"the actions have no bounds [--env {self.name}]; wrap them in a bounded Box")
        return Bounds.of(low, high)

    def reset(self, seed: int) -> np.ndarray:
        observation, _ = self.env.reset(seed=seed)
        self.env.action_space.seed(seed)
        self._note(observation)
        return self._frame()

    reset_with_goal = reset

    def step(self, action: np.ndarray) -> StepResult:
        space = self.env.action_space
        given = int(np.argmax(action)) if self.discrete else action.reshape(space.shape).astype(space.dtype)
        observation, _, terminated, truncated, info = self.env.step(given)
        self._note(observation)
        success = bool(info.get("is_success", info.get("success", terminated)))
        return StepResult(self._frame(), bool(terminated or truncated or success), success)

    def _note(self, observation: Any) -> None:
        is_vector = isinstance(observation, np.ndarray) and observation.ndim == 1 and observation.size <= 1024
        self._state = observation.astype(np.float32) if is_vector else None

    def _frame(self) -> np.ndarray:
        frame = np.asarray(self.env.render())
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ConfigError(
                f"render() returns {frame.dtype} {frame.shape} [--env {self.name}]; it must return uint8 (H, W, 3)"
            )
        return scaled(frame, scaled_size(frame.shape[0], frame.shape[1], self.size))

    def state(self) -> np.ndarray | None:
        return self._state

    def neutral_action(self) -> np.ndarray:
        return ((self.bounds.low + self.bounds.high) / 2).numpy()

    def policy(self, name: str, random: np.random.Generator) -> Act:
        count = int(self.env.action_space.n) if self.discrete else 0

        def act() -> np.ndarray:
            drawn = self.env.action_space.sample()
            return np.eye(count)[int(drawn)] if self.discrete else np.ravel(drawn).astype(np.float64)

        return act

    def cost(self, goal: Tensor | None, name: str | None = None) -> Cost:
        return GoalImage(self.goal_image(goal))

    def goal_image(self, goal: Tensor | None) -> Tensor:
        if goal is None:
            raise ConfigError(f"[--env {self.name}] defines no goal; give an image of it, --goal FILE.png")
        return goal

    def simulators(self) -> dict[str, PlanningModel]:
        return {}
