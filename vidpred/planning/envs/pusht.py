"""PushT (gym-pusht, the extra `sim`): an agent pushes a T-shaped block.

Lengths are in pixels of the arena of 512 x 512, x to the right and y down. An action is the target position of the
agent, as in the environment, held for `HELD_STEPS` of its steps (0.5 s). After that the agent has almost stopped, so
that one image determines the state. States are DINO-WM's: agent x y, block x y, block's angle, agent's velocity x y.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidpred.errors import ConfigError, install_extra
from vidpred.planning.baselines import SimulatorModel
from vidpred.planning.costs import GoalImage, GoalObjects, best_step
from vidpred.planning.envs.base import Act, StepResult, to_image
from vidpred.planning.envs.pusht_painter import PushTPainter
from vidpred.planning.inputs import Cost
from vidpred.planning.object_pose import ObjectPose
from vidpred.planning.planning_model import Bounds, PlanningModel, Plans

NAME = "gym_pusht/PushT-v0"
ARENA = 512.0
MARGIN = 20.0  # between target positions and the walls
HELD_STEPS = 5  # of the environment, for one action
REACH = 80.0  # maximum distance of the policies' target positions from the agent
IMAGE = 256  # side of the environment's images, which it scales without averaging; frames are scaled down from them
NEAR_POSITION, NEAR_ANGLE = 20.0, np.pi / 9
AGENT, BLOCK = np.array([65, 105, 225]) / 255, np.array([119, 136, 153]) / 255  # colors, as in the environment's code
# Colors as rendered: pymunk draws outlines in a shape's color and fills it with 1.2 times that. These means of both fit
# recorded images best: of the block's positions 99 % are read within 2.5 instead of 7.4 pixels with the colors above.
RENDERED = (1.1 * AGENT, 1.16 * BLOCK)
STEP_COST = 0.1  # of a later success, in tolerances of success
BAR, STEM = np.array([[-60.0, 0.0], [60.0, 30.0]]), np.array([[-15.0, 30.0], [15.0, 120.0]])  # the T, in its own frame
MIDDLE = np.array([0.0, 45.0])


class CollisionHandler:
    """The collision handler of pymunk 6 for pymunk 7: a callback that is set becomes one of `Space.on_collision`."""

    def __init__(self, space: Any, first: int, second: int) -> None:
        vars(self).update(space=space, kinds=(first, second))

    def __setattr__(self, name: str, callback: Callable[..., Any]) -> None:
        vars(self)["space"].on_collision(*vars(self)["kinds"], **{name: callback})


class PushT:
    """The environment with a settable state. Images are `(size, size, 3)` uint8."""

    def __init__(self, size: int) -> None:
        """Make the environment. Raises ConfigError without gym-pusht."""
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import gym_pusht  # noqa: F401, it registers its environment
            import gymnasium
            import pymunk
        except ImportError as error:
            raise ConfigError(f"[--env {NAME}] needs gym-pusht ({error}); {install_extra('sim')}") from None
        if not hasattr(pymunk.Space, "add_collision_handler"):  # pymunk 7, while gym-pusht is written for 6
            pymunk.Space.add_collision_handler = lambda space, *kinds: CollisionHandler(space, *kinds)
        made = gymnasium.make(NAME, observation_width=IMAGE, observation_height=IMAGE)
        self.size, self.painter = size, PushTPainter(size, IMAGE)
        self.env: Any = made.unwrapped
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Draw the positions of agent and block and the block's angle, the same for the same seed."""
        self.env.reset(seed=seed)

    @property
    def state(self) -> np.ndarray:
        """The state `(7,)`."""
        agent, block = self.env.agent, self.env.block
        return np.array([*agent.position, *block.position, block.angle, *agent.velocity])

    @state.setter
    def state(self, state: np.ndarray) -> None:
        agent, block = self.env.agent, self.env.block
        agent.position, agent.velocity = tuple(state[:2].tolist()), tuple(state[5:].tolist())
        block.angle = float(state[4])  # first, because a rotation about the center of gravity changes the position
        block.position, block.velocity, block.angular_velocity = tuple(state[2:4].tolist()), (0.0, 0.0), 0.0
        for body in (agent, block):
            self.env.space.reindex_shapes_for_body(body)

    def advance(self, action: np.ndarray, steps: int = HELD_STEPS) -> None:
        """Hold an action `(2,)` for a number of steps of the environment.

        The result is exactly that of its `step`, without its reward, which takes most of the time. Nothing stops the
        agent, so its motion is computed in plain numbers.
        """
        agent, step, dt = self.env.agent, self.env.space.step, self.env.dt
        pull, drag, (target_x, target_y) = self.env.k_p, self.env.k_v, (float(value) for value in action)
        (x, y), (speed_x, speed_y) = agent.position, agent.velocity
        for _ in range(steps * round(1 / (dt * self.env.control_hz))):
            speed_x += (pull * (target_x - x) + drag * (0 - speed_x)) * dt
            speed_y += (pull * (target_y - y) + drag * (0 - speed_y)) * dt
            agent.velocity = (speed_x, speed_y)
            step(dt)
            x, y = x + speed_x * dt, y + speed_y * dt

    def render(self) -> np.ndarray:
        """Render the current state, without the mark of the last action that the environment's `render` adds."""
        return self.painter.paint(self.state)


