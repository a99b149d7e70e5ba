"""Experiments with the forking-ball world: forks with three losses, sampled futures, balance of the adversary."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from torch import Tensor

from benchmarks.experiments.base import Experiment, trained
from vidpred.checkpoint import read_metrics
from vidpred.commands.demo_clip import CLIP
from vidpred.commands.demo_objectives import REPORTED, TRAINING_STEPS, measure_objectives, train_objectives
from vidpred.commands.run_demo import GHOST, PRESETS, WORLD_SEED, demo_config, forks_for, measure
from vidpred.config import load_config
from vidpred.data.worlds.forking_ball import ForkingBallWorld
from vidpred.evaluation.forking_ball import (
    ForkingScenes,
    both_occur,
    find_certain_scenes,
    find_forking_scenes,
    goes_left,
    sharp_share,
)

FORKS = 600
CONTEXTS, DRAWS = 200, 20
SEEDS = (0, 1, 2)
GAME = ("objective.adversarial.weight=0.05",)  # every other setting has its default
GAME_STEPS, SETTLED, WINDOW, BALANCED = 2000, 200, 50, (0.5, 0.9)


def forks(folder: Path, seed: int) -> dict[str, Any]:
    """Measure predictions of forks by squared error and its continuations with l1 + GDL and with the adversary."""
    start = folder.parent / f"forking_ball_mse-{seed}"
    predictors = {}
    for name, preset in PRESETS.items():
        first = preset == "forking_ball_mse.yaml"
        run = start if first else folder / Path(preset).stem
        predictors[name] = trained(demo_config(preset, run, seed, 1, None, None if first else start))
    fresh = forks_for(next(iter(predictors.values())), FORKS)
    predictions = {name: predictor.predict(fresh.context, 1)[:, 0] for name, predictor in predictors.items()}
    numbers = measure(fresh, {GHOST: fresh.ghost, "a true future": fresh.right, **predictions})
    for name, images in predictions.items():
        numbers[name]["left"] = float(goes_left(images, fresh).float().mean())
    return {"forks": FORKS, "world_seed": WORLD_SEED, "models": rounded(numbers)}


def samples(folder: Path, seed: int) -> dict[str, Any]:
    """Measure 20 samples at every fork; where only one future is possible, compare with the model without noise."""
    predictor = trained(demo_config("forking_ball_samples.yaml", folder / "samples", seed, 1, None))
    # forking_ball_mse.yaml is forking_ball_samples.yaml without noise.
    plain = trained(demo_config("forking_ball_mse.yaml", folder.parent / f"forking_ball_mse-{seed}", seed, 1, None))
    world = ForkingBallWorld(predictor.history_len, 1, seed=WORLD_SEED)
    fresh = find_forking_scenes(world, CONTEXTS)
    context, truth = find_certain_scenes(world, CONTEXTS)

    def drawn(context: Tensor) -> Tensor:
        return predictor.predict(context, 1, DRAWS, seed=0)[:, :, 0]

    draws = drawn(fresh.context)
    pooled = {"with noise": drawn(context), "without noise": plain.predict(context, 1)}
    errors = {name: float((images - truth[:, None]).square().mean()) for name, images in pooled.items()}
    numbers = {
        "both futures occur": float(both_occur(draws, fresh).float().mean()),
        "sharp draws": sharp_share(draws, fresh),
        "draws to the left": left_share(draws, fresh),
        "psnr of certain scenes": {name: float(-10 * torch.tensor(error).log10()) for name, error in errors.items()},
    }
    return {"forks": CONTEXTS, "draws": DRAWS, "certain_scenes": CONTEXTS, "world_seed": WORLD_SEED, **rounded(numbers)}


def left_share(draws: Tensor, fresh: ForkingScenes) -> float:
    """Return the share of samples in which the ball goes left."""
    return float(torch.stack([goes_left(draw, fresh) for draw in draws.unbind(1)]).float().mean())


def balance(folder: Path, seed: int) -> dict[str, Any]:
    """Train with an adversary and default settings for 2,000 steps and measure the discriminator's accuracy.

    In balance: after step 200, the mean over the last 50 steps lies in [0.5, 0.9]. A run that diverges raises, so a
    result implies that it did not.
    """
    overrides = [*GAME, f"training.steps={GAME_STEPS}", "training.log_every=1", f"seed={seed}", f"run={folder / 'run'}"]
    config = load_config(None, [*overrides, "training.image_every=0", "training.validate_every=0"])
    trained(config)
    lines = read_metrics(folder / "run")
    by_step = {line["step"]: line for line in lines if "discriminator/accuracy" in line}
    numbers = balance_numbers([by_step[step]["discriminator/accuracy"] for step in range(1, GAME_STEPS + 1)])
    numbers["mean saturated"] = sum(line["discriminator/saturated"] for line in by_step.values()) / len(by_step)
    return {"settings": list(GAME), "steps": GAME_STEPS, **rounded(numbers)}


def balance_numbers(accuracy: list[float]) -> dict[str, Any]:
    """Summarize the discriminator's accuracy, one value per step from step 1 on."""
    sums = list(accumulate(accuracy, initial=0.0))
    low, high = BALANCED
    means = [(sums[step] - sums[step - WINDOW]) / WINDOW for step in range(SETTLED + 1, len(accuracy) + 1)]
    return {
        "share of steps in balance": sum(low <= mean <= high for mean in means) / len(means),
        "below": sum(mean < low for mean in means) / len(means),
        "above": sum(mean > high for mean in means) / len(means),
        "lowest": min(means),
        "highest": max(means),
        "mean": sum(means) / len(means),
    }


def objectives(folder: Path, seed: int) -> dict[str, Any]:
    """Train and measure what the demo ends with: three objectives on its clip."""
    folder.mkdir(parents=True, exist_ok=True)
    clip = Path(copyfile(CLIP, folder / CLIP.name))  # its index stands next to it
    predictors = train_objectives(clip, folder, seed, TRAINING_STEPS)
    result = measure_objectives(predictors)
    models = {
        name: {metric: [total.mean for total in scores.overall[metric]] for metric in REPORTED}
        for name, scores in result.scores.items()
    }
    return {"steps": TRAINING_STEPS, "windows": result.windows, "models": rounded(models)}


def rounded(value: Any) -> Any:
    """Round all floats of nested dictionaries and lists to four digits."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


SHARP_EXPERIMENTS = [
    Experiment(name, seed, measure)
    for name, measure in (
        ("forks", forks),
        ("samples", samples),
        ("game in balance", balance),
        ("three objectives on a clip", objectives),
    )
    for seed in SEEDS
]
