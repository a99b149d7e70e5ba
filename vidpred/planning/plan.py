"""`vidpred plan`: play episodes of an environment by planning with a run, and reference episodes to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidpred.errors import ConfigError, counted
from vidpred.inference.predictor import Predictor, choose_device
from vidpred.media.video_writer import write_video
from vidpred.models.inference import has_fast_bfloat16
from vidpred.planning.baselines import CopyLastModel
from vidpred.planning.closed_loop import (
    FIRST_SEED,
    Episode,
    Outcome,
    play,
    play_all,
    play_policy,
    render_episode,
    summarize_episodes,
)
from vidpred.planning.controller import MPCController
from vidpred.planning.envs.base import Env, env_state, to_image
from vidpred.planning.envs.registry import cost_names, make_env
from vidpred.planning.inputs import observed_frame, trained_size
from vidpred.planning.planning_model import PlanningModel, trained_bounds
from vidpred.planning.solvers import Solver, make_solver
from vidpred.planning.world_model import WorldModel
from vidpred.processes.memory import keep_freed_memory

VIDEO_RATE = 4.0
VIDEO_EPISODES = 4
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class PlanConfig:
    """Planner settings.

    Attributes:
        solver: Name of the solver, see `make_solver`.
        num_samples: Plans to evaluate per iteration.
        iterations: Iterations of the solver.
        horizon: Number of steps in a plan.
        receding_horizon: Steps to execute before planning again.
        cost: Name of the environment's cost of predicted frames, see `Env.costs`; None: its default.
        seconds: Time budget of a decision, see the solvers; None: no limit.
    """

    solver: str = "cem"
    num_samples: int = 32
    iterations: int = 3
    horizon: int = 6
    receding_horizon: int = 2
    cost: str | None = None
    seconds: float | None = None

    def make_solver(self, env: Env) -> Solver:
        """Build the solver for an environment's actions. Raises ConfigError."""
        return make_solver(self.solver, self.num_samples, self.iterations, self.seconds, env.choices)

    def controller(self, model: PlanningModel, env: Env) -> MPCController:
        """Build the controller that plans with a model in an environment. Raises ConfigError."""
        if self.receding_horizon > self.horizon:
            raise ConfigError(f"[--receding-horizon {self.receding_horizon}] must be at most --horizon {self.horizon}")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"[--seconds {self.seconds:g}] must be above 0; leave it out for no time budget")
        if self.cost is not None and self.cost not in env.costs:
            raise ConfigError(f"{env.name} has no such cost [--cost {self.cost}]; choose from {', '.join(env.costs)}")
        solver = self.make_solver(env)
        return MPCController(model, solver, env.bounds, self.horizon, self.receding_horizon, reach=env.reach)


@dataclass(frozen=True)
class PlanRequest:
    """A request to play episodes with a run.

    Attributes:
        run: Folder of a model that takes actions.
        env_name: The environment's name.
        budget: The planner's settings.
        episodes: Number of episodes.
        goal: An image of the goal for each camera, for environments that have none.
        size: Short side of frames; None: the run's.
        with_references: Whether to play `references` too.
        video: File for a video of the first episodes.
        precision: float32, bfloat16 or auto, see `choose_precision`.
        checkpoint: best, last or step-N.
        device: auto, cpu or cuda.
        state_key: Key of the state, see `GymnasiumEnv`.
        protocol: Name of an evaluation protocol, see `make_env`.
        cameras: See `GymnasiumEnv`.
    """

    run: Path
    env_name: str
    budget: PlanConfig
    episodes: int
    goal: Sequence[Path] = ()
    size: int | None = None
    with_references: bool = False
    video: Path | None = None
    precision: str = "auto"
    checkpoint: str = "best"
    device: str = "auto"
    state_key: str | None = None
    protocol: str | None = None
    cameras: Sequence[str] = ()

    def about(self) -> dict[str, Any]:
        """Return the environment, the protocol and the planner that the numbers belong to."""
        budget = {**vars(self.budget), "cost": self.budget.cost or cost_names(self.env_name)[0]}
        precision = choose_precision(self.precision, choose_device(self.device))
        env = make_env(self.env_name, self.size, self.state_key, self.protocol, self.cameras)
        return {
            "env": self.env_name, "protocol": env.about() or None, "first_seed": FIRST_SEED, "budget": budget,
            "solver": vars(self.budget.make_solver(env)), "precision": str(precision).removeprefix("torch."),
        }  # fmt: skip


