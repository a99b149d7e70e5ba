"""What every command checks before its work: no empty words, and no output that is also something else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from typer.core import TyperCommand

from vidpred.errors import ConfigError, StorageError
from vidpred.processes.imports import import_first

OUTPUTS = ("output", "json", "plot", "neighbors", "video", "html", "walk")  # parameters; paths in others are read
REPORTS = (".json", ".html", ".pdf", ".svg", ".png")
RUN_FILES = ("config.yaml", "splits.csv", "metrics.jsonl", "best.json", "last.json")


class Checked(TyperCommand):
    """A command whose outputs are neither each other nor files that it reads."""

    needs_torch: ClassVar[bool] = True

    def invoke(self, ctx: Any) -> Any:
        """Check the paths, and run the command. Raises ConfigError or StorageError, and what the command raises."""
        from vidpred.files import check_distinct

        try:
            os.getcwd()
        except OSError:  # numeric libraries would abort
            raise StorageError("the current folder was removed; change to another one (cd) and repeat") from None
        options = {parameter.name: parameter.opts[0] for parameter in self.params}
        outputs = [(options[name], Path(ctx.params[name])) for name in OUTPUTS if ctx.params.get(name)]
        if outputs:
            inputs = list(_paths([value for name, value in ctx.params.items() if name not in OUTPUTS]))
            check_distinct(outputs, [file for path in inputs for file in _files(path)])
            _check_data(
                outputs, [path for path in inputs if os.path.isdir(path) and not os.path.isdir(path / "checkpoints")]
            )
        if self.needs_torch:
            import_first("vidpred.config")
        return super().invoke(ctx)


def _paths(values: Sequence[Any]) -> Iterator[Path]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _paths(value)
        elif isinstance(value, str | Path) and os.path.exists(value):
            yield Path(value)


class CheckedWithoutTorch(Checked):
    """Such a command that needs no torch, and starts in a fraction of the time."""

    needs_torch: ClassVar[bool] = False


def _check_data(outputs: Sequence[tuple[str, Path]], folders: Sequence[Path]) -> None:
    """Refuse to replace a file of a data folder, except by its name an earlier report. Raises ConfigError."""
    for option, output in outputs:
        if output.is_file() and output.suffix.lower() not in REPORTS:
            for folder in folders:
                if output.resolve().is_relative_to(folder.resolve()):
                    raise ConfigError(f"[{option} {output}] is a file of the input [{folder}]; choose another {option}")


def _files(path: Path) -> Iterator[Path]:
    """Yield a file, or the files of a run or checkpoint that a command would miss."""
    if not os.path.isdir(os.path.join(path, os.curdir)):  # a file, or a folder without permissions
        yield path
        return
    yield from (path / name for name in RUN_FILES)
    yield from (path / "checkpoints").glob("*/*")
    if (path / "manifest.json").is_file():
        yield from path.iterdir()


def check_words(words: Sequence[str]) -> None:
    """Refuse words without content, as of a shell variable that is not set. Raises ConfigError."""
    for before, word in pairwise(["", *words]):
        if not word or re.fullmatch(r"--[\w-]+=", word):
            option = word.rstrip("=") or (before if before.startswith("-") else "an argument")
            raise ConfigError(f"[{option}] is empty; give a value (is a shell variable not set?)")
