"""`demo`: blurry against sharp, trained in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the runs, images and the report.")] = Path("runs/demo"),
    seconds: Annotated[int, typer.Option(min=1, help="About how long it may take on 2 CPU cores.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and samples.")] = 0,
    clip: Annotated[Path | None, typer.Option(help="A video to try both losses on as well.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each training, instead of --seconds.")] = None,
) -> None:
    """Train on the two-way world with and without an adversary, and report blurry against sharp."""
    from vidpred.commands.run_demo import run_demo

    typer.echo(run_demo(output, seconds, seed, clip, steps))
