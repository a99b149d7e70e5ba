"""Experiments with planning: reference planners, planning with trained models, and how models use actions."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.experiments.base import RUNS, Experiment
from benchmarks.harness import machine
from vidpred.checkpoint import RunFolder
from vidpred.config import Config, load_config
from vidpred.data.build import build_source
from vidpred.data.sources import Source, WrappedSource
from vidpred.evaluation.protocols import Measurement, evaluate_models, max_history_len
from vidpred.evaluation.report import write_json
from vidpred.inference.predictor import Predictor
from vidpred.planning.baselines import CopyLastModel
from vidpred.planning.closed_loop import FIRST_SEED
from vidpred.planning.envs import pusht
from vidpred.planning.envs.block_push import BlockPushEnv
from vidpred.planning.envs.pusht import PushTEnv
from vidpred.planning.plan import PlanConfig, load_model, make_matching_env, play_model, references
from vidpred.planning.record import Recording, record
from vidpred.run import train

SIZE, EPISODES = 32, 100
DATA = RUNS / "block_push-episodes"
PUSHT_SIZE, PUSHT_EPISODES, PUSHT_GOALS = 32, 50, 40
PUSHT_BUDGET = PlanConfig(num_samples=64, iterations=5, horizon=5, receding_horizon=1)


class OtherActions(WrappedSource):
    """Source with the actions of other windows; a model that ignores actions has the same score on it."""

    def __init__(self, source: Source, seed: int) -> None:
        super().__init__(source)
        self.others = np.random.default_rng(seed).permutation(len(source))

    def window_actions(self, index: int) -> np.ndarray | None:
        return self.source.window_actions(int(self.others[index]))


def world_row(folder: Path, seed: int) -> dict[str, Any]:
    """Measure planning in block_push with the true simulator and with copy-last as the model, and random actions."""
    env, budget = BlockPushEnv(SIZE), PlanConfig()
    results = {name: play().to_json() for name, play in references(env, budget, EPISODES, None).items()}
    return {"budget": vars(budget), "frame_size": SIZE, "results": results}


def model_row(folder: Path, seed: int) -> dict[str, Any]:
    """Train a model on random play, then plan with it, and with copy-last on the same episodes."""
    torch.set_num_threads(1)
    record(Recording("block_push", 1000, "random", SIZE), DATA, workers=1)
    config = load_config("block_push.yaml", {"data.root": str(DATA), "run": str(folder / "run"), "seed": seed})
    trained = timed_training(config)
    model, size = load_model(folder / "run", "best", "cpu", "float32")
    env, budget, first = make_matching_env("block_push", size, model), PlanConfig(), FIRST_SEED + 1000 * seed
    video = folder / "episodes.mp4"
    planned = play_model(model, env, budget, EPISODES, video=video, first=first)
    still = play_model(CopyLastModel(2), env, budget, EPISODES, first=first)
    return {
        "training": trained,
        "budget": vars(budget),
        "results": {"model": planned.to_json(), "copy last": still.to_json()},
        "psnr_moving": action_gap(folder / "run", seed),
        "planning_threads": machine()["threads"],
    }


def timed_training(config: Config) -> dict[str, float] | str:
    """Train a run and return the time, unless it resumed an earlier sitting."""
    fresh = not RunFolder(config.run).steps()
    wall, processor = time.monotonic(), time.process_time()
    train(config)
    spent = {"wall_seconds": time.monotonic() - wall, "processor_seconds": time.process_time() - processor}
    return {name: round(value, 1) for name, value in spent.items()} if fresh else "resumed, not timed"


def action_gap(run: Path, seed: int, steps: int = 8) -> dict[str, list[float]]:
    """Return PSNR on moving pixels by frame, with the true actions and with those of other windows."""
    predictor = Predictor.load(run, device="cpu")
    models = {"model": predictor.generator}
    source = build_source(predictor.data, "test", range(max_history_len(models) + steps))
    found = {}
    for name, given in {"true actions": source, "other windows' actions": OtherActions(source, seed)}.items():
        result = evaluate_models(models, given, Measurement(steps, 400, only=("psnr_moving",)))
        found[name] = [round(total.mean, 2) for total in result.scores["model"].overall["psnr_moving"]]
    return found


def pusht_world_row(folder: Path, seed: int) -> dict[str, Any]:
    """Measure planning in PushT with the true simulator, with costs of states and of images, and policies."""
    env = PushTEnv(PUSHT_SIZE)
    names = ("true simulator, cost of states", "uniform actions", "random actions", "scripted actions")
    plays = references(env, PUSHT_BUDGET, PUSHT_EPISODES, None)
    results = {name: plays[name]().to_json() for name in names}
    by_images = references(env, PUSHT_BUDGET, PUSHT_EPISODES // 5, None)["true simulator, cost of images"]
    results["true simulator, cost of images"] = by_images().to_json()
    return {"budget": vars(PUSHT_BUDGET), "frame_size": PUSHT_SIZE, "results": results}


def pusht_model_row(folder: Path, seed: int) -> dict[str, Any]:
    """Train a model on scripted play, then plan with it, and with copy-last on the same episodes."""
    torch.set_num_threads(1)
    data = RUNS / "pusht-episodes"
    record(Recording(pusht.NAME, 1000, "scripted", PUSHT_SIZE), data, workers=1)
    run = folder / "run"
    config = load_config("pusht.yaml", {"data.root": str(data), "run": str(run), "seed": seed})
    trained = timed_training(config)
    model, size = load_model(run, "best", "cpu", "bfloat16")
    env, first = make_matching_env(pusht.NAME, size, model), FIRST_SEED + 1000 * seed
    video = folder / "episodes.mp4"
    planned = play_model(model, env, PUSHT_BUDGET, PUSHT_EPISODES, video=video, first=first)
    still = play_model(CopyLastModel(2), env, PUSHT_BUDGET, PUSHT_EPISODES, first=first)
    return {
        "training": trained,
        "budget": vars(PUSHT_BUDGET),
        "results": {"model": planned.to_json(), "copy last": still.to_json()},
        "psnr_moving": action_gap(run, seed, steps=5),
        "planning_threads": machine()["threads"],
    }


def pusht_costs_row(folder: Path, seed: int) -> dict[str, Any]:
    """Measure what each cost of images reaches in PushT with the true simulator, so that no model limits it."""
    torch.set_num_threads(1)
    env = PushTEnv(PUSHT_SIZE)
    plans = {
        "state": ("cost of states", PUSHT_BUDGET),
        **{name: ("cost of images", replace(PUSHT_BUDGET, cost=name)) for name in env.costs},
        "pose, 32 x 3 candidates": (
            "cost of images",
            replace(PUSHT_BUDGET, num_samples=32, iterations=3, cost="pose"),
        ),
        "pose, new plan after 5 actions": ("cost of images", replace(PUSHT_BUDGET, receding_horizon=5, cost="pose")),
    }
    results = {}
    for name, (simulator, budget) in plans.items():
        file = folder / f"{name}.json"  # a finished part of an interrupted sitting
        if not file.is_file():
            played = references(env, budget, PUSHT_GOALS, None)[f"true simulator, {simulator}"]().to_json()
            write_json(file, {"budget": vars(budget), "result": played})
        results[name] = json.loads(file.read_text())["result"]
    return {"budget": vars(PUSHT_BUDGET), "frame_size": PUSHT_SIZE, "results": results}


PLANNING_EXPERIMENTS = [
    Experiment("block_push, what a planner can do", 0, world_row),
    *(Experiment("block_push, planning with a trained model", seed, model_row) for seed in (0, 1, 2)),
    Experiment("PushT, what a planner can do", 0, pusht_world_row),
    Experiment("PushT, costs with the true simulator", 0, pusht_costs_row),
    Experiment("PushT, planning with a trained model", 0, pusht_model_row),
]
