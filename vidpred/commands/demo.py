"""`demo`: compare blurry and sharp predictions, trained in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the runs, images and the report.")] = Path("runs/demo"),
    seconds: Annotated[int, typer.Option(min=1, help="Approximate total time on 2 CPU cores, in seconds.")] = 390,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and samples.")] = 0,
    clip: Annotated[Path | None, typer.Option(help="Video for the real-clip parts instead of the shipped one.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of each training, instead of --seconds.")] = None,
) -> None:
    """Train with and without an adversary, on forking futures and on a real clip, and report how sharp they are."""
    from vidpred.commands.run_demo import run_demo
    from vidpred.errors import ConfigError
    from vidpred.processes.folder_lock import locked_output

    if clip is not None and clip.resolve().parent == output.resolve():
        raise ConfigError(f"[--clip {clip}] lies among the files of the demo; choose another --output")
    with locked_output(output):
        typer.echo(run_demo(output, seconds, seed, clip, steps))
