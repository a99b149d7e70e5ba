"""`stream`: predict the future frames of a camera, a pipe or a playing file while it goes on."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidpred.bounds import MOST_SIDE, is_image_size, shown
from vidpred.commands.options import (
    A_GENERATOR,
    A_MODEL,
    A_RUN,
    CheckpointOption,
    ContextFrames,
    Device,
    JsonFile,
    NumFrames,
    SharpnessOption,
)
from vidpred.errors import ConfigError, warn

if TYPE_CHECKING:
    from vidpred.streaming.forecasts import ForecastStream
    from vidpred.streaming.outputs import Output

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A video or a folder of images (played at its rate), a camera (/dev/video0, or its number), a named pipe, "
        "or - for standard input.",
    ),
]
# Lists, so that a second one is an error and replaces nothing.
Run = Annotated[list[Path] | None, typer.Option("--run", "-r", help=f"{A_RUN} (default: the package's weights).")]
Model = Annotated[list[str] | None, typer.Option("--model", "-m", help=f"{A_MODEL}.")]
OwnGenerator = Annotated[list[str] | None, typer.Option("--generator", help=f"{A_GENERATOR}.")]
OutputOption = Annotated[
    str | None,
    typer.Option("--output", "-o", help="A video (.mp4), or - for standard output (YUV4MPEG2, as ffplay reads)."),
]
Serve = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="Port of this machine at which browsers see the stream; 0: any free one."),
]
Every = Annotated[
    int | None, typer.Option(min=1, help="Forecast at every n-th frame (default: as often as this machine sustains).")
]
ShortSide = Annotated[
    str | None,
    typer.Option("--size", help="Short side of the frames in pixels; 0: the source's (default: the run's data.size)."),
]
SourceRate = Annotated[
    float | None, typer.Option(min=0.1, max=1000, help="Frames per second of the source (default: as it states).")
]
VideoSize = Annotated[
    str | None, typer.Option(metavar="WxH", help="Size of the raw frames of a pipe, or of a camera, as in 640x480.")
]
PixelFormat = Annotated[str | None, typer.Option(help="Format of raw frames, by FFmpeg's name (default: rgb24).")]
Bare = Annotated[bool, typer.Option("--bare", help="Only the predicted frame, without the newest one and labels.")]


def stream(
    source: SourceArgument,
    output: OutputOption = None,
    serve: Serve = None,
    run: Run = None,
    model: Model = None,
    generator: OwnGenerator = None,
    context: ContextFrames = None,
    num_frames: NumFrames = 8,
    every: Every = None,
    size: ShortSide = None,
    rate: SourceRate = None,
    video_size: VideoSize = None,
    pixel_format: PixelFormat = None,
    bare: Bare = False,
    sharpness: SharpnessOption = None,
    checkpoint: CheckpointOption = "best",
    json: JsonFile = None,
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Predict what a camera, a pipe or a playing file shows next, while it goes on; Ctrl-C ends it."""
    from vidpred.checkpoint import PRETRAINED
    from vidpred.evaluation.report import write_json
    from vidpred.files import check_output
    from vidpred.inference.load_models import load_predictors
    from vidpred.processes.interrupts import stopping_on_signals
    from vidpred.streaming.forecasts import forecast_stream
    from vidpred.streaming.sources import SourceOptions

    _check(output, serve, overwrite)
    check_output(json, True, "--json", stream=True)
    options = SourceOptions(rate, _video_size(video_size), pixel_format)
    runs = (run or []) if run or model or generator else [Path(PRETRAINED)]
    predictors = load_predictors(runs, checkpoint, device, sharpness, generator or [], context, models=model or [])
    if len(predictors) > 1:
        raise ConfigError(f"a stream has one model, here are {len(predictors)} [--run, --model, --generator]")
    forecasts = forecast_stream(source, predictors[0], num_frames, every, _short_side(size), options)
    done = False
    try:
        with stopping_on_signals(forecasts.stop):
            _run(forecasts, output, serve, bare, overwrite)
        done = True
    finally:
        counts = forecasts.statistics
        if counts.frames and (done or output != "-"):  # a failure is one line on standard error
            print(f"{source}: {counts.summary()}", file=sys.stderr if output == "-" else sys.stdout)
        if counts.frames and json:
            write_json(json, {"source": source, **counts.to_json()})


def _run(forecasts: ForecastStream, output: str | None, serve: int | None, bare: bool, overwrite: bool) -> None:
    """Show the forecasts until the source ends or the stream is stopped: KeyboardInterrupt if there was none."""
    from vidpred.errors import DataError
    from vidpred.processes.memory import keep_freed_memory
    from vidpred.streaming.outputs import image_of

    keep_freed_memory()
    with ExitStack() as stack:
        rate = forecasts.open()
        forecasts.tune_threads()
        outputs = _outputs(output, serve, rate, overwrite)
        for place in outputs:
            stack.enter_context(place)
        for forecast in forecasts.outcomes():
            image = image_of(forecast, bare)
            for place in outputs:
                place.write(image, forecast.number)
    counts = forecasts.statistics
    if not (counts.forecasts or counts.late):
        if forecasts.is_stopped:
            raise KeyboardInterrupt
        raise DataError(f"{counts.frames} frames, too few for a forecast; use a longer source")
    if counts.late and not counts.forecasts:
        warn("no forecast took less than a period; choose a smaller --size, fewer --frames or a larger --every")


def _outputs(output: str | None, serve: int | None, rate: float, overwrite: bool) -> list[Output]:
    from vidpred.streaming.outputs import VideoFile, Yuv4MpegPipe
    from vidpred.streaming.server import BrowserServer

    places: list[Output] = []
    if serve is not None:
        server = BrowserServer(serve)
        print(f"open {server.address} in a browser; Ctrl-C ends", file=sys.stderr, flush=True)
        places.append(server)
    if output == "-":
        places.append(Yuv4MpegPipe(sys.stdout.fileno(), rate))
    elif output is not None:
        places.append(VideoFile(Path(output), rate, overwrite))
    return places


def _check(output: str | None, serve: int | None, overwrite: bool) -> None:
    """Check the outputs before any long work. Raises ConfigError or StorageError."""
    from vidpred.files import check_output

    if output is None and serve is None:
        raise ConfigError("no output; give --output FILE.mp4, --output - (for ffplay -) or --serve PORT")
    if output == "-" and sys.stdout.isatty():
        raise ConfigError("[--output -] standard output is a terminal; add | ffplay -")
    if output not in (None, "-"):
        check_output(Path(str(output)), overwrite, "--output", (".mp4",))


def _video_size(text: str | None) -> tuple[int, int] | None:
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text or "")
    size = (int(found[1]), int(found[2])) if found else None
    if text is not None and (size is None or not is_image_size(*size)):
        raise ConfigError(f"[--video-size {shown(text)}] give WIDTHxHEIGHT in pixels, as in 640x480")
    return size


def _short_side(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]+", text):
        raise ConfigError(
            f"[--size {shown(text)}] give the short side in pixels; the size of raw frames is --video-size WxH"
        )
    if len(text) > 5 or int(text) > MOST_SIDE:
        raise ConfigError(f"[--size {shown(text)}] must be at most {MOST_SIDE:,} pixels; lower it")
    return int(text)