def play_request(request: PlanRequest) -> Iterator[tuple[str, Outcome]]:
    """Play the episodes; yield a name and an outcome for the run, then for each reference. Raises vidpred's errors."""
    choose_device(request.device, "--device ")
    keep_freed_memory()
    model, trained = load_model(request.run, request.checkpoint, request.device, request.precision)
    size = request.size or trained
    env = make_matching_env(request.env_name, size, model, request.state_key, request.protocol, request.cameras)
    goal = read_goal(request.goal, size, env.reset(0).shape) if request.goal else None
    yield request.run.name, play_model(model, env, request.budget, request.episodes, goal, request.video)
    if request.with_references:
        for name, reference in references(env, request.budget, request.episodes, goal).items():
            yield name, reference()


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return a precision by name; "auto" is bfloat16 where the device computes it natively, else float32.

    Raises:
        ConfigError: The name is unknown.
    """
    if name == "auto":
        return torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    if name not in PRECISIONS:
        raise ConfigError(f"no such precision [--precision {name}]; choose from auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


def load_model(run: Path, checkpoint: str, device: str, precision: str) -> tuple[WorldModel, int | None]:
    """Load a run as a world model.

    Returns:
        The model, and the short side of its training frames (None: unknown).

    Raises:
        ConfigError: The precision is unknown, the model takes no actions, or it takes gray frames.
        StorageError: See `Predictor.load`.
    """
    dtype = choose_precision(precision, choose_device(device))
    predictor = Predictor.load(run, checkpoint, device)
    if predictor.data.channels % 3:
        raise ConfigError(
            f"environments render RGB frames, and the run has data.channels={predictor.data.channels} [{run}]; train "
            "one with data.channels=3"
        )
    size = trained_size(predictor)
    model = WorldModel(predictor.generator, precision=dtype, frame_size=size, trained_bounds=trained_bounds(predictor))
    return model, min(size) if isinstance(size, tuple) else size


def make_matching_env(
    env_name: str,
    size: int | None,
    model: WorldModel,
    state_key: str | None = None,
    protocol: str | None = None,
    cameras: Sequence[str] = (),
) -> Env:
    """Make an environment that matches a model, whose bounds are set to the environment's.

    Bounds beyond the range of the training are warned about.

    Raises:
        ConfigError: Its actions, states or frames have other sizes, or its actions other names.
    """
    env = make_env(env_name, size, state_key, protocol, cameras)
    found = len(env.bounds.low)
    if found != model.action_size:
        raise ConfigError(
            f"{env_name} has actions of {found} values, the model takes {model.action_size} "
            "[model.action_size, data.frame_skip]; plan with a run that was trained on its episodes"
        )
    frame = env.reset(0)
    if model.state_size:
        state = env_state(env)
        found = 0 if state is None else len(state)
        if found != model.state_size:
            raise ConfigError(
                f"{env_name} has states of {found} values, the model takes {model.state_size} [model.state_size]; plan "
                "with a run that was trained on its episodes"
            )
    try:
        observed_frame(to_image(frame), model.frame_size, None, model.channels)
        model.bounds = env.bounds
    except ValueError as error:
        raise ConfigError(f"{env_name} does not suit the run: {error} [--env {env_name}, --size]") from None
    return env


def read_goal(files: Sequence[Path], size: int | None, shape: tuple[int, ...] | None = None) -> Tensor:
    """Read an image of the goal for each camera, of any format that `read_image` knows, scaled like frames.

    Args:
        files: The images.
        size: Short side of the frames in pixels; None: the images'.
        shape: Shape of the frames, `(H, W, 3n)`; None: unknown.

    Returns:
        `(3n, H, W)` in [0, 1].

    Raises:
        ConfigError: The number of images is not that of the cameras.
        DataError: One cannot be read.
    """
    from vidpred.data.images.decode import read_image
    from vidpred.data.resize import resize_frame, with_channels
    from vidpred.data.videos.reader import scaled_size

    if shape is not None and 3 * len(files) != shape[2]:
        raise ConfigError(f"{counted(len(files), 'image')} of the goal [--goal], but {shape[2] // 3} cameras")
    arrays = [with_channels(read_image(file), 3) for file in files]
    target = scaled_size(arrays[0].shape[0], arrays[0].shape[1], size)
    return torch.cat([to_image(resize_frame(array, target)) for array in arrays])


def play_model(
    model: PlanningModel,
    env: Env,
    budget: PlanConfig,
    episodes: int,
    goal: Tensor | None = None,
    video: Path | None = None,
    first: int = FIRST_SEED,
) -> Outcome:
    """Play episodes under receding-horizon control.

    Args:
        model: Predicts the frames of plans.
        env: The environment.
        budget: The planner's settings.
        episodes: Number of episodes.
        goal: Image of the goal, for environments that need one.
        video: A .mp4 or .gif file for a video of the first episodes.
        first: Seed of the first episode.
    """
    controller = budget.controller(model, env)
    filmed: list[Episode] = []

    def one(number: int, seed: int) -> Episode:
        film = video is not None and number < VIDEO_EPISODES
        episode = play(env, controller, seed, goal, film, budget.cost)
        if film:
            filmed.append(episode)
        return episode

    result = summarize_episodes(play_all(one, episodes, progress=True, first=first))
    if video is not None:
        shown = (image for episode in filmed for image in render_episode(episode, budget.receding_horizon))
        write_video(video, shown, VIDEO_RATE, overwrite=True)
    return result


def references(env: Env, budget: PlanConfig, episodes: int, goal: Tensor | None) -> dict[str, Callable[[], Outcome]]:
    """Return the reference experiments, by name, as functions that run them.

    They are the same planner with copy-last and with the environment's simulators, uniform random actions, and the
    environment's policies.
    """
    models: dict[str, PlanningModel] = {"copy last": CopyLastModel(len(env.bounds.low)), **env.simulators()}
    found: dict[str, Callable[[], Outcome]] = {
        name: partial(play_model, model, env, budget, episodes, goal) for name, model in models.items()
    }
    for name in ("uniform", *env.policies):
        found[f"{name} actions"] = partial(play_policies, env, name, episodes)
    return found


def play_policies(env: Env, name: str, episodes: int) -> Outcome:
    """Play episodes with a policy, see `play_policy`."""
    return summarize_episodes(play_all(lambda _, seed: play_policy(env, name, seed), episodes))
