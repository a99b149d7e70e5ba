"""`prepare`: data sets."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import typer


def prepare(words: typer.Context) -> None:
    """Prepare a data set: check its files, write its splits, and its frames so that they load fast."""
    typer.echo(import_data_prep("command").run("vidpred prepare", words.args))


def import_data_prep(name: str) -> ModuleType:
    """Import a module of data_prep: of the one inside the installed package, or next to the package in a checkout."""
    package = Path(__file__).parents[1]
    if (package / "data_prep").is_dir():
        return importlib.import_module(f"vidpred.data_prep.{name}")
    if str(package.parent) not in sys.path:  # a worker gets its parent's path
        sys.path.insert(0, str(package.parent))
    return importlib.import_module(f"data_prep.{name}")
