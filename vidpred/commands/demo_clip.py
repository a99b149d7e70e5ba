"""The demo's second half: squared error against the adversary on a real clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidpred.commands.parallel_runs import train_together
from vidpred.config import load_config
from vidpred.evaluation import report
from vidpred.evaluation.evaluate import EvaluationRequest, evaluate_predictors
from vidpred.evaluation.metric_table import METRICS
from vidpred.evaluation.protocols import AVERAGING
from vidpred.inference.predict_video import PredictRequest, VideoPrediction, predict_video
from vidpred.inference.predictor import Predictor
from vidpred.media.html_page import Page

PRESET = "release.yaml"
TRAINING_STEPS = 600
SHARED: dict[str, Any] = {
    "data.size": 96, "data.crop_size": 48, "training.batch_size": 8, "training.best_by": "last",
    "training.image_every": 0, "training.validate_every": 0, "checkpoint.keep": 1,
}  # fmt: skip
OBJECTIVES: dict[str, dict[str, Any]] = {
    "mean squared error": {"objective.lp_exponent": 2.0, "objective.gdl_weight": 0.0},
    "with the adversary": {
        "objective.adversarial.weight": 0.0125, "objective.adversarial.r1_weight": 0.1, "discriminator.size": "strided",
        "training.discriminator.betas": [0.5, 0.99],
    },
}  # fmt: skip
STEPS = 4  # frames ahead
WINDOWS = 20


def add_clip(page: Page, output: Path, clip: Path, seed: int, scale: float, steps: int | None) -> dict[str, Any]:
    """Train both on the first part of a video, predict the rest; adds to the page and returns the numbers.

    Raises vidpred's errors.
    """
    steps = steps or max(1, round(TRAINING_STEPS * scale))
    configs = [
        load_config(PRESET, {
            **SHARED, **objective, "run": str(output / "clip" / name.replace(" ", "-")), "seed": seed,
            "data.root": str(clip), "training.steps": steps,
        })
        for name, objective in OBJECTIVES.items()
    ]  # fmt: skip
    train_together(configs[::-1], f"two trainings on {clip.name}")
    predictors = [Predictor.load(config.run, "last", device="cpu") for config in configs]
    result = evaluate_predictors(predictors, EvaluationRequest(STEPS, WINDOWS))
    video = output / "clip.mp4"
    for frames, file in ((STEPS, video), (1, output / "clip.png")):
        predict_video(VideoPrediction.open(PredictRequest(clip, frames), predictors), file, 2.0, overwrite=True)
    page.heading(f"On a real clip: {clip.name}")
    page.text(
        f"Trained on the first 70 % of the clip, measured on {result.windows} windows of its last fifth. {AVERAGING}."
    )
    page.image(output / "clip.png", "Squared error and adversary beside the truth.")
    page.image(video, f"The last {STEPS} frames.")
    names = [METRICS[name].title for name in result.protocol.metrics]
    for step in report.doubling_steps(STEPS):
        page.table([f"frame t+{step}", *names], report.rows(result, step))
    return report.to_json(result, {"data": str(clip)})
