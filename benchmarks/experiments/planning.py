"""Experiments with planning: reference planners, planning with trained models, and how models use actions."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.experiments.base import RUNS, Experiment
from benchmarks.experiments.latency import in_turns
from benchmarks.harness import machine
from vidpred.checkpoint import RunFolder
from vidpred.config import Config, load_config
from vidpred.data.build import build_source
from vidpred.data.sources import Source, WrappedSource
from vidpred.evaluation.protocols import Measurement, evaluate_models, max_history_len
from vidpred.inference.predictor import Predictor
from vidpred.planning.baselines import CopyLastModel
from vidpred.planning.closed_loop import FIRST_SEED, Episode, play, summarize_episodes
from vidpred.planning.envs import pusht
from vidpred.planning.envs.base import Env, to_image
from vidpred.planning.envs.block_push import BlockPushEnv
from vidpred.planning.envs.pusht import PushTEnv
from vidpred.planning.plan import PlanConfig, load_model, make_matching_env, play_model, play_policies, references
from vidpred.planning.planning_model import PlanningModel
from vidpred.planning.record import Recording, record
from vidpred.processes.memory import keep_freed_memory
from vidpred.run import train

SIZE, EPISODES = 32, 100
DATA = RUNS / "block_push-episodes"
PUSHT_SIZE, PUSHT_EPISODES, PUSHT_GOALS = 32, 50, 40
KEPT = ("seed", "success", "steps", "steps_to_success", "at_goal", "seconds")  # of an episode
PROTOCOL_EPISODES, PROTOCOL_TRAINING = 100, 8_000  # steps: about 35 CPU minutes
DECISION_ROUNDS = 7
PUSHT_BUDGET = PlanConfig(num_samples=64, iterations=5, horizon=5, receding_horizon=1, cost="objects")


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


def stored_outcome(file: Path, env: Env, model: PlanningModel, budget: PlanConfig, episodes: int) -> dict[str, object]:
    """Play episodes, each stored in a file once it is over, so that an interrupted measurement continues there."""
    lines = file.read_text().splitlines() if file.is_file() else []
    played, controller = [Episode(**json.loads(line)) for line in lines], budget.controller(model, env)
    for number in tqdm(range(len(played), episodes), desc=file.stem):
        episode = play(env, controller, FIRST_SEED + number, cost_name=budget.cost)
        played.append(episode)
        kept = {name: getattr(episode, name) for name in KEPT}
        with file.open("a") as stream:
            stream.write(json.dumps(kept) + "\n")
    return summarize_episodes(played[:episodes]).to_json()


def pusht_costs_row(folder: Path, seed: int) -> dict[str, Any]:
    """Measure what each cost reaches in PushT with the true simulator, so that no model limits it."""
    torch.set_num_threads(1)
    env, pose = PushTEnv(PUSHT_SIZE), replace(PUSHT_BUDGET, cost="pose")
    plans = {
        "pose": pose,
        "objects": PUSHT_BUDGET,
        "pose, 32 x 3 candidates": replace(pose, num_samples=32, iterations=3),
        "pose, new plan after 5 actions": replace(pose, receding_horizon=5),
        "state": PUSHT_BUDGET,
    }
    models = env.simulators()
    results = {
        name: stored_outcome(
            folder / f"{name}.jsonl",
            env,
            models["true simulator, cost of states" if name == "state" else "true simulator, cost of images"],
            budget,
            PUSHT_GOALS,
        )
        for name, budget in plans.items()
    }
    return {
        "budgets": {name: vars(budget) for name, budget in plans.items()},
        "frame_size": PUSHT_SIZE,
        "results": results,
    }


def pusht_poses_row(folder: Path, seed: int) -> dict[str, Any]:
    """Train half as long as the preset, then plan by poses and by colors for the same goals."""
    torch.set_num_threads(1)
    data, run = RUNS / "pusht-episodes", folder / "run"
    record(Recording(pusht.NAME, 1000, "scripted", PUSHT_SIZE), data, workers=1)
    overrides = {"data.root": str(data), "run": str(run), "seed": seed, "training.steps": 6000}
    trained = timed_training(load_config("pusht.yaml", overrides))
    model, size = load_model(run, "best", "cpu", "bfloat16")
    env = make_matching_env(pusht.NAME, size, model)
    plans = {"pose": (replace(PUSHT_BUDGET, cost="pose"), PUSHT_EPISODES), "objects": (PUSHT_BUDGET, PUSHT_GOALS // 2)}
    results = {
        name: stored_outcome(folder / f"{name}.jsonl", env, model, budget, episodes)
        for name, (budget, episodes) in plans.items()
    }
    return {
        "training": trained,
        "budget": vars(plans["pose"][0]),
        "results": results,
        "psnr_moving": action_gap(run, seed, steps=5),
        "planning_threads": machine()["threads"],
    }


def pusht_protocol_row(folder: Path, seed: int) -> dict[str, Any]:
    """Train the preset on 3,000 scripted episodes, then plan by poses for 100 goals of DINO-WM's protocol."""
    torch.set_num_threads(1)
    keep_freed_memory()
    data, run = RUNS / "pusht-3000-episodes", folder / "run"
    record(Recording(pusht.NAME, 3000, "scripted", PUSHT_SIZE), data, workers=1)
    trained = timed_training(
        load_config(
            "pusht.yaml", {"data.root": str(data), "run": str(run), "seed": seed, "training.steps": PROTOCOL_TRAINING}
        )
    )
    model, size = load_model(run, "best", "cpu", "auto")
    env = make_matching_env(pusht.NAME, size, model, protocol="dino-wm")
    budget = replace(PUSHT_BUDGET, cost="pose")
    return {
        "training": trained,
        "protocol": PushTEnv(PUSHT_SIZE, "dino-wm").about(),
        "budget": vars(budget),
        "results": {"model": stored_outcome(folder / "episodes.jsonl", env, model, budget, PROTOCOL_EPISODES)},
        "psnr_moving": action_gap(run, seed, steps=5),
        "planning_threads": machine()["threads"],
    }


