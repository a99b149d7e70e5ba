"""`train` and `config`: train a run, and print its settings."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidpred.commands.exit_status import leave_exit_code, set_run_folder, started_alone
from vidpred.commands.options import ConfigOption, Overrides
from vidpred.errors import warn

if TYPE_CHECKING:
    from vidpred.data.settings import DataSettings

ALONE = (
    "only one process runs, although several were requested: Accelerate starts several only on GPUs; on CPUs use "
    "torchrun --nproc_per_node N -m vidpred train ..."
)


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE]...",
        help="A preset's name, a YAML file or the folder of a run to resume (as --config), then settings such as "
        "data.root=clips.",
    ),
]


def train(
    words: Words = None,
    config: ConfigOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print a summary of the run with its measured speed, and stop.")
    ] = False,
) -> None:
    """Train a model; the same command resumes a stopped run."""
    from vidpred.config import load_config, split_words

    config, overrides = split_words(words or [], config)
    settings = load_config(config, overrides)
    from vidpred import run

    if dry_run:
        main = os.environ.get("RANK", "0") == "0"
        if main:
            typer.echo(run.plan(settings))
        lines = run.measure(settings)
        if main and lines:
            typer.echo("\n".join(lines))
        return
    if started_alone():
        warn(ALONE)
    set_run_folder(Path(settings.run))
    result = run.train(settings)
    leave_exit_code(0, f"stopped early at step {result.steps}" if result.stopped_early else "trained")
    if os.environ.get("RANK", "0") == "0":
        images = f"see {result.folder}/images; " if (result.folder / "images").is_dir() else ""
        early = " (stopped early)" if result.stopped_early else ""
        trained = result.first_step < result.steps
        done = f"trained to step {result.steps}{early}" if trained else f"nothing left to do{early}"
        typer.echo(f"{done}: {result.folder} ({images}{next_command(result.folder, settings.data)})")


def next_command(run: Path, data: DataSettings) -> str:
    """Return the command that shows what a run learned, as it can be pasted into a shell."""
    folder = shlex.quote(str(run))
    if data.context_frames:
        return f"vidpred evaluate --run {folder}"
    if data.has_points:
        return f"vidpred sample --run {folder} --output {shlex.quote(f'{run}/samples.png')}"
    return f"vidpred sample --run {folder} --grid --output {shlex.quote(f'{run}/samples.png')}"


def show_config(
    config: Annotated[
        str | None, typer.Argument(help="A preset's name or the path of a YAML file; with --explain a section.")
    ] = None,
    overrides: Overrides = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Explain all settings, or those of a section: --explain data.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the explanation as Markdown.")] = False,
) -> None:
    """Print all settings of a run, and where each value came from."""
    from vidpred import config as settings

    if explain:
        typer.echo(settings.explain(config, markdown))
        return
    first = [config] if config and "=" in config else []
    preset = None if first else config
    typer.echo(settings.describe(settings.load_with_origins(preset, [*first, *(overrides or [])])))
