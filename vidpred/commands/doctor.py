"""`doctor`: what is wrong with a run or a config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.commands.options import Overrides


def doctor(
    target: Annotated[str, typer.Argument(help="A run folder, a preset's name or a YAML file's path.")],
    overrides: Overrides = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots here; replaces a file.")] = None,
    steps: Annotated[int, typer.Option(min=2, help="Of the trial of a config.")] = 40,
) -> None:
    """Say what is wrong with a run, or with a config by a short trial: what was seen, why it matters, what to try."""
    from vidpred.commands import diagnose
    from vidpred.files import check_output

    if html:
        check_output(html, True, "--html", (".html",))
    with diagnose.examine(target, overrides or [], steps) as diagnosis:
        typer.echo(diagnose.describe(diagnosis))
        if html:
            diagnose.write_page(html, diagnosis)
            typer.echo(f"\nlook at {html}")
