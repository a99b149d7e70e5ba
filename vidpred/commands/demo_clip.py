"""The second part of the demo: blurry and sharp predictions of a real clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidpred.commands.parallel_runs import train_together
from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.data.sources import evaluation_offsets, training_offsets
from vidpred.errors import DataError, counted
from vidpred.evaluation import report
from vidpred.evaluation.evaluate import EvaluationRequest, evaluate, evaluate_predictors
from vidpred.evaluation.metric_table import METRICS
from vidpred.evaluation.protocols import AVERAGING, Evaluation
from vidpred.inference.predict_video import PredictRequest, VideoPrediction, predict_video
from vidpred.inference.predictor import Predictor
from vidpred.media.html_page import Page
from vidpred.media.prediction_files import Output, write_prediction

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
SIZE, MEASURED_SIZE = 144, 96  # short side in pixels of the images, and of the measured frames
MEASURED: dict[str, Any] = {"size": MEASURED_SIZE, "split": "time", "split_fractions": [0.05, 0.05, 0.9]}


LEAST_FRAMES = 80  # of a clip without cuts, so that each part has its windows
CLIP = Path(__file__).parent.parent / "clips" / "box.mp4"  # the shipped weights were not trained on it
ENDS = {"squared error": 0.0, "sharp": 1.0}  # name in the report -> sharpness
AHEAD, MOST_WINDOWS = 8, 4


def check_clip(clip: Path) -> None:
    """Check that a clip has frames for all parts of the demo, before any training.

    Raises:
        VidpredError: It is too short, or cannot be read.
    """
    predictor = Predictor.load("pretrained", device="cpu")
    kept = VideoPrediction.open(PredictRequest(clip, 1, size=SIZE), [predictor]).kept
    config = load_config(PRESET, {**SHARED, "data.root": str(clip)})
    measured = predictor.data.model_copy(update={"root": str(clip), **MEASURED})
    try:
        build_source(measured, "test", range(predictor.history_len + AHEAD))
        build_source(config.data, "train", training_offsets(config.data))
        build_source(config.data, "test", evaluation_offsets(config.data, NUM_FRAMES))
    except DataError as error:
        raise DataError(
            f"{counted(len(kept), 'frame')}, which the demo cannot divide into training and test windows [{clip}]; "
            f"use a clip of at least {LEAST_FRAMES} frames without cuts, or leave --clip out"
        ) from error


def add_both_ends(page: Page, output: Path, clip: Path) -> dict[str, Any]:
    """Predict a clip with both ends of the shipped weights, measure them, and add the results to the page.

    Args:
        page: The page to add to.
        output: The demo's folder, which receives both_ends.mp4, .gif and .png.
        clip: The video.

    Returns:
        The numbers, for JSON.

    Raises:
        VidpredError: The clip cannot be used.
    """
    predictors = write_both_ends(output, clip)
    data = {"root": str(clip), **MEASURED}
    models = {predictor.name: predictor for predictor in predictors}
    result = evaluate(models, data, AHEAD, windows=MOST_WINDOWS, protocol="detail")
    page.heading(f"On a real clip: {clip.name}")
    page.text(
        "The weights that come with vidpred predict eight frames of a clip that they were not trained on. With "
        "--sharpness 0, they average the values at all places that a pixel may come from, which has the least squared "
        "error and is blurry; with --sharpness 1, they average the places and move each pixel once. No adversary takes "
        f"part. An energy of 1 is that of the true frames. Measured on {result.windows} windows of {MEASURED_SIZE} "
        f"pixels; {AVERAGING}."
    )
    page.image(output / "both_ends.mp4", "Ten context frames, then the true future next to both predictions.")
    page.image(output / "both_ends.png", "Every predicted frame: the true future, then both predictions.")
    _add_tables(page, result, AHEAD)
    return result.to_json()


def write_both_ends(output: Path, clip: Path) -> list[Predictor]:
    """Predict a clip with both ends of the shipped weights, and write both_ends.mp4, .gif and .png.

    Args:
        output: The folder to write to.
        clip: The video, whose last frames are predicted.

    Returns:
        The predictors, named as in `ENDS`.

    Raises:
        VidpredError: The clip cannot be used, or the folder cannot be written to.
    """
    predictors = []
    for name, sharpness in ENDS.items():
        predictor = Predictor.load("pretrained", device="cpu")
        predictor.name = name
        predictor.set_sharpness(sharpness)
        predictors.append(predictor)
    prediction = VideoPrediction.open(PredictRequest(clip, AHEAD, size=SIZE), predictors)
    context = prediction.context()
    steps = list(prediction.steps(context))
    for suffix in (".mp4", ".gif", ".png"):
        target = Output.of(output / f"both_ends{suffix}", rate=4.0, overwrite=True)
        write_prediction(target, context, steps, AHEAD)
    return predictors


def _add_tables(page: Page, result: Evaluation, num_frames: int) -> None:
    names = [METRICS[name].title for name in result.protocol.metrics]
    for ahead in report.doubling_steps(num_frames):
        page.table([f"frame t+{ahead}", *names], report.rows(result, ahead))


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
    page.heading(f"Trained on a real clip: {clip.name}")
    page.text(
        f"Trained on the first 70 % of the clip, measured on {result.windows} windows of its last fifth. {AVERAGING}."
    )
    page.image(output / "clip.png", "Predictions with squared error and with the adversary, next to the true frame.")
    page.image(video, f"The last {NUM_FRAMES} frames.")
    _add_tables(page, result, NUM_FRAMES)
    return report.to_json(result, {"data": str(clip)})
