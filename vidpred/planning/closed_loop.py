"""Play episodes under receding-horizon control; report the success rate and the time of a decision."""

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
from vidpred.planning.envs.base import Env, StepResult, env_state, to_image

SHOWN_STEPS = 8  # of a plan, in a video
FIRST_SEED = 1_000_000  # seed of the first episode, different from those of recordings


@dataclass
class Episode:
    """A played episode.

    Attributes:
        seed: Seed of the environment and the planner.
        success: Whether the goal was reached.
        steps: Number of steps.
        steps_to_success: Number of steps up to the first success.
        at_goal: Whether the goal was reached at the end, in protocols that go on after a success; None: others.
        seconds: Duration of every decision.
        observed: Frames `(H, W, 3)` uint8, one more than steps; without kept images only the last one.
        predicted: Step -> predicted frames `(K, C, H, W)` of the plan made at that step.
        goal: Image of the goal, `(C, H, W)`.
    """

    seed: int
    success: bool = False
    steps: int = 0
    steps_to_success: int | None = None
    at_goal: bool | None = None
    seconds: list[float] = field(default_factory=list)
    observed: list[np.ndarray] = field(default_factory=list)
    predicted: dict[int, Tensor] = field(default_factory=dict)
    goal: Tensor | None = None

    def count_step(self, result: StepResult) -> None:
        """Count a step of the environment; the first success sets `success` and `steps_to_success`."""
        self.steps += 1
        self.at_goal = result.at_goal
        if result.success and not self.success:
            self.success, self.steps_to_success = True, self.steps


@dataclass(frozen=True)
class Outcome:
    """Statistics of played episodes.

    Attributes:
        episodes: Number of episodes.
        successes: Number of episodes that reached their goal.
        mean_steps: Mean number of steps of the successful ones.
        median_seconds: Median duration of a decision.
        p95_seconds: Duration that 95 % of the decisions do not exceed.
        worst_seconds: Longest duration of a decision.
        strict_successes: Number of episodes that were at their goal at the end; None: they stop at a success.
    """

    episodes: int
    successes: int
    mean_steps: float | None
    median_seconds: float | None
    p95_seconds: float | None
    worst_seconds: float | None
    strict_successes: int | None = None

    @property
    def rate(self) -> float:
        """The success rate."""
        return self.successes / self.episodes

    def to_json(self) -> dict[str, object]:
        """Return everything as plain values, with the 95 % confidence interval of the rate."""
        low, high = wilson_interval(self.successes, self.episodes)
        strict: dict[str, object] = {}
        if self.strict_successes is not None:
            interval = [round(edge, 4) for edge in wilson_interval(self.strict_successes, self.episodes)]
            strict = {"strict_successes": self.strict_successes, "strict_interval_95": interval}
        return {
            **strict, "episodes": self.episodes, "successes": self.successes, "rate": round(self.rate, 4),
            "interval_95": [round(low, 4), round(high, 4)], "mean_steps_to_success": self.mean_steps,
            "median_seconds_a_decision": self.median_seconds,
            "p95_seconds_a_decision": self.p95_seconds, "worst_seconds_a_decision": self.worst_seconds,
        }  # fmt: skip


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Compute the confidence interval, within [0, 1], of a rate of successes; z = 1.96 is 95 %.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)


def play(
    env: Env,
    controller: MPCController,
    seed: int,
    goal: Tensor | None = None,
    keep_images: bool = False,
    cost_name: str | None = None,
) -> Episode:
    """Play one episode with a planner.

    Args:
        env: The environment.
        controller: The planner.
        seed: Seed of the environment and the planner.
        goal: Image of the goal, for environments that need one.
        keep_images: Whether to keep observed and predicted frames.
        cost_name: One of the environment's costs; None: its default.
    """
    frame = env.reset_with_goal(seed)
    controller.reset(seed, torch.from_numpy(env.neutral_action()).float())
    episode, cost = Episode(seed, goal=env.goal_image(goal)), env.cost(goal, cost_name)
    over = False
    while not over and episode.steps < env.steps:
        deciding, start = controller.is_due, time.perf_counter()
        state = env_state(env) if controller.model.state_size else None
        action = controller.act(to_image(frame), cost, state)
        if deciding:
            episode.seconds.append(time.perf_counter() - start)
        if keep_images:
            episode.observed.append(frame)
            if deciding:
                episode.predicted[episode.steps] = controller.predicted_frames()
        result = env.step(action.double().numpy())
        frame, over = result.frame, result.over
        episode.count_step(result)
    episode.observed.append(frame)
    return episode


