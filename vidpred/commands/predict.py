"""`predict`: predict and render the future frames of a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.commands.options import CheckpointOption, Device, NumFrames, SharpnessOption


def predict(
    clip: Annotated[Path, typer.Argument(help="A video file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Video (.mp4, .gif) or strip of frames (.png) to write.")
    ],
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", "-r", help="Run or checkpoint folder, repeatable (default: the package's weights)."),
    ] = None,
    num_frames: NumFrames = 8,
    start: Annotated[
        int | None,
        typer.Option(help="Index of the first frame to predict (default: hold out the clip's last frames)."),
    ] = None,
    after_end: Annotated[bool, typer.Option("--after-end", help="Predict frames after the end of the clip.")] = False,
    size: Annotated[
        int | None,
        typer.Option(min=0, help="Short side of the frames in pixels; 0: the clip's (default: the run's data.size)."),
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Frames per second of the output.")] = 5,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Number of futures to draw from each run; the runs must take noise.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Noise seed.")] = 0,
    actions: Annotated[
        Path | None,
        typer.Option(help="Actions (.npy, frames x values) for runs that take them; row i leads from frame i to i+1."),
    ] = None,
    states: Annotated[
        Path | None, typer.Option(help="States (.npy, frames x values) for runs that take them; row i is frame i's.")
    ] = None,
    sharpness: SharpnessOption = None,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")] = False,
) -> None:
    """Predict and render the future frames of a clip; with several --run, side by side."""
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
    typer.echo(f"{output}: {count} images (context blue, true frames green, predictions orange)")
