"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings by dotted key, as in data.root=clips.")
]
ConfigOption = Annotated[str | None, typer.Option("--config", "-c", help="A preset's name or a YAML file's path.")]
Runs = Annotated[list[Path], typer.Option("--run", "-r", help="A run folder or a checkpoint folder.")]
CheckpointOption = Annotated[str, typer.Option(help="best, last or step-N.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
NumFrames = Annotated[int, typer.Option("--frames", min=1, help="Number of future frames to predict.")]
Split = Annotated[str, typer.Option(help="test, validation or train.")]
Windows = Annotated[int, typer.Option(min=0, help="Maximum number of windows, evenly spread; 0: all.")]
ProtocolName = Annotated[
    str, typer.Option("--protocol", help="plain, sharpness, mathieu2016 or openstl: which numbers.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write all numbers here; replaces a file.")]
PlotFile = Annotated[
    Path | None,
    typer.Option("--plot", help="Draw quality against frames ahead here (.png, .pdf, .svg); replaces a file."),
]
SeveralFutures = Annotated[
    int | None,
    typer.Option(min=2, help="Futures to draw in each window from runs that take noise: best, mean and worst."),
]
FeatureFile = Annotated[
    Path | None,
    typer.Option("--feature-distance", help="Distance of features by this network (python -m benchmarks.lite0 FILE)."),
]
SharpnessOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="For model.name=motion: 0 blends values (highest PSNR), 1 warps once (sharp)."),
]
