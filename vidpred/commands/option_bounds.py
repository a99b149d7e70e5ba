"""Bounds of all options and arguments of a command line, the same as those of settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import typer

from vidpred.bounds import check_bounds, shown


def bounded_command(app: typer.Typer) -> Any:
    """Return the command of an app, whose options and arguments refuse values out of `check_bounds`."""
    _leave_reading_to_commands(app)
    command = typer.main.get_command(app)
    for parameter in _parameters(command):
        parameter.process_value = _checked(parameter)
    return command


def _leave_reading_to_commands(app: typer.Typer) -> None:
    """Let what reads a file report that it cannot be read, with the exit code of data or of checkpoints."""
    for registered in app.registered_commands:
        handler: Any = registered.callback
        handler.__annotations__ = get_type_hints(handler, include_extras=True)  # else they are evaluated anew
        for hint in handler.__annotations__.values():
            for info in getattr(hint, "__metadata__", ()):
                info.readable = False


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
            check_bounds(found, parameter.name)
        except ValueError as error:
            raise typer.BadParameter(f"{shown(value)} {error}.", context, parameter) from None
        return found

    return process_value
