"""`prepare`: data sets."""

from __future__ import annotations

import typer


def prepare(words: typer.Context) -> None:
    """Prepare a data set: check its files, write its splits, and its frames so that they load fast."""
    from data_prep.command import run

    typer.echo(run("vidpred prepare", words.args))
