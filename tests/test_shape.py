"""Limits on the size of functions, files and folders."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import vidpred
from vidpred.commands.app import app
from vidpred.data.prepared.frame_writer import Preparation
from vidpred.planning.envs.base import Env
from vidpred.planning.solvers.base import Solver

PACKAGE = Path(vidpred.__file__).parent
CHECKED = [PACKAGE, *(PACKAGE.parent / name for name in ("data_prep", "benchmarks", "demos"))]
HANDLERS = {command.callback for command in app.registered_commands}  # their parameters are the options
CONTRACTS = (Env, Solver, Preparation)  # protocols, whose classes do not derive from them
MOST_LINES, MOST_PARAMETERS = 50, 8
MOST_COMMAND_LINES = 200
MOST_FILES = 11  # at the package's top level


def functions(folder: Path) -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return every function and method under a folder."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield file, node


@pytest.mark.slow
@pytest.mark.parametrize("folder", CHECKED, ids=lambda folder: folder.name)
def test_functions_are_short_and_take_few_parameters(folder: Path) -> None:
    handlers = {handler.__name__ for handler in HANDLERS if handler is not None}
    too_long = []
    for file, function in functions(folder):
        lines = (function.end_lineno or 0) - function.lineno + 1
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        count = sum(argument is not None and argument.arg not in ("self", "cls") for argument in named)
        is_handler = file.parent.name == "commands" and function.name in handlers
        if lines > MOST_LINES or (count > MOST_PARAMETERS and not is_handler):
            too_long.append(f"{file}:{function.lineno} {function.name}: {lines} lines, {count} parameters")
    assert not too_long, "\n".join(too_long)


def test_command_files_are_short() -> None:
    for file in (PACKAGE / "commands").glob("*.py"):
        assert len(file.read_text().splitlines()) <= MOST_COMMAND_LINES, file


def test_the_top_level_of_the_package_is_small() -> None:
    files = sorted(path.name for path in PACKAGE.iterdir() if path.is_file())
    assert len(files) <= MOST_FILES, files


def test_every_public_method_has_a_docstring() -> None:
    """Its own, or that of the contract which it fulfils."""
    documented = {name for contract in CONTRACTS for name in vars(contract)}
    missing = []
    for info in pkgutil.walk_packages([str(PACKAGE)], "vidpred."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ != info.name or name.startswith("_"):
                continue
            for member, value in vars(kind).items():
                plain = getattr(value, "fget", None) or getattr(value, "__func__", value)
                if (
                    inspect.isfunction(plain)
                    and plain.__name__ != "<lambda>"  # a default of a field
                    and not member.startswith("_")
                    and member not in documented
                    and not inspect.getdoc(getattr(kind, member))
                ):
                    missing.append(f"{info.name}.{name}.{member}")
    assert not missing, "\n".join(missing)
