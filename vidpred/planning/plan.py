"""`vidpred plan`: a run, a world and a solver; episodes played, and what to hold them against."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidpred.data.prepared.format import Manifest
from vidpred.errors import ConfigError, DataError
from vidpred.inference.predictor import Predictor, choose_device
from vidpred.media.video_writer import write_video
from vidpred.planning.baselines import CopyLastModel
from vidpred.planning.closed_loop import FIRST_SEED, Episode, Outcome, images, outcome, play, play_all, play_policy
from vidpred.planning.controller import MPCController
from vidpred.planning.envs.base import Env, to_image, world_state
from vidpred.planning.envs.registry import make_env
from vidpred.planning.solvers import make_solver
from vidpred.planning.world_model import PlanningModel, WorldModel

VIDEO_RATE = 4.0
VIDEO_EPISODES = 4
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class PlanConfig:
    """How hard a planner thinks, the same for every model that it is given."""

    solver: str = "cem"
    num_samples: int = 32
    iterations: int = 3
    horizon: int = 6
    receding_horizon: int = 2

    def controller(self, model: PlanningModel, world: Env) -> MPCController:
        if self.receding_horizon > self.horizon:
            raise ConfigError(f"[--receding-horizon {self.receding_horizon}] must be at most --horizon {self.horizon}")
        solver = make_solver(self.solver, self.num_samples, self.iterations)
        return MPCController(model, solver, world.bounds, self.horizon, self.receding_horizon, reach=world.reach)


@dataclass(frozen=True)
class PlanRequest:
    """Which episodes to play with a run.

    Attributes:
        run: Folder of a model that takes actions.
        env: The environment's name.
        budget: The planner's settings.
        episodes: Number of episodes.
        goal: An image of the goal, for environments that have none.
        size: Short side of frames; None: the run's.
        with_references: Whether to play `references` too.
        video: File for a video of the first episodes.
        precision: float32 or bfloat16.
        checkpoint: best, last or step-N.
        device: auto, cpu or cuda.
    """

    run: Path
    env: str
    budget: PlanConfig
    episodes: int
    goal: Path | None = None
    size: int | None = None
    with_references: bool = False
    video: Path | None = None
    precision: str = "float32"
    checkpoint: str = "best"
    device: str = "auto"

    def about(self) -> dict[str, Any]:
        """Return what the numbers belong to."""
        return {"env": self.env, "budget": vars(self.budget), "precision": self.precision}


def play_request(request: PlanRequest) -> Iterator[tuple[str, Outcome]]:
    """Play the episodes; yield a name and an outcome for the run, then for each reference. Raises vidpred's errors."""
    choose_device(request.device, "--device ")
    model, trained = load_model(request.run, request.checkpoint, request.device, request.precision)
    size = request.size or trained
    world, goal = fitting_world(request.env, size, model), read_goal(request.goal, size)
    yield request.run.name, play_model(model, world, request.budget, request.episodes, goal, request.video)
    if request.with_references:
        for name, reference in references(world, request.budget, request.episodes, goal).items():
            yield name, reference()


def load_model(run: Path, checkpoint: str, device: str, precision: str) -> tuple[WorldModel, int | None]:
    """A run as a world model, and the short side of the frames it was trained on (None: not known). Raises ConfigError
    for a model without actions or of gray frames, and what `Predictor.load` raises."""
    if precision not in PRECISIONS:
        raise ConfigError(f"no such precision [--precision {precision}]; choose from {', '.join(PRECISIONS)}")
    predictor = Predictor.load(run, checkpoint, device)
    if predictor.data.channels != 3:
        raise ConfigError(f"worlds show RGB frames, and the run has data.channels={predictor.data.channels} [{run}]")
    return WorldModel(predictor.generator, precision=PRECISIONS[precision]), trained_size(predictor)


def trained_size(predictor: Predictor) -> int | None:
    root = predictor.data.root
    manifest = Manifest.load(Path(root)) if root is not None else None
    recorded = manifest.settings.get("frame_size") if manifest is not None else None
    return predictor.data.size or (manifest.size if manifest is not None else None) or recorded


def fitting_world(env: str, size: int | None, model: WorldModel) -> Env:
    """Raises ConfigError where the world's actions are not the model's, or its states."""
    world = make_env(env, size)
    found = len(world.bounds.low)
    if found != model.action_size:
        raise ConfigError(
            f"{env} has actions of {found} values, the model takes {model.action_size} "
            "[model.action_size, data.frame_skip]; plan with a run that was trained on its episodes"
        )
    if model.state_size:
        world.reset(0)
        state = world_state(world)
        found = 0 if state is None else len(state)
        if found != model.state_size:
            raise ConfigError(
                f"{env} has states of {found} values, the model takes {model.state_size} [model.state_size]; plan with "
                "a run that was trained on its episodes"
            )
    model.bounds = world.bounds
    return world


def read_goal(file: Path | None, size: int | None) -> Tensor | None:
    """An image of the goal, `(3, H, W)`, scaled like frames. Raises DataError."""
    if file is None:
        return None
    from PIL import Image

    from vidpred.data.resize import scaled
    from vidpred.data.videos.reader import scaled_size

    try:
        with Image.open(file) as image:
            array = np.asarray(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"no image that can be read ({error}) [{file}]; give a PNG of the goal") from None
    return to_image(scaled(array, scaled_size(array.shape[0], array.shape[1], size)))


def play_model(
    model: PlanningModel,
    world: Env,
    budget: PlanConfig,
    episodes: int,
    goal: Tensor | None = None,
    video: Path | None = None,
    first: int = FIRST_SEED,
) -> Outcome:
    """Episodes under receding-horizon control. video: the first ones, written as a .mp4 or .gif. first: their seed."""
    controller = budget.controller(model, world)
    filmed: list[Episode] = []

    def one(number: int, seed: int) -> Episode:
        film = video is not None and number < VIDEO_EPISODES
        episode = play(world, controller, seed, goal, film)
        if film:
            filmed.append(episode)
        return episode

    result = outcome(play_all(one, episodes, progress=True, first=first))
    if video is not None:
        shown = (image for episode in filmed for image in images(episode, budget.receding_horizon))
        write_video(video, shown, VIDEO_RATE, overwrite=True)
    return result


def references(world: Env, budget: PlanConfig, episodes: int, goal: Tensor | None) -> dict[str, Callable[[], Outcome]]:
    """What the numbers are held against: the same planner with a world that stands still, and with the true one where
    it is known; actions drawn with equal chances; the world's policies."""
    models: dict[str, PlanningModel] = {"copy last": CopyLastModel(len(world.bounds.low)), **world.simulators()}
    found: dict[str, Callable[[], Outcome]] = {
        name: partial(play_model, model, world, budget, episodes, goal) for name, model in models.items()
    }
    for name in ("uniform", *world.policies):
        found[f"{name} actions"] = partial(play_policies, world, name, episodes)
    return found


def play_policies(world: Env, name: str, episodes: int) -> Outcome:
    """Episodes under a policy, as `play_policy` names them."""
    return outcome(play_all(lambda _, seed: play_policy(world, name, seed), episodes))
