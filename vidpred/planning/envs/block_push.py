"""An environment for planning: a disc, moved by actions, pushes a block to a goal; it is fully observed from above.

Lengths are in widths of the square arena, x to the right and y down. The action moves the disc; where it would overlap
the block, the block moves along the contact's normal (quasi-static, without friction): a push on a face moves the block
straight, a push on a corner moves it aside, and the disc slips off past a corner. Walls stop both; only a disc that is
trapped between block and wall may overlap the block, by less than 0.01.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidpred.planning.baselines import SimulatorModel
from vidpred.planning.costs import GoalImage, PushBehind
from vidpred.planning.envs.base import Act, StepResult, to_image
from vidpred.planning.inputs import Cost
from vidpred.planning.planning_model import Bounds, PlanningModel

RADIUS = 0.055  # of the disc
HALF = 0.1  # half of the block's side
REACH = 0.08  # distance that an action of 1 moves the disc
SUBSTEPS = 4  # of a step; each moves the disc by less than its radius, so it cannot jump into the block
MARGIN = 0.22  # between the walls and blocks or goals at the start, so that the disc fits in between
START_DISTANCE = 0.3  # minimum distance between block and goal at the start
SUCCESS_DISTANCE = 0.05
EPISODE_STEPS = 40
BACKGROUND, BLOCK, DISC = np.array([0.86, 0.86, 0.82]), np.array([0.1, 0.25, 0.75]), np.array([0.85, 0.3, 0.1])


@dataclass(frozen=True)
class BlockPushState:
    """A batch of states: positions `(..., 2)` of the centers of disc and block."""

    disc: np.ndarray
    block: np.ndarray

    def values(self) -> np.ndarray:
        """Return disc and block as `(..., 4)` float32."""
        return np.concatenate([self.disc, self.block], -1).astype(np.float32)


def advance(state: BlockPushState, actions: np.ndarray) -> BlockPushState:
    """Simulate one step of every state with actions `(..., 2)`, clipped to [-1, 1], in units of `REACH`."""
    move = np.clip(actions, -1, 1) * (REACH / SUBSTEPS)
    disc, block = np.broadcast_arrays(state.disc, state.block)
    for _ in range(SUBSTEPS):
        disc = np.clip(disc + move, RADIUS, 1 - RADIUS)
        block = np.clip(block - _overlap(disc, block), HALF, 1 - HALF)
        # A block at the wall cannot move, so the disc moves back.
        disc = np.clip(disc + _overlap(disc, block), RADIUS, 1 - RADIUS)
    return BlockPushState(disc, block)


def _overlap(disc: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Compute the overlap of disc and block `(..., 2)` along the contact's normal, which points to the disc."""
    outside = disc - block - np.clip(disc - block, -HALF, HALF)  # from the block's nearest point to the disc's center
    distance = np.linalg.norm(outside, axis=-1, keepdims=True)
    return np.asarray(outside / np.maximum(distance, 1e-9) * np.maximum(RADIUS - distance, 0))


