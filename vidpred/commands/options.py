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
