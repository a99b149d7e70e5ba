"""`predict`: predict and render the future frames of clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vidpred.bounds import MOST_SAMPLES, MOST_SIDE
from vidpred.commands.options import (
    CheckpointOption,
    ContextFrames,
    Device,
    Generators,
    Models,
    NumFrames,
    SharpnessOption,
)
from vidpred.errors import warn

if TYPE_CHECKING:
    from vidpred.inference.predict_video import PredictRequest
    from vidpred.inference.predictor import Predictor
    from vidpred.media.prediction_files import Output


Clips = Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Videos, or folders of videos.")]
OutputOption = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        help="What to write: a video (.mp4, .gif), a strip of all frames (.png), an array (.npy, .npz), or the "
        "predicted frames (FOLDER/).",
    ),
]
SeveralRuns = Annotated[
    list[Path] | None,
    typer.Option("--run", "-r", help="Run or checkpoint folder, repeatable (default: the package's weights)."),
]
Start = Annotated[
    int | None, typer.Option(help="Index of the first frame to predict (default: hold out the clip's last frames).")
]
AfterEnd = Annotated[bool, typer.Option("--after-end", help="Predict frames after the end of the clip.")]
Size = Annotated[
    int | None,
    typer.Option(
        min=0, max=MOST_SIDE, help="Short side of the frames in pixels; 0: the clip's (default: the run's data.size)."
    ),
]
Bare = Annotated[
    bool, typer.Option("--bare", help="Only the predicted frames: no context, ground truth, borders or labels.")
]
FormatOption = Annotated[
    Literal["frames", "mp4", "gif", "png", "npy", "npz"] | None,
    typer.Option("--format", help="What to write for every clip into an output FOLDER (default: frames)."),
]
Rate = Annotated[float, typer.Option(min=0.1, max=1000, help="Frames per second of an output video.")]
FrameMetrics = Annotated[
    Path | None,
    typer.Option("--json", help="JSON file for the metrics of every frame with ground truth; replaces a file."),
]
Samples = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_SAMPLES,
        help="Number of futures to draw from each run: the shipped weights and other runs of model.name=motion above "
        "--sharpness 0, and runs that were trained with noise.",
    ),
]
Actions = Annotated[
    Path | None,
    typer.Option(help="Actions (.npy, frames x values) for runs that take them; row i leads from frame i to i+1."),
]
States = Annotated[
    Path | None, typer.Option(help="States (.npy, frames x values) for runs that take them; row i is frame i's.")
]


def predict(
    clips: Clips,
    output: OutputOption,
    run: SeveralRuns = None,
    model: Models = None,
    generator: Generators = None,
    context: ContextFrames = None,
    num_frames: NumFrames = 8,
    start: Start = None,
    after_end: AfterEnd = False,
    size: Size = None,
    bare: Bare = False,
    format: FormatOption = None,
    rate: Rate = 5,
    json: FrameMetrics = None,
    samples: Samples = None,
    seed: Annotated[int, typer.Option(min=0, help="Noise seed.")] = 0,
    actions: Actions = None,
    states: States = None,
    sharpness: SharpnessOption = None,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = False,
) -> None:
    """Predict the future frames of one or several clips; with several --run, side by side."""
    from vidpred.checkpoint import PRETRAINED
    from vidpred.errors import ConfigError
    from vidpred.files import check_distinct, check_output
    from vidpred.inference.clips import find_clips, outputs
    from vidpred.inference.load_models import load_predictors
    from vidpred.inference.predict_video import PredictRequest, check_agreement
    from vidpred.media.prediction_files import Output

    found, one = find_clips(clips), len(clips) == 1 and not clips[0].is_dir()
    targets = outputs(found, Output.of(output, bare, rate, overwrite), one, format)
    if len(found) > 1 and (actions or states):
        raise ConfigError("[--actions, --states] belong to one clip; predict the clips one by one")
    check_distinct([("--output", target.path) for target in targets], found)
    for target in targets:
        target.check()
    check_output(json, True, "--json", stream=True)
    runs = (run or []) if run or model or generator else [Path(PRETRAINED)]
    predictors = load_predictors(runs, checkpoint, device, sharpness, generator or [], context, models=model or [])
    requests = [
        PredictRequest(clip, num_frames, start, size, after_end, samples, seed, actions, states) for clip in found
    ]
    check_agreement(requests[0], predictors)
    _predict_all(requests, targets, predictors, json)


def _predict_all(
    requests: Sequence[PredictRequest], targets: Sequence[Output], predictors: Sequence[Predictor], json: Path | None
) -> None:
    """Predict clip by clip. Of several, a bad one costs only itself, and its error is raised at the end."""
    from vidpred.errors import ConfigError, DataError, VidpredError

    records: list[dict[str, Any]] = []
    failures: list[VidpredError] = []
    for request, target in zip(requests, targets, strict=True):
        try:
            _predict_one(request, target, predictors, records if json else None)
        except (ConfigError, DataError) as error:  # of this clip; a full disk would concern all
            if len(requests) == 1:
                raise
            failures.append(error)
            warn(f"skipped: {error}")
    if json and records:
        from vidpred.evaluation.clip_metrics import definitions
        from vidpred.evaluation.report import write_json

        write_json(json, {"definitions": definitions(requests[0].num_samples), "clips": records})
    if failures:
        kind = type(failures[0]) if len({type(error) for error in failures}) == 1 else DataError
        raise kind(f"skipped {len(failures)} of {len(requests)} clips, see above; exit code {kind.exit_code}")


def _predict_one(
    request: PredictRequest, target: Output, predictors: Sequence[Predictor], records: list[dict[str, Any]] | None
) -> None:
    """Predict one clip, and add its metrics to the records."""
    from vidpred.inference.predict_video import VideoPrediction, predict_video

    prediction = VideoPrediction.open(request, predictors)
    typer.echo(f"{request.clip}: {prediction.describe()}")
    if records is None:
        typer.echo(predict_video(prediction, target, progress=True))
        return
    from vidpred.evaluation.clip_metrics import ClipMetrics

    metrics = ClipMetrics(prediction.context(), request.num_frames)
    typer.echo(predict_video(prediction, target, progress=True, observe=metrics.measured))
    about = {"clip": str(request.clip), "output": str(target.path), **prediction.to_json()}
    records.append({**about, "models": metrics.to_json()})
    typer.echo(metrics.summary() or f"no ground truth, so no metrics [{request.clip}]")
