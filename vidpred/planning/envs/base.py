"""The interface of environments to record and plan in: block_push, PushT and Gymnasium environments with RGB frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vidpred.planning.inputs import Cost
from vidpred.planning.planning_model import Bounds, PlanningModel

Act = Callable[[], np.ndarray]  # the next action of a policy in the environment's current state


@dataclass(frozen=True)
class StepResult:
    """The result of a step.

    Attributes:
        frame: `(H, W, 3)` uint8.
        over: Whether the episode is over.
        success: Whether the goal was reached during the step.
        at_goal: Whether it is reached at the end of the step, in protocols that go on after a success; None: others.
    """

    frame: np.ndarray
    over: bool
    success: bool
    at_goal: bool | None = None


class Env(Protocol):
    """An environment to record episodes of and to plan in."""

    @property
    def name(self) -> str:
        """The environment's name."""

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of the policies that `policy` accepts."""

    @property
    def steps(self) -> int:
        """Maximum length of the current kind of episode."""

    @property
    def bounds(self) -> Bounds:
        """Bounds of the actions."""

    @property
    def reach(self) -> float | None:
        """Maximum difference of consecutive actions, see `MPCController`; None: unlimited."""

    @property
    def choices(self) -> tuple[int, ...]:
        """Number of options of each choice of one-hot actions; empty for other actions."""

    def about(self) -> dict[str, object]:
        """Return the settings of the episodes with a goal, for reports; empty if there are none."""

    def reset(self, seed: int) -> np.ndarray:
        """Start an episode to record, the same for the same seed; return its first frame, `(H, W, 3)` uint8."""

    def reset_with_goal(self, seed: int) -> np.ndarray:
        """Start an episode with a goal to plan for, the same for the same seed; return its first frame as `reset`."""

    def step(self, action: np.ndarray) -> StepResult:
        """Execute an action `(A,)`; return the next frame, and whether the episode is over and the goal is reached."""

    def state(self) -> np.ndarray | None:
        """Return the state `(S,)` to record with the frame; None if there is none."""

    def neutral_action(self) -> np.ndarray:
        """Return the action `(A,)` that starts the first search for a plan."""

    def policy(self, name: str, random: np.random.Generator) -> Act:
        """Return a policy by name, one of `policies`: a function that returns the next action `(A,)`.

        Args:
            name: Its name.
            random: What it draws from.
        """

    @property
    def costs(self) -> tuple[str, ...]:
        """Names of the costs that `cost` accepts, the default first."""

    def cost(self, goal: Tensor | None, name: str | None = None) -> Cost:
        """Return the cost for this episode's goal.

        Args:
            goal: Image of the goal, `(C, H, W)`, for environments that do not define one.
            name: One of `costs`; None: the first.
        """

    def goal_image(self, goal: Tensor | None) -> Tensor:
        """Return an image of this episode's goal, `(C, H, W)`; see `cost`."""

    def simulators(self) -> dict[str, PlanningModel]:
        """Return the exact models of this environment, by name; empty if there are none."""


def env_state(env: Env) -> Tensor | None:
    """Return the state to record with the newest frame, `(S,)` float32; None if there is none."""
    state = env.state()
    return None if state is None else torch.from_numpy(np.asarray(state, np.float32).copy())


def to_image(frame: np.ndarray) -> Tensor:
    """Convert `(H, W, 3)` uint8 to `(3, H, W)` float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float() / 255