def rotate_points(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotate points `(..., 2)` by angles `(...)` in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * points[..., 0] - sin * points[..., 1], sin * points[..., 0] + cos * points[..., 1]], -1)


def angle_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute the angle, `(...)` in [0, pi], between directions that are given as angles `(...)` in radians."""
    return np.asarray(np.abs((one - other + np.pi) % (2 * np.pi) - np.pi))


def misses(states: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the distances of states `(..., 7)` from a goal.

    Returns:
        The distance of the positions of agent and block, as one point in four dimensions, in units of `NEAR_POSITION`,
        and of the block's angle in units of `NEAR_ANGLE`.
    """
    position = np.linalg.norm(states[..., :4] - goal[:4], axis=-1) / NEAR_POSITION
    return position, angle_between(states[..., 4], goal[4]) / NEAR_ANGLE


def is_near(states: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Return whether states `(..., 7)` fulfill DINO-WM's criterion of success for a goal state, `(...)` bool.

    Zhou et al. 2024; `eval_state` of its env/pusht.
    """
    position, angle = misses(states, goal)
    return (position < 1) & (angle < 1)


Policy = Callable[[PushT], np.ndarray]


class RandomPolicy:
    """A policy that moves to random positions at random speeds, most of them on or near the block."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random, self.left, self.target, self.speed = random, 0, np.zeros(2), 1.0

    def __call__(self, env: PushT) -> np.ndarray:
        random, state = self.random, env.state
        if self.left == 0:
            near = block_center(state) + random.normal(0, 60, 2)
            self.target = near if random.random() < 0.7 else random.uniform(MARGIN, ARENA - MARGIN, 2)
            self.left, self.speed = int(random.integers(1, 6)), random.uniform(0.3, 1)
        self.left -= 1
        return action_towards(state, self.target, self.speed, random.normal(0, 0.2, 2))


class PushingPolicy:
    """A policy that pushes the block repeatedly: around it to a start position, then through a random point of it.

    One action in five is random, so that recorded actions are as varied as those that planners try.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.path: list[tuple[np.ndarray, float]] = []  # target positions and speeds

    def __call__(self, env: PushT) -> np.ndarray:
        state = env.state
        while self.path and np.linalg.norm(self.path[0][0] - state[:2]) < 15:
            self.path.pop(0)
        if not self.path:
            self.path = self._push(state)
        target, speed = self.path[0]
        if self.random.random() < 0.2:
            return action_towards(state, state[:2], 1, self.random.uniform(-1, 1, 2))
        if np.linalg.norm(target - state[:2]) < speed * REACH:
            self.path.pop(0)
        return action_towards(state, target, speed, self.random.normal(0, 0.1, 2))

    def _push(self, state: np.ndarray) -> list[tuple[np.ndarray, float]]:
        random, middle = self.random, block_center(state)
        while True:
            low, high = BAR if random.random() < 0.5 else STEM
            point = state[2:4] + rotate_points(random.uniform(low, high), state[4])
            angle = random.uniform(-np.pi, np.pi)
            way = np.array([np.cos(angle), np.sin(angle)])
            start, end = point - way * 110, point + way * random.uniform(0, 90)
            outwards = float((middle - ARENA / 2) @ way)  # a block at the wall is pushed inwards
            if outwards < 80 and np.all((start > MARGIN) & (start < ARENA - MARGIN)):
                break
        path, speed = [(start, 1.0)], random.uniform(0.35, 1)
        if crosses(state[:2], start, middle):
            side = rotate_points(middle - start, np.array(np.pi / 2))
            side = side / np.linalg.norm(side) * 125
            corners = [np.clip(middle + sign * side, MARGIN, ARENA - MARGIN) for sign in (1, -1)]
            path.insert(0, (min(corners, key=lambda corner: float(np.linalg.norm(corner - state[:2]))), 1.0))
        return [*path, (end, speed)]


def block_center(state: np.ndarray) -> np.ndarray:
    """Compute the middle of the block, `(2,)`, in a state `(7,)`."""
    return np.asarray(state[2:4] + rotate_points(MIDDLE, state[4]))


def action_towards(state: np.ndarray, target: np.ndarray, speed: float, noise: np.ndarray) -> np.ndarray:
    """Compute the action that moves the agent up to speed * `REACH` towards a target; noise `(2,)` is in `REACH`."""
    way = (target - state[:2]) / REACH
    way = way * min(1.0, speed / max(float(np.linalg.norm(way)), 1e-6)) + noise
    return np.asarray(np.clip(state[:2] + np.clip(way, -1, 1) * REACH, MARGIN, ARENA - MARGIN))


def crosses(start: np.ndarray, end: np.ndarray, middle: np.ndarray, distance: float = 70.0) -> bool:
    """Return whether a straight way between two points passes another at less than `distance`, all `(2,)`."""
    way = end - start
    share = np.clip((middle - start) @ way / max(float(way @ way), 1e-6), 0, 1)
    return bool(np.linalg.norm(start + share * way - middle) < distance)


POLICIES: dict[str, Callable[[np.random.Generator], Policy]] = {"random": RandomPolicy, "scripted": PushingPolicy}


class PushTSimulator(SimulatorModel):
    """The exact model of PushT: a second environment, set to the state of the first, plays every plan."""

    action_size, history_len = 2, 1

    def __init__(self, env: PushT, cost_of_states: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        """Make the second environment.

        Args:
            env: The environment.
            cost_of_states: Maps states `(N, K, 7)` to costs `(N,)`, which replace the costs of images.
        """
        self.env, self.cost_of_states, self.played = env, cost_of_states, PushT(env.size)

    def simulate(self, context: Tensor, actions: Tensor) -> Tensor:
        frames = [[self.played.render() for _ in self._play(plan)] for plan in actions.flatten(0, 1)]
        images = torch.from_numpy(np.array(frames)).movedim(-1, -3).float() / 255
        return torch.unflatten(images, 0, actions.shape[:2])

    def score(self, plans: Plans, cost: Cost | Sequence[Cost]) -> Tensor:
        if self.cost_of_states is None:
            return super().score(plans, cost)
        played = [[self.played.state for _ in self._play(plan)] for plan in plans.actions.flatten(0, 1)]
        return torch.from_numpy(self.cost_of_states(np.array(played))).float()

    def _play(self, plan: Tensor) -> Iterator[None]:
        """Play the steps of a plan `(K, A)`, and yield after each."""
        self.played.state = self.env.state
        for action in plan.double().numpy():
            self.played.advance(action)
            yield


def pose_cost(goal: Tensor, background: Tensor) -> ObjectPose:
    """Return the cost of frames that reads the test of success from images: `misses` of the goal image's poses."""
    colors = [color.tolist() for color in RENDERED]
    return ObjectPose(goal, colors, background, (False, True), NEAR_POSITION / ARENA, NEAR_ANGLE)


class PushTEnv:
    """`PushT` as an `Env`.

    Start and goal are two moments of an episode of the scripted policy, 25 steps of the environment apart, between
    which the block moves by more than the tolerance of success. Success is tested after every action.

    In the protocol "dino-wm", starts are any moments of such episodes, also of those in which the block does not move,
    and success is tested after every step of the environment. Episodes go on after it, to test whether the goal is
    still reached at the end.
    """

    name = NAME
    policies = tuple(POLICIES)
    costs: tuple[str, ...] = ("pose", "objects", "image")
    protocols = ("dino-wm",)
    reach = REACH
    choices: tuple[int, ...] = ()
    recorded_steps, planned_steps = 30, 10
    steps_to_goal, steps_before = 5, 8  # from start to goal; maximum before the start

    def __init__(self, size: int | None = None, protocol: str | None = None) -> None:
        self.protocol = protocol
        self.inner = PushT(size or 32)
        self.background = to_image(self.inner.painter.background)
        self.bounds = Bounds.of([MARGIN] * 2, [ARENA - MARGIN] * 2, ("agent x", "agent y"))
        self.goal: np.ndarray | None = None

    @property
    def steps(self) -> int:
        return self.recorded_steps if self.goal is None else self.planned_steps

    def reset(self, seed: int) -> np.ndarray:
        self.inner.reset(seed)
        self.goal = None
        return self.inner.render()

    def reset_with_goal(self, seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        act = self.policy("scripted", random)
        self.inner.reset(seed)
        latest = self.recorded_steps - self.steps_to_goal if self.protocol else self.steps_before
        left = int(random.integers(latest + 1))
        while True:
            for _ in range(left):
                self.inner.advance(act())
            start, first = self.inner.state, self.inner.render()
            for _ in range(self.steps_to_goal):
                self.inner.advance(act())
            goal, left = self.inner.state, 0
            if self.protocol or not is_near(np.array([*goal[:2], *start[2:]]), goal):
                break
        self.goal, self.goal_frame = goal, self.inner.render()
        self.inner.state = start
        return first

    def step(self, action: np.ndarray) -> StepResult:
        if self.protocol is None or self.goal is None:
            self.inner.advance(action)
            success = self._is_near()
            return StepResult(self.inner.render(), success, success)
        found = []
        for _ in range(HELD_STEPS):
            self.inner.advance(action, 1)
            found.append(self._is_near())
        return StepResult(self.inner.render(), False, any(found), found[-1])

    def _is_near(self) -> bool:
        return self.goal is not None and bool(is_near(self.inner.state, self.goal))

    def about(self) -> dict[str, object]:
        """Return the settings of the episodes with a goal."""
        tested = "after every step of the environment; the episode goes on" if self.protocol else "after every action"
        starts = "any moment of scripted episodes" if self.protocol else "scripted episodes in which the block moves"
        return {
            "name": self.protocol or "pusht", "goal_offset": HELD_STEPS * self.steps_to_goal,
            "budget": HELD_STEPS * self.planned_steps, "steps_an_action": HELD_STEPS,
            "position_tolerance": NEAR_POSITION, "angle_tolerance": round(float(NEAR_ANGLE), 4), "arena": ARENA,
            "success_tested": tested, "starts": starts,
            "strict_success": "within both tolerances at the end" if self.protocol else None,
        }  # fmt: skip

    def state(self) -> np.ndarray:
        return self.inner.state.astype(np.float32)

    def neutral_action(self) -> np.ndarray:
        return self.inner.state[:2]

    def policy(self, name: str, random: np.random.Generator) -> Act:
        chosen = POLICIES[name](random)
        return lambda: chosen(self.inner)

    def cost(self, goal: Tensor | None, name: str | None = None) -> Cost:
        image = self.goal_image(goal)
        if name == "objects":
            return best_step(GoalObjects(image, (AGENT.tolist(), BLOCK.tolist())))
        if name == "image":
            return best_step(GoalImage(image))
        return best_step(pose_cost(image, self.background), delay=0, per_step=STEP_COST)

    def goal_image(self, goal: Tensor | None) -> Tensor:
        return to_image(self.goal_frame)

    def simulators(self) -> dict[str, PlanningModel]:
        def cost_of_states(states: np.ndarray) -> np.ndarray:
            assert self.goal is not None
            missed = np.hypot(*misses(states, self.goal))
            return np.asarray((missed + STEP_COST * np.arange(states.shape[-2])).min(-1))

        return {
            "true simulator, cost of images": PushTSimulator(self.inner),
            "true simulator, cost of states": PushTSimulator(self.inner, cost_of_states),
        }
