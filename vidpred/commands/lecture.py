"""`lecture`: the figures of a lecture on GANs, computed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def lecture(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the page and the runs.")] = Path(
        "runs/lecture"
    ),
    steps: Annotated[int, typer.Option(min=10, help="Steps of the GAN on the line.")] = 1500,
    point_steps: Annotated[int, typer.Option(min=1, help="Steps of each GAN on eight Gaussians.")] = 2500,
) -> None:
    """Train small GANs on the line and in the plane, and explain on one page what they do (200 CPU seconds)."""
    from vidpred.commands.lecture_report import run_lecture
    from vidpred.processes.folder_lock import locked_output

    with locked_output(output):
        typer.echo(run_lecture(output, steps, point_steps))
