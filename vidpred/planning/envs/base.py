"""Worlds to record episodes of and to plan in: block_push, PushT, and every Gymnasium environment with RGB frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vidpred.planning.world_model import Bounds, Cost, PlanningModel

Act = Callable[[], np.ndarray]  # the next action of a policy, in the world as it stands


@dataclass(frozen=True)
class StepResult:
    """After a step: the frame `(H, W, 3)` uint8, whether the episode is over and whether its goal is reached."""

    frame: np.ndarray
    over: bool
    success: bool


class Env(Protocol):
    """policies: names that `policy` knows. steps: the longest episode, of the kind that has begun. reach: see
    `vidpred.planning.controller`."""

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

    def reset_with_goal(self, seed: int) -> np.ndarray:
        """The first frame of an episode to plan in, which has a goal, a function of the seed."""

    def step(self, action: np.ndarray) -> StepResult: ...

    def state(self) -> np.ndarray | None:
        """`(S,)` numbers that are recorded beside the frame; None where there are none."""

    def neutral_action(self) -> np.ndarray:
        """The action `(A,)` that plans begin around."""

    def policy(self, name: str, random: np.random.Generator) -> Act: ...

    def cost(self, goal: Tensor | None) -> Cost:
        """Of this episode's goal; goal: an image `(C, H, W)` of it, for worlds that do not know their own."""

    def goal_image(self, goal: Tensor | None) -> Tensor: ...

    def simulators(self) -> dict[str, PlanningModel]:
        """Models that know this very world, by name; none where there are none."""


def world_state(world: Env) -> Tensor | None:
    """The state that is recorded beside the newest frame, `(S,)` float32; None where there is none."""
    state = world.state()
    return None if state is None else torch.from_numpy(np.asarray(state, np.float32).copy())


def to_image(frame: np.ndarray) -> Tensor:
    """`(H, W, 3)` uint8 -> `(3, H, W)` float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float() / 255
