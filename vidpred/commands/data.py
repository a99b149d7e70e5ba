"""`prepare`: prepare a data set."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

from vidpred.bounds import MOST_PROCESSES
from vidpred.errors import ConfigError

SETTING = re.compile(r"[A-Za-z_]\w*=")  # a path that looks like one is written ./a=b


def prepare(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME SOURCE [TARGET] [KEY=VALUE]...",
            help="Kind of data set, its path, the folder to write, and settings, for example size=64.",
        ),
    ] = None,
    cache: Annotated[bool, typer.Option("--cache", help="Decode videos once into frames that load fast.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, max=MOST_PROCESSES, help="Number of processes (default: one per core).")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read everything and write nothing; exit code 3 if a file is bad.")
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option("--json", help="With --check: JSON file that lists every file as ok or with a reason."),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Draw TARGET/preview.png: sample clips, their motion and its histogram.")
    ] = False,
    show_help: Annotated[
        bool, typer.Option("--help", "-h", help="Show this message; after NAME, the settings of that data set.")
    ] = False,
) -> None:
    """Prepare a data set: check its files, and write its splits and, if needed, frames that load fast."""
    command: Any = import_data_prep("command")
    name, *rest = words or [""]
    kind = command.find_set(name) if name else None
    if kind is None or show_help or not rest:
        about = command.describe_sets() if kind is None else command.describe_set(kind)
        typer.echo(f"{context.get_help()}\n\n{about}")
        return
    if old := next((pair for pair in zip(rest, [*rest[1:], ""], strict=True) if pair[0].startswith("-")), None):
        raise ConfigError(_unknown_option(*old, kind.model_fields, context))
    settings = [word for word in rest if SETTING.match(word)]
    places = [word for word in rest if not SETTING.match(word)]
    if not 1 <= len(places) <= 2:
        raise ConfigError(f"{len(places)} paths given, expected SOURCE [TARGET]; see vidpred prepare --help")
    source, target = Path(places[0]), Path(places[1]) if len(places) == 2 else None
    typer.echo(command.run(command.Request(kind, source, target, settings, cache, workers, check, json, preview)))


def _unknown_option(word: str, following: str, fields: Mapping[str, Any], context: typer.Context) -> str:
    """Name the setting for an option such as --size 64, or the nearest option."""
    option, _, value = word.partition("=")
    name = option.lstrip("-").replace("-", "_")
    if name in fields:
        default = "true" if fields[name].annotation is bool else following
        return f"[{option}] settings of a set are written KEY=VALUE: {name}={value or default}"
    if name.removeprefix("no_") in fields:
        return f"[{option}] settings of a set are written KEY=VALUE: {name.removeprefix('no_')}=false"
    known = [option for parameter in context.command.params for option in parameter.opts if option.startswith("--")]
    near = get_close_matches(option, [*known, *(f"--{field}" for field in fields)], 1)
    meant = near[0].removeprefix("--") + "=VALUE" if near and near[0] not in known else "".join(near)
    return f"no option {word}" + (f"; did you mean {meant}?" if near else "; see vidpred prepare --help")


def import_data_prep(name: str) -> ModuleType:
    """Import a module of data_prep, which is part of the package or, in a checkout, next to it."""
    return importlib.import_module(f"vidpred.data_prep.{name}")
