"""`prepare`: data sets."""

from __future__ import annotations

from importlib import import_module

import typer


def prepare(words: typer.Context) -> None:
    """Prepare a data set: check its files, write its splits, and its frames so that they load fast."""
    typer.echo(import_module("vidpred.data_prep.command").run("vidpred prepare", words.args))
