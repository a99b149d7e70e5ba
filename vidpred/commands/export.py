"""`export`: write a trained model as a file for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vidpred.commands.options import CheckpointOption


def export(
    run: Annotated[Path, typer.Option("--run", "-r", help="A run folder or a checkpoint folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write (.onnx, .pt2).")],
    format: Annotated[
        Literal["onnx", "pt2"] | None,
        typer.Option("--format", help="ONNX, or a program of torch.export (default: by the suffix of the output)."),
    ] = None,
    checkpoint: CheckpointOption = "best",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a trained model as ONNX or torch.export: one step of a rollout, or images from noise."""
    from vidpred.inference.export import export as write

    found = write(run, output, format, checkpoint, overwrite)
    for kind in ("inputs", "outputs"):
        for port in found.metadata[kind]:
            print(f"{kind[:-1]:<7} {port['name']}  {' x '.join(map(str, port['shape']))}  {port['dtype']}")
    print(f"{found.path}: at most {found.difference:.1e} from the run's outputs")