def pusht_few_plans_row(folder: Path, seed: int) -> dict[str, Any]:
    """Plan with the shipped model for 100 goals of DINO-WM's protocol with few plans, and time a decision."""
    torch.set_num_threads(1)
    keep_freed_memory()
    model, size = load_model(Path("pretrained:pusht"), "best", "cpu", "auto")
    env = make_matching_env(pusht.NAME, size, model, protocol="dino-wm")
    usual = replace(PUSHT_BUDGET, cost="pose")
    few = replace(usual, num_samples=32, iterations=3)
    outcome = stored_outcome(folder / "32x3.jsonl", env, model, few, PROTOCOL_EPISODES)
    frame = to_image(env.reset_with_goal(seed))

    def decide(budget: PlanConfig) -> None:
        controller = budget.controller(model, env)
        controller.reset(seed, torch.from_numpy(env.neutral_action()).float())
        controller.act(frame, env.cost(None, budget.cost))

    seconds = in_turns({"usual": lambda: decide(usual), "few": lambda: decide(few)}, DECISION_ROUNDS)
    precision = str(model.precision).removeprefix("torch.")
    return {
        "protocol": env.about(),
        "budget": vars(few),
        "precision": precision,
        "results": outcome,
        "seconds": seconds,
    }


def pusht_protocol_world_row(folder: Path, seed: int) -> dict[str, Any]:
    """Play DINO-WM's protocol with the true simulator, with copy-last and with policies."""
    torch.set_num_threads(1)
    env, pose = PushTEnv(PUSHT_SIZE, "dino-wm"), replace(PUSHT_BUDGET, cost="pose")
    models = {**env.simulators(), "copy last": CopyLastModel(2)}
    results = {
        name: stored_outcome(folder / f"{name}.jsonl", env, model, pose, PROTOCOL_EPISODES)
        for name, model in models.items()
    }
    for name in ("uniform", *env.policies):
        results[f"{name} actions"] = play_policies(env, name, PROTOCOL_EPISODES).to_json()
    return {"protocol": env.about(), "budget": vars(pose), "frame_size": PUSHT_SIZE, "results": results}


PLANNING_EXPERIMENTS = [
    Experiment("block_push, what a planner can do", 0, world_row),
    *(Experiment("block_push, planning with a trained model", seed, model_row) for seed in (0, 1, 2)),
    Experiment("PushT, what a planner can do", 0, pusht_world_row),
    Experiment("PushT, costs with the true simulator", 0, pusht_costs_row),
    Experiment("PushT, planning with a trained model", 0, pusht_model_row),
    Experiment("PushT, planning by poses with a trained model", 0, pusht_poses_row),
    Experiment("PushT, DINO-WM's protocol, what a planner can do", 0, pusht_protocol_world_row),
    *(Experiment("PushT, DINO-WM's protocol, trained model", seed, pusht_protocol_row) for seed in (0, 1, 2)),
    Experiment("PushT, DINO-WM's protocol, few plans", 0, pusht_few_plans_row),
]
