"""`prepare`: data sets."""

from __future__ import annotations

import importlib
from types import ModuleType

import typer


def prepare(words: typer.Context) -> None:
    """Prepare a data set: check its files, write its splits, and its frames so that they load fast."""
    typer.echo(import_data_prep("command").run("vidpred prepare", words.args))


def import_data_prep(name: str) -> ModuleType:
    """Import a module of data_prep, which the package finds in itself or, in a checkout, next to it."""
    return importlib.import_module(f"vidpred.data_prep.{name}")
