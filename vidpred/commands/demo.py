"""`demo`: compare blurry and sharp predictions, trained in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the runs, images and the report.")] = Path("runs/demo"),
    seconds: Annotated[int, typer.Option(min=1, help="Approximate total time on 2 CPU cores, in seconds.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and samples.")] = 0,
    clip: Annotated[Path | None, typer.Option(help="A video on which to compare both losses as well.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each training, instead of --seconds.")] = None,
) -> None:
    """Train on the forking-ball world with and without an adversary, and report how sharp the predictions are."""
    from vidpred.commands.run_demo import run_demo

    typer.echo(run_demo(output, seconds, seed, clip, steps))