def paint(state: BlockPushState, size: int, with_disc: bool = True) -> np.ndarray:
    """Render states from above, `(..., size, size, 3)` uint8, with edges one pixel soft."""
    centers = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = centers[None, :], centers[:, None]

    def blend(image: np.ndarray, color: np.ndarray, inside: np.ndarray) -> np.ndarray:
        cover = np.clip(inside * size + 0.5, 0, 1)[..., None]
        return np.asarray(image + cover * (color.astype(np.float32) - image))

    def offsets(center: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = center.astype(np.float32)[..., None, None]
        return x - place[..., 0, :, :], y - place[..., 1, :, :]

    across, down = offsets(state.block)
    image = blend(BACKGROUND.astype(np.float32), BLOCK, HALF - np.maximum(np.abs(across), np.abs(down)))
    if with_disc:
        across, down = offsets(state.disc)
        image = blend(image, DISC, RADIUS - np.sqrt(across**2 + down**2))
    return np.round(image * 255).astype(np.uint8)


class BlockPush:
    """The environment with the methods of Gymnasium, which it does not require.

    `state` may be set. Images are `(size, size, 3)` uint8.
    """

    action_size = 2

    def __init__(self, size: int = 32) -> None:
        self.size = size
        self.random = np.random.default_rng()
        self.goal = np.array([0.5, 0.5])
        self.state = BlockPushState(np.array([0.1, 0.1]), np.array([0.5, 0.5]))
        self.steps = 0

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode: draw the disc, the block and its goal, at least `START_DISTANCE` away from the block.

        Args:
            seed: Equal seeds start equal episodes; None: go on from the last seed.

        Returns:
            The image, `(size, size, 3)` uint8, and `info()`.
        """
        if seed is not None:
            self.random = np.random.default_rng(seed)
        random, apart = self.random, 0.0
        while apart < START_DISTANCE:
            block, self.goal = random.uniform(MARGIN, 1 - MARGIN, (2, 2))
            apart = float(np.linalg.norm(block - self.goal))
        touching = True
        while touching:
            disc = random.uniform(RADIUS, 1 - RADIUS, 2)
            touching = bool(np.abs(_overlap(disc, block)).any() or (np.abs(disc - block) < HALF).all())
        self.state, self.steps = BlockPushState(disc, block), 0
        return self.render(), self.info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Return image, reward (minus the block's distance from the goal), terminated, truncated and info."""
        action = np.asarray(action, np.float64)
        if action.shape != (2,) or not np.isfinite(action).all():
            raise ValueError(f"an action must be two finite numbers (2,), not {action}")
        self.state, self.steps = advance(self.state, action), self.steps + 1
        info = self.info()
        return self.render(), -info["distance"], info["success"], self.steps >= EPISODE_STEPS, info

    def render(self) -> np.ndarray:
        """Render the current state, `(size, size, 3)` uint8."""
        return paint(self.state, self.size)

    def goal_image(self) -> np.ndarray:
        """Render the block at its goal, without the disc: `(size, size, 3)` uint8."""
        return paint(BlockPushState(self.state.disc, self.goal), self.size, with_disc=False)

    def info(self) -> dict[str, Any]:
        """Return the state, the block's distance from the goal, and whether it is a success."""
        distance = float(np.linalg.norm(self.state.block - self.goal))
        return {"state": self.state.values(), "distance": distance, "success": distance <= SUCCESS_DISTANCE}


Policy = Callable[[BlockPush], np.ndarray]


class RandomPolicy:
    """A policy that moves to random positions at random speeds, most of them near the block, to push it often."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random, self.left = random, 0
        self.target, self.speed = np.zeros(2), 1.0

    def __call__(self, env: BlockPush) -> np.ndarray:
        random = self.random
        if self.left == 0:
            near = env.state.block + random.uniform(-1.3, 1.3, 2) * HALF
            self.target = near if random.random() < 0.6 else random.uniform(0, 1, 2)
            self.left, self.speed = int(random.integers(2, 9)), random.uniform(0.3, 1.2)
        self.left -= 1
        way = (self.target - env.state.disc) / REACH
        way *= self.speed / max(1.0, float(np.abs(way).max()))
        return np.asarray(np.clip(way + random.normal(0, 0.3, 2), -1, 1))


class ScriptedPolicy:
    """A policy that pushes the block to the goal along one axis, then along the other, with a little noise."""

    def __init__(self, random: np.random.Generator, noise: float = 0.1) -> None:
        self.random, self.noise, self.axis = random, noise, 0

    def __call__(self, env: BlockPush) -> np.ndarray:
        missing = env.goal - env.state.block
        if env.steps == 0 or abs(missing[self.axis]) < 0.02:  # the longer axis first
            self.axis = int(np.abs(missing).argmax())
        way = self._way(env.state.disc, env.state.block, missing)
        return np.clip(way / REACH + self.random.normal(0, self.noise, 2), -1, 1)

    def _way(self, disc: np.ndarray, block: np.ndarray, missing: np.ndarray) -> np.ndarray:
        """Return the disc's next displacement `(2,)`: behind the block as seen from the goal, around it if needed."""
        along, across = self.axis, 1 - self.axis
        side = float(np.sign(missing[along]))
        touch, away, way = HALF + RADIUS, disc - block, np.zeros(2)
        behind = side * away[along] < -touch + 0.03
        if behind and abs(away[across]) < 0.6 * HALF:
            way[along] = missing[along] - away[along] - side * touch
            way[across] = -0.5 * away[across]
        elif behind or abs(away[across]) > touch:
            way[along] = -away[along] - side * (touch + 0.02)
            way[across] = -away[across] if side * away[along] < -touch else 0.0
        else:
            way[across] = REACH * (np.sign(away[across]) or 1.0)
        return way


POLICIES: dict[str, Callable[[np.random.Generator], Policy]] = {"random": RandomPolicy, "scripted": ScriptedPolicy}


class BlockPushSimulator(SimulatorModel):
    """The exact model of `block_push`, which starts from the environment's state instead of the context frames."""

    action_size, history_len = BlockPush.action_size, 1

    def __init__(self, env: BlockPush) -> None:
        self.env = env

    def simulate(self, context: Tensor, actions: Tensor) -> Tensor:
        state = self.env.state
        moves = actions.double().numpy()
        plans = moves.shape[:2]
        now = BlockPushState(np.broadcast_to(state.disc, (*plans, 2)), np.broadcast_to(state.block, (*plans, 2)))
        discs, blocks = [], []
        for step in range(moves.shape[2]):
            now = advance(now, moves[:, :, step])
            discs.append(now.disc)
            blocks.append(now.block)
        frames = paint(BlockPushState(np.stack(discs, 2), np.stack(blocks, 2)), self.env.size)
        return torch.from_numpy(frames).movedim(-1, -3).float() / 255


class BlockPushEnv:
    """`BlockPush` as an `Env`; each frame size is rendered directly."""

    name = "block_push"
    policies = tuple(POLICIES)
    costs: tuple[str, ...] = ("push", "image")
    steps = EPISODE_STEPS
    choices: tuple[int, ...] = ()
    reach = None

    def __init__(self, size: int | None = None) -> None:
        self.inner = BlockPush(size or 32)
        self.bounds = Bounds.of([-1.0, -1.0], [1.0, 1.0], ("disc x", "disc y"))

    def reset(self, seed: int) -> np.ndarray:
        return self.inner.reset(seed)[0]

    reset_with_goal = reset

    def step(self, action: np.ndarray) -> StepResult:
        frame, _, success, over, _ = self.inner.step(action)
        return StepResult(frame, success or over, success)

    def state(self) -> np.ndarray:
        return self.inner.state.values()

    def neutral_action(self) -> np.ndarray:
        return np.zeros(2)

    def policy(self, name: str, random: np.random.Generator) -> Act:
        chosen = POLICIES[name](random)
        return lambda: chosen(self.inner)

    def cost(self, goal: Tensor | None, name: str | None = None) -> Cost:
        if name == "image":
            return GoalImage(self.goal_image(goal))
        place = self.inner.goal.tolist()
        return PushBehind(DISC.tolist(), BLOCK.tolist(), place, HALF + RADIUS)

    def goal_image(self, goal: Tensor | None) -> Tensor:
        return to_image(self.inner.goal_image())

    def about(self) -> dict[str, object]:
        return {}

    def simulators(self) -> dict[str, PlanningModel]:
        return {"true simulator": BlockPushSimulator(self.inner)}
