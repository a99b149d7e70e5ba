"""`doctor`: diagnose a run or a config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.commands.options import Overrides


def doctor(
    target: Annotated[str, typer.Argument(help="A run folder, a preset's name or the path of a YAML file.")],
    overrides: Overrides = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="HTML page with plots to write; an existing file is replaced.")
    ] = None,
    steps: Annotated[int, typer.Option(min=2, help="Steps of the trial run of a config.")] = 40,
) -> None:
    """Diagnose a run, or a config after a short trial run, and suggest remedies."""
    from vidpred.commands import diagnose
    from vidpred.files import check_output

    if html:
        check_output(html, True, "--html", (".html",))
    with diagnose.examine(target, overrides or [], steps) as report:
        typer.echo(diagnose.describe(report))
        if html:
            diagnose.write_page(html, report)
            typer.echo(f"\nopen {html}")
