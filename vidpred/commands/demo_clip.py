"""The second part of the demo: the shipped weights on a real clip, with sharpness 0 and 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidpred.commands.demo_objectives import MSE, NUM_FRAMES, objective_configs
from vidpred.commands.demo_report import add_tables, write_images
from vidpred.data.build import build_source
from vidpred.data.sources import evaluation_offsets, training_offsets
from vidpred.errors import DataError, counted
from vidpred.evaluation.evaluate import evaluate
from vidpred.evaluation.protocols import AVERAGING
from vidpred.inference.predict_video import PredictRequest, VideoPrediction
from vidpred.inference.predictor import Predictor
from vidpred.media.html_page import Page

SIZE, MEASURED_SIZE = 144, 96  # short side in pixels of the images, and of the measured frames
MEASURED: dict[str, Any] = {"size": MEASURED_SIZE, "split": "time", "split_fractions": [0.05, 0.05, 0.9]}


MOST_RATIO = 16  # of the sides: H.264 has at most 16,384 pixels, and an image shows several frames in a row
LEAST_FRAMES = 80  # of a clip without cuts, so that each part has its windows
CLIP = Path(__file__).parent.parent / "clips" / "box.mp4"  # the shipped weights were not trained on it
ENDS = {"sharpness 0": 0.0, "sharpness 1": 1.0}  # name in the report -> sharpness
AHEAD, MOST_WINDOWS = 8, 4


def check_clip(clip: Path) -> None:
    """Check that a clip has frames for all parts of the demo, before any training.

    Raises:
        VidpredError: It is too short, or cannot be read.
    """
    predictor = Predictor.load("pretrained", device="cpu")
    prediction = VideoPrediction.open(PredictRequest(clip, 1, size=SIZE), [predictor])
    if max(prediction.size) > MOST_RATIO * min(prediction.size):
        shape = f"{prediction.size[1]}x{prediction.size[0]}"
        raise DataError(
            f"its frames of {shape} pixels are too long for the demo [{clip}]; "
            f"use a clip whose sides differ by a factor of at most {MOST_RATIO}, or leave --clip out"
        )
    trained = objective_configs(clip, clip.parent, 0, 1)[MSE].data
    measured = predictor.data.model_copy(update={"root": str(clip), **MEASURED})
    try:
        build_source(measured, "test", range(predictor.history_len + AHEAD))
        build_source(trained, "train", training_offsets(trained))
        build_source(trained, "test", evaluation_offsets(trained, NUM_FRAMES))
    except DataError as error:
        length = counted(len(prediction.kept), "frame")
        raise DataError(
            f"{length}, which the demo cannot divide into training and test windows [{clip}]; "
            f"use a clip of at least {LEAST_FRAMES} frames without cuts, or leave --clip out"
        ) from error


def add_both_ends(page: Page, output: Path, clip: Path) -> dict[str, Any]:
    """Predict a clip by the shipped weights with sharpness 0 and 1, measure them, and add the results to the page.

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
    add_tables(page, result)
    return result.to_json()


def write_both_ends(output: Path, clip: Path) -> list[Predictor]:
    """Predict a clip by the shipped weights with sharpness 0 and 1, and write both_ends.mp4, .gif and .png.

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
    write_images(output / "both_ends", PredictRequest(clip, AHEAD, size=SIZE), predictors)
    return predictors