def play_policy(env: Env, name: str, seed: int) -> Episode:
    """Play one episode with a policy of the environment, without planning; "uniform" draws actions within bounds."""
    env.reset_with_goal(seed)
    random = np.random.default_rng(seed)
    low, high = env.bounds.low.numpy(), env.bounds.high.numpy()
    act = (lambda: random.uniform(low, high)) if name == "uniform" else env.policy(name, random)
    episode, over = Episode(seed), False
    while not over and episode.steps < env.steps:
        result = env.step(act())
        over = result.over
        episode.count_step(result)
    return episode


def play_all(
    one: Callable[[int, int], Episode], episodes: int, progress: bool = False, first: int = FIRST_SEED
) -> list[Episode]:
    """Call `one(number, seed)` for every episode, with seeds from `first` on, the same for all planners."""
    bar = tqdm(range(episodes), desc="plan", unit="episode", disable=not progress)
    return [one(number, first + number) for number in bar]


def summarize_episodes(episodes: list[Episode]) -> Outcome:
    """Compute the statistics of episodes: rate of success, steps to success, seconds per decision."""
    seconds = [value for episode in episodes for value in episode.seconds]
    steps = [episode.steps_to_success for episode in episodes if episode.steps_to_success is not None]
    ends = [episode.at_goal for episode in episodes if episode.at_goal is not None]
    return Outcome(
        len(episodes), sum(episode.success for episode in episodes),
        round(statistics.mean(steps), 2) if steps else None,
        round(statistics.median(seconds), 4) if seconds else None,
        round(float(np.percentile(seconds, 95)), 4) if seconds else None,
        round(max(seconds), 4) if seconds else None,
        sum(ends) if ends else None,
    )  # fmt: skip


def render_episode(episode: Episode, receding_horizon: int) -> Iterator[np.ndarray]:
    """Render the video of an episode, images `(H, W, 3)` uint8 of one size.

    The first row has the observed frame and the goal, the second the predicted frames of the newest plan, the third the
    actual frames of the same steps.
    """
    observed = [to_image(frame) for frame in episode.observed]
    count = min(SHOWN_STEPS, max(len(frames) for frames in episode.predicted.values()))
    for step in range(len(observed)):
        planned = max(start for start in episode.predicted if start <= min(step, max(episode.predicted)))
        predicted = episode.predicted[planned][:count]
        ahead = range(1, count + 1)
        actual = [observed[planned + k] if planned + k < len(observed) else None for k in ahead]
        reached = " - goal reached" if episode.success and step == len(observed) - 1 else ""
        top = compose([Panel("observed", observed[step], "context"), Panel("goal", episode.goal, "truth")], 96)
        middle = compose([Panel(f"predicted +{k}", f, "prediction") for k, f in zip(ahead, predicted, strict=True)], 96)
        caption = f"step {step}{reached}; plan of step {planned}, its first {receding_horizon} actions are executed"
        bottom = [Panel(f"actual +{k}", frame, "truth") for k, frame in zip(ahead, actual, strict=True)]
        if actual[0] is None:
            bottom[0] = Panel("actual", observed[step], "truth")
        yield stack([top, middle, compose(bottom, 96, caption)])


def summary_line(name: str, result: Outcome) -> str:
    """Return one line for the terminal about the episodes that a planner (`name`) has played."""
    low, high = wilson_interval(result.successes, result.episodes)
    text = f"{name}: {result.successes} of {result.episodes} episodes reached the goal"
    text += f" ({100 * result.rate:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f})"
    if result.strict_successes is not None:
        text += f", {result.strict_successes} of them were there at the end"
    if result.mean_steps is not None:
        text += f", in {result.mean_steps:g} steps on average"
    if result.median_seconds is not None:
        text += f"; a decision took {1e3 * result.median_seconds:.0f} ms (median)"
    if result.p95_seconds is not None:
        text += f", {1e3 * result.p95_seconds:.0f} ms (95th percentile)"
    return text
