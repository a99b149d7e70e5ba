"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.bounds import MOST_FRAMES, MOST_FUTURE, MOST_SAMPLES, MOST_SIDE
from vidpred.errors import ConfigError

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings by dotted key, for example data.root=clips."),
]
ConfigOption = Annotated[str | None, typer.Option("--config", "-c", help="A preset's name or the path of a YAML file.")]
A_RUN = "A run folder or a checkpoint folder"
A_MODEL = "A model by name (pretrained), a folder, or a repository of the Hugging Face Hub (user/model[@revision])"
A_GENERATOR = "Your own generator as package.module:NAME (a torch module, its class, or a function of the context)"
Runs = Annotated[list[Path] | None, typer.Option("--run", "-r", help=f"{A_RUN}, repeatable.")]
Models = Annotated[list[str] | None, typer.Option("--model", "-m", help=f"{A_MODEL}, repeatable.")]
Generators = Annotated[list[str] | None, typer.Option("--generator", help=f"{A_GENERATOR}, repeatable.")]
ContextFrames = Annotated[
    int | None,
    typer.Option(
        "--context", min=1, max=MOST_FRAMES, help="Context frames of a --generator without an attribute context_frames."
    ),
]
FrameSize = Annotated[
    int | None,
    typer.Option(min=8, max=MOST_SIDE, help="Short side of the frames, for all models (default: the run's data.size)."),
]
CheckpointOption = Annotated[str, typer.Option(help="Checkpoint: best, last or step-N.")]
Device = Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")]
NumFrames = Annotated[int, typer.Option("--frames", min=1, max=MOST_FUTURE, help="Number of future frames to predict.")]
Split = Annotated[str, typer.Option(help="Split of the data: test, validation or train.")]
Windows = Annotated[int, typer.Option(min=0, help="Maximum number of windows, evenly spaced; 0: all.")]
ProtocolName = Annotated[str, typer.Option("--protocol", help="Set of metrics: plain, detail, mathieu2016 or openstl.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="JSON file to write all numbers to; an existing file is replaced.")
]
PlotFile = Annotated[
    Path | None,
    typer.Option("--plot", help="Plot of the metrics per frame to write (.png, .pdf, .svg); replaces a file."),
]
SeveralFutures = Annotated[
    int | None,
    typer.Option(
        min=2,
        max=MOST_SAMPLES,
        help="Futures to draw per window from runs with noise or of model.name=motion; reports best, mean and worst.",
    ),
]
FeatureFile = Annotated[
    Path | None,
    typer.Option(
        "--feature-distance",
        help="Measure the distance of this network's features (to make the file: python -m benchmarks.lite0 FILE).",
    ),
]
SharpnessOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="For model.name=motion: 0 blends pixels (highest PSNR), 1 warps once (sharpest)."),
]
ImageCount = Annotated[
    int, typer.Option("--count", min=20, max=MOST_SAMPLES, help="Number of images to draw from each image generator.")
]
ImageFeatures = Annotated[
    Path | None, typer.Option("--features", help="Network whose features compare images (torch.export).")
]
OF_FRAMES = (
    "context", "size", "num_frames", "windows", "protocol", "samples", "lpips", "feature_distance", "fid", "fvd",
    "plot", "sharpness", "paper",
)  # fmt: skip
OF_IMAGES = ("count", "features", "neighbors")


def refuse_unused(ctx: typer.Context, images: bool) -> bool:
    """Refuse options that only runs of the other kind use; return `images`.

    Args:
        ctx: The command's context.
        images: Whether the runs generate images.

    Raises:
        ConfigError: One was given.
    """
    for option in ctx.command.params:
        given = getattr(ctx.get_parameter_source(option.name or ""), "name", "") == "COMMANDLINE"
        if given and option.name in (OF_FRAMES if images else OF_IMAGES):
            kind, here = ("predict frames", "generate images") if images else ("generate images", "predict frames")
            raise ConfigError(f"[{option.opts[0]}] is for runs that {kind}, and these {here}; leave it out")
    return images
