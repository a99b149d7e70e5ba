"""`predict`: the future frames of a clip, rendered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.commands.options import CheckpointOption, Device, NumFrames, SharpnessOption


def predict(
    clip: Annotated[Path, typer.Argument(help="A video file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="An .mp4, .gif or .png (a strip) file.")],
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", "-r", help="A run folder or a checkpoint folder; without it the weights of the package."),
    ] = None,
    num_frames: NumFrames = 8,
    start: Annotated[
        int | None,
        typer.Option(help="First frame to predict. Without it the clip's last frames are held out as truth."),
    ] = None,
    after_end: Annotated[bool, typer.Option("--after-end", help="Predict what comes after the clip.")] = False,
    size: Annotated[
        int | None, typer.Option(min=0, help="Short side to predict at; 0: the clip's. Without it the run's data.size.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Images a second of the output.")] = 5,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Futures to draw from each run, side by side; the runs must take noise.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    actions: Annotated[
        Path | None, typer.Option(help="An .npy file (frames, values) for runs that take actions: row i moves frame i.")
    ] = None,
    states: Annotated[
        Path | None, typer.Option(help="An .npy file (frames, values) for runs that take states: row i is frame i's.")
    ] = None,
    sharpness: SharpnessOption = None,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")] = False,
) -> None:
    """Predict a clip's coming frames and render them; several --run stand side by side."""
    from vidpred.checkpoint import PRETRAINED
    from vidpred.files import check_output
    from vidpred.inference.predict_video import PredictRequest, VideoPrediction, predict_video
    from vidpred.inference.predictor import load_predictors
    from vidpred.media.video_writer import SUFFIXES

    check_output(output, overwrite, "--output", SUFFIXES)
    predictors = load_predictors(run or [Path(PRETRAINED)], checkpoint, device, sharpness)
    request = PredictRequest(clip, num_frames, start, size, after_end, samples, seed, actions, states)
    prediction = VideoPrediction.open(request, predictors)
    typer.echo(prediction.describe())
    count = predict_video(prediction, output, rate, overwrite, progress=True)
    typer.echo(f"{output}: {count} images, blue known, green truth, orange predicted")
