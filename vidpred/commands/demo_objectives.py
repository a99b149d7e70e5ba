"""The last part of the demo: one network, trained with three objectives on the first part of a clip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from vidpred.commands.demo_report import add_tables, write_images
from vidpred.commands.parallel_runs import train_together
from vidpred.config import Config, load_config
from vidpred.evaluation import report
from vidpred.evaluation.evaluate import EvaluationRequest, evaluate_predictors
from vidpred.evaluation.metric_table import METRICS, find_protocol
from vidpred.evaluation.protocols import AVERAGING, Evaluation
from vidpred.inference.predict_video import PredictRequest
from vidpred.inference.predictor import Predictor
from vidpred.media.html_page import Page

TRAINING_STEPS = 1200
PREDICTED = 4  # frames that the network predicts at once
MSE, SHARP, ADVERSARY = "MSE", "l1 + GDL", "l1 + GDL + adversary"  # each has one term more than the one before
CHANGES = ("l1 + GDL instead of the squared error", "The adversary in addition")
ADAM: dict[str, Any] = {"name": "adam", "learning_rate": 1e-3, "betas": [0.5, 0.99]}
SHARED: dict[str, Any] = {
    "data.size": 96, "data.crop_size": 64, "data.min_motion": 0.0005, "data.pred_frames": PREDICTED,
    "data.split_fractions": [0.65, 0.1, 0.25],
    "model": {"name": "film_unet", "widths": [32, 64, 96], "warp": True},
    "training.batch_size": 4, "training.generator": ADAM, "training.grad_clip_norm": 1.0, "training.ema_decay": 0.99,
    "training.schedule": {"shape": "cosine", "hold": 0.5, "final": 0.05},
    "training.image_every": 0, "training.validate_every": 0, "training.monitor_every": 0, "checkpoint.keep": 1,
}  # fmt: skip
START, RAMP = 0.3, 0.1  # of the steps: when the adversary's weight begins to rise, and how long it rises
WEIGHT = 0.5  # of the adversary's gradient relative to that of l1 + GDL; with 1, a part of the added detail is false
WINDOWS = 12
NUM_FRAMES = 8  # predicted and measured
REPORTED = ("energy_moving", "patches", "warp_error", "psnr")
SMALLEST = 0.02  # relative change of a metric that counts as one; for PSNR, in dB:
SMALLEST_PSNR = 0.1


def objective(name: str, steps: int) -> dict[str, Any]:
    """Return the settings of an objective for a training of that many steps."""
    if name == MSE:
        return {"objective.lp_exponent": 2.0, "objective.gdl_weight": 0.0}
    if name == SHARP:
        return {}
    return {
        "discriminator.name": "patch", "training.discriminator": ADAM,
        "objective.adversarial": {
            "weight": WEIGHT, "balanced": True, "loss": "hinge", "r1_weight": 0.01,
            "start": int(START * steps), "ramp": max(1, int(RAMP * steps)),
        },
    }  # fmt: skip


def objective_configs(clip: Path, folder: Path, seed: int, steps: int) -> dict[str, Config]:
    """Return the three trainings on a clip by the name of their objective; they differ in nothing else.

    Args:
        clip: The video.
        folder: Folder of the runs.
        seed: Seed of weights and samples.
        steps: Steps of each training.
    """
    return {
        name: load_config(None, {
            **SHARED, **objective(name, steps), "data.root": str(clip), "seed": seed, "training.steps": steps,
            "run": str(folder / name.replace(" + ", "-")),
        })
        for name in (MSE, SHARP, ADVERSARY)
    }  # fmt: skip


def add_objectives(page: Page, output: Path, clip: Path, seed: int, scale: float, steps: int | None) -> dict[str, Any]:
    """Train with three objectives on the first part of a video, predict the rest, and add the results to the page.

    Args:
        page: The page to add to.
        output: The demo's folder, which receives clip.mp4, .gif and .png.
        clip: The video.
        seed: Seed of weights and samples.
        scale: Factor of the default number of steps.
        steps: Number of steps of each training; None: the scaled default.

    Returns:
        The numbers and, as "found", what they say, for JSON.

    Raises:
        VidpredError: The clip cannot be used, or a training failed.
    """
    steps = steps or max(1, round(TRAINING_STEPS * scale))
    predictors = train_objectives(clip, output / f"clip-{clip.stem}", seed, steps)
    result = measure_objectives(predictors)
    write_images(output / "clip", PredictRequest(clip, NUM_FRAMES), predictors)
    found = describe_objectives(result)
    add_to_page(page, output, clip, result, found)
    return {**report.to_json(result, {"data": str(clip)}), "found": found}


def train_objectives(clip: Path, folder: Path, seed: int, steps: int) -> list[Predictor]:
    """Train with the three objectives, see `objective_configs`; return the predictors, named by their objectives."""
    configs = objective_configs(clip, folder, seed, steps)
    # The slowest first: the other two then share the second core.
    train_together([configs[name] for name in (ADVERSARY, MSE, SHARP)], f"three trainings on {clip.name}")
    predictors = []
    for name, config in configs.items():
        predictors.append(Predictor.load(config.run, "last", device="cpu"))
        predictors[-1].name = name
    return predictors


def measure_objectives(predictors: Sequence[Predictor]) -> Evaluation:
    """Measure predictors of `train_objectives`, and the baselines, on the last part of their clip."""
    shown = tuple(report.doubling_steps(NUM_FRAMES))
    return evaluate_predictors(
        predictors, EvaluationRequest(NUM_FRAMES, WINDOWS, find_protocol("detail"), frames=shown)
    )


def add_to_page(page: Page, output: Path, clip: Path, result: Evaluation, found: list[str]) -> None:
    """Add the images, what the numbers say, and the tables."""
    page.heading(f"Three objectives on a real clip: {clip.name}")
    page.text(
        "One small U-Net, which moves the last frame and corrects it, was trained three times from the same weights, "
        "on the same samples of the first two thirds of the clip and for the same number of steps; only the objective "
        f"differs. Measured on {result.windows} windows of its last quarter, which shows the same scene: a "
        f"network trained on one clip for minutes does not predict others. {AVERAGING}."
    )
    page.image(output / "clip.mp4", "Context frames, then the true future next to the three predictions.")
    page.image(output / "clip.png", "Every predicted frame: the true future, then the three predictions.")
    for sentence in found:
        page.text(sentence)
    add_tables(page, result)


def describe_objectives(result: Evaluation, ahead: int = NUM_FRAMES) -> list[str]:
    """Return what each term of the objective changes on the held-out frames, by the numbers.

    Args:
        result: The evaluation of the three objectives.
        ahead: The predicted frame that counts.
    """
    values = {
        name: {metric: result.scores[name].overall[metric][ahead - 1].mean for metric in REPORTED}
        for name in (MSE, SHARP, ADVERSARY)
    }
    sentences = []
    verdicts: dict[str, str] = {}
    for change, (before, after) in zip(CHANGES, pairwise(values.values()), strict=True):
        verdicts = {metric: verdict(metric, before[metric], after[metric]) for metric in REPORTED}
        parts = [_change(metric, before, after, verdicts[metric]) for metric in REPORTED if verdicts[metric]]
        sentences.append(f"{change}, frame t+{ahead}: {'; '.join(parts) or 'nothing that can be measured'}.")
    return [*sentences, conclude(verdicts)]


def verdict(metric: str, before: float, after: float) -> str:
    """Return whether a change of a metric is better, worse or small; empty if it is not defined."""
    if not (math.isfinite(before) and math.isfinite(after)):
        return ""
    kind = METRICS[metric]
    if abs(after - before) < (SMALLEST_PSNR if metric == "psnr" else SMALLEST * abs(before)):
        return "no change"
    if kind.best is not None:
        closer = abs(after - kind.best) < abs(before - kind.best)
    else:
        closer = (after < before) == kind.lower_is_better
    return "better" if closer else "worse"


def _change(metric: str, before: Mapping[str, float], after: Mapping[str, float], word: str) -> str:
    kind = METRICS[metric]
    aim = "" if kind.best is None else f", true frames {kind.best:g}"
    return f"{kind.title} {before[metric]:.2f} to {after[metric]:.2f} ({word}{aim})"


def conclude(verdicts: Mapping[str, str]) -> str:
    """Return what the adversary is worth here, by the verdicts on its change."""
    energy, patches, psnr = (verdicts[metric] for metric in ("energy_moving", "patches", "psnr"))
    if not energy:
        return "Nothing moves in the measured frames, so they do not tell what the adversary is worth."
    if energy != "better":
        return "On this clip the adversary does not bring the amount of detail closer to that of the true frames."
    if patches == "worse":
        return (
            "The adversary brings the amount of detail closer to that of the true frames, but the patches are less "
            "like true ones: a part of the added detail is false."
        )
    position = {"worse": "at a lower PSNR: not all of it is in the right place", "no change": "at the same PSNR"}
    return (
        "The adversary brings the amount of detail closer to that of the true frames, "
        f"{position.get(psnr, 'at a higher PSNR')}."
    )
