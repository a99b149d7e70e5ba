"""Bounds of all options and arguments of a command line, the same as those of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import typer

from vidpred.bounds import check_bounds, shown


def bounded_command(app: typer.Typer) -> Any:
    """Return the command of an app, whose options and arguments refuse values out of `check_bounds`."""
    command = typer.main.get_command(app)
    for parameter in _parameters(command):
        parameter.process_value = _checked(parameter)
    return command


def _parameters(command: Any) -> Iterator[Any]:
    yield from command.params
    for inner in getattr(command, "commands", {}).values():
        yield from _parameters(inner)


def _checked(parameter: Any) -> Callable[[Any, Any], Any]:
    """Return the parameter's conversion of what was given, followed by a check of the result."""
    process = parameter.process_value

    def process_value(context: Any, value: Any) -> Any:
        found = process(context, value)
        try:
            check_bounds(found)
        except ValueError as error:
            raise typer.BadParameter(f"{shown(value)} {error}.", context, parameter) from None
        return found

    return process_value
