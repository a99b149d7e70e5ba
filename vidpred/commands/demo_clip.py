"""The second part of the demo: squared error compared with an adversary on a real clip."""

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
from vidpred.media.prediction_files import Output

PRESET = "release.yaml"
TRAINING_STEPS = 600
SHARED: dict[str, Any] = {
    "data.size": 96, "data.crop_size": 48, "training.batch_size": 8,
    "training.image_every": 0, "training.validate_every": 0, "checkpoint.keep": 1,
}  # fmt: skip
OBJECTIVES: dict[str, dict[str, Any]] = {
    "mean squared error": {"objective.lp_exponent": 2.0, "objective.gdl_weight": 0.0},
    "with the adversary": {
        "objective.adversarial.weight": 0.0125, "objective.adversarial.r1_weight": 0.1, "discriminator.size": "strided",
        "training.discriminator.betas": [0.5, 0.99],
    },
}  # fmt: skip
NUM_FRAMES = 4  # predicted and measured
WINDOWS = 20


def add_clip(page: Page, output: Path, clip: Path, seed: int, scale: float, steps: int | None) -> dict[str, Any]:
    """Train with both losses on the first part of a video, predict the rest, and add the results to the page.

    Args:
        page: The page to add to.
        output: The demo's folder.
        clip: The video.
        seed: Seed of weights and samples.
        scale: Factor of the default number of steps.
        steps: Number of steps of each training; None: the scaled default.

    Returns:
        The numbers, for JSON.

    Raises:
        VidpredError: The clip cannot be used, or a training failed.
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
    result = evaluate_predictors(predictors, EvaluationRequest(NUM_FRAMES, WINDOWS))
    video = output / "clip.mp4"
    for num_frames, file in ((NUM_FRAMES, video), (1, output / "clip.png")):
        predict_video(
            VideoPrediction.open(PredictRequest(clip, num_frames), predictors), Output.of(file, rate=2, overwrite=True)
        )
    page.heading(f"On a real clip: {clip.name}")
    page.text(
        f"Trained on the first 70 % of the clip, measured on {result.windows} windows of its last fifth. {AVERAGING}."
    )
    page.image(output / "clip.png", "Predictions with squared error and with the adversary, next to the true frame.")
    page.image(video, f"The last {NUM_FRAMES} frames.")
    names = [METRICS[name].title for name in result.protocol.metrics]
    for ahead in report.doubling_steps(NUM_FRAMES):
        page.table([f"frame t+{ahead}", *names], report.rows(result, ahead))
    return report.to_json(result, {"data": str(clip)})
