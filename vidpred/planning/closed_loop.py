"""Plays episodes under receding-horizon control, and says how often the goal was reached and how long deciding took."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vidpred.media.render import Panel, compose, stack
from vidpred.planning.controller import MPCController
from vidpred.planning.envs.base import Env, to_image, world_state

SHOWN_STEPS = 8  # of a plan, in a video
FIRST_SEED = 1_000_000  # of the first episode: no recording with a seed of its own begins there


@dataclass
class Episode:
    """seen: frames `(H, W, 3)` uint8, one more than steps. imagined: step -> frames `(K, C, H, W)` of the plan made
    then. seconds: of every decision."""

    seed: int
    success: bool = False
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    seen: list[np.ndarray] = field(default_factory=list)
    imagined: dict[int, Tensor] = field(default_factory=dict)
    goal: Tensor | None = None


@dataclass(frozen=True)
class Outcome:
    """Episodes played: how many reached their goal, with the 95 % confidence interval of the rate (Wilson 1927)."""

    episodes: int
    successes: int
    mean_steps: float | None  # of those that succeeded
    median_seconds: float | None  # of a decision
    worst_seconds: float | None

    @property
    def rate(self) -> float:
        return self.successes / self.episodes

    def to_json(self) -> dict[str, object]:
        low, high = wilson_interval(self.successes, self.episodes)
        return {
            "episodes": self.episodes, "successes": self.successes, "rate": round(self.rate, 4),
            "interval_95": [round(low, 4), round(high, 4)], "mean_steps_to_success": self.mean_steps,
            "median_seconds_a_decision": self.median_seconds, "worst_seconds_a_decision": self.worst_seconds,
        }  # fmt: skip


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """The confidence interval of a rate (Wilson 1927, "Probable inference, the law of succession, and statistical
    inference"); z = 1.96 is 95 %."""
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def play(
    world: Env, controller: MPCController, seed: int, goal: Tensor | None = None, keep_images: bool = False
) -> Episode:
    """One episode under a planner. seed: of the world and the planner. goal: an image, where the world needs one."""
    frame = world.reset_with_goal(seed)
    controller.reset(seed, torch.from_numpy(world.neutral_action()).float())
    episode, cost = Episode(seed, goal=world.goal_image(goal)), world.cost(goal)
    over = False
    while not over and episode.steps < world.steps:
        deciding, start = controller.is_due, time.perf_counter()
        state = world_state(world) if controller.model.state_size else None
        action = controller.act(to_image(frame), cost, state)
        if deciding:
            episode.seconds.append(time.perf_counter() - start)
        if keep_images:
            episode.seen.append(frame)
            if deciding:
                episode.imagined[episode.steps] = controller.imagined()
        seen = world.step(action.double().numpy())
        frame, over, episode.success = seen.frame, seen.over, seen.success
        episode.steps += 1
    episode.seen.append(frame)
    return episode


def play_policy(world: Env, name: str, seed: int) -> Episode:
    """One episode under one of the world's own policies, with nothing planned. uniform: any action, each as likely."""
    world.reset_with_goal(seed)
    random = np.random.default_rng(seed)
    low, high = world.bounds.low.numpy(), world.bounds.high.numpy()
    act = (lambda: random.uniform(low, high)) if name == "uniform" else world.policy(name, random)
    episode, over = Episode(seed), False
    while not over and episode.steps < world.steps:
        seen = world.step(act())
        over, episode.success = seen.over, seen.success
        episode.steps += 1
    return episode


def play_all(
    one: Callable[[int, int], Episode], episodes: int, progress: bool = False, first: int = FIRST_SEED
) -> list[Episode]:
    """one(number, seed) for as many episodes, seeds from `first` on; every planner meets the same ones."""
    bar = tqdm(range(episodes), desc="plan", unit="episode", disable=not progress)
    return [one(number, first + number) for number in bar]


def outcome(episodes: list[Episode]) -> Outcome:
    seconds = [value for episode in episodes for value in episode.seconds]
    steps = [episode.steps for episode in episodes if episode.success]
    return Outcome(
        len(episodes), sum(episode.success for episode in episodes),
        round(statistics.mean(steps), 2) if steps else None,
        round(statistics.median(seconds), 4) if seconds else None,
        round(max(seconds), 4) if seconds else None,
    )  # fmt: skip


def images(episode: Episode, receding_horizon: int) -> Iterator[np.ndarray]:
    """The video of an episode: what was seen and the goal; below what the newest plan leads to, as the model imagined
    it, and what happened at the same steps. `(H, W, 3)` uint8, all of one size."""
    happened = [to_image(frame) for frame in episode.seen]
    count = min(SHOWN_STEPS, max(len(frames) for frames in episode.imagined.values()))
    for step in range(len(happened)):
        planned = max(start for start in episode.imagined if start <= min(step, max(episode.imagined)))
        imagined = episode.imagined[planned][:count]
        ahead = range(1, count + 1)
        true = [happened[planned + k] if planned + k < len(happened) else None for k in ahead]
        reached = " - goal reached" if episode.success and step == len(happened) - 1 else ""
        top = compose([Panel("saw", happened[step], "context"), Panel("goal", episode.goal, "truth")], 96)
        middle = compose([Panel(f"imagined +{k}", f, "prediction") for k, f in zip(ahead, imagined, strict=True)], 96)
        done = (
            f"step {step}{reached}; plan of step {planned}, of which {receding_horizon} steps are done before the next"
        )
        known = [Panel(f"happened +{k}", frame, "truth") for k, frame in zip(ahead, true, strict=True)]
        if true[0] is None:
            known[0] = Panel("happened", happened[step], "truth")
        yield stack([top, middle, compose(known, 96, done)])


def summary(name: str, result: Outcome) -> str:
    """One line for the terminal."""
    low, high = wilson_interval(result.successes, result.episodes)
    text = f"{name}: {result.successes} of {result.episodes} episodes reached the goal"
    text += f" ({100 * result.rate:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f})"
    if result.mean_steps is not None:
        text += f", in {result.mean_steps:g} steps on average"
    if result.median_seconds is not None:
        text += f"; a decision took {1e3 * result.median_seconds:.0f} ms (median)"
    return text
