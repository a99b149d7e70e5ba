"""Errors that users may encounter, with their exit codes."""

from __future__ import annotations

import os
import re
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Errors from reading damaged or unsupported arrays and archives: numpy, zipfile, gzip, struct.
UNREADABLE: tuple[type[Exception], ...] = (
    OSError, ValueError, EOFError, KeyError, OverflowError, MemoryError, NotImplementedError, RuntimeError, SyntaxError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip


TRACEBACK = "Traceback (most recent call last)"


def install_extra(name: str) -> str:
    """Return how to install an extra; no package index has vidpred."""
    return f"install the extra {name}: pip install '.[{name}]' in vidpred's source tree, or 'WHEEL_FILE[{name}]'"


ARGUMENTS = {"frames": "num_frames", "samples": "num_samples", "context": "context_frames", "config": "path"}
FLAGS = {"overwrite"}  # options without a value
VALUES = {"WxH": "(W, H)", "package.module:NAME": "MODULE"}  # what arguments take instead of an option's value
OPTION = re.compile(
    r"(?P<same>\bvidpred [a-z]+ [^;\]]*|\[(?!--)[^]]*\])"  # whole commands, and names of files and settings
    r"|(?P<open>\[)?(?<![\w-])--(?P<name>[a-z][a-z-]*)"
    r"(?: (?P<value>(?(open)[^],]+|(?:[A-Z0-9][\w.-]*|[^\s;,]*[/:.][^\s;,]*)(?<![.:]))))?"
)

_names_options = False


def name_options(named: bool) -> None:
    """Let messages name command-line options from now on, or arguments of Python."""
    global _names_options
    _names_options = named


@contextmanager
def for_command(named: bool) -> Iterator[None]:
    """Let messages name options, or arguments of Python, in the block only."""
    before = _names_options
    name_options(named)
    try:
        yield
    finally:
        name_options(before)


def names_options() -> bool:
    """Return whether messages name command-line options."""
    return _names_options


def for_caller(message: str) -> str:
    """Return a message with its command-line options as arguments, unless a command line runs."""
    return message if _names_options else OPTION.sub(_as_argument, message)


def _as_argument(found: re.Match[str]) -> str:
    if found["same"]:
        return found["same"]
    name, value = found["name"], found["value"] or ("True" if found["name"] in FLAGS else "")
    argument = (found["open"] or "") + ARGUMENTS.get(name, name).replace("-", "_")
    return f"{argument}={VALUES.get(value, value)}" if value else argument


def warn(text: str | Exception) -> None:
    """Print a warning on stderr."""
    print(for_caller(f"vidpred: warning: {text}"), file=sys.stderr)


class VidpredError(Exception):
    """A failure that the user can fix. The message is one line: what happened, where, how to fix it."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:  # with command-line options, see `for_caller`
        super().__init__(for_caller(message))


class ConfigError(VidpredError):
    """A setting, an option or an argument is wrong."""

    exit_code = 2


class GeneratorError(ConfigError, ValueError):
    """A user's own generator returned something else than frames."""


class DataError(VidpredError):
    """The data is missing, unreadable or too short."""

    exit_code = 3


class StorageError(VidpredError):
    """A checkpoint or an output cannot be read or written."""

    exit_code = 4


class InUseError(StorageError):
    """Another process writes the same run folder or prepared data set."""

    exit_code = 4


class DivergedError(VidpredError):
    """A loss or a gradient is not finite."""

    exit_code = 5


class DistributedError(VidpredError):
    """A process of a distributed run was lost."""

    exit_code = 6


class MainProcessError(VidpredError):
    """The main process failed and reports it; the other processes end with the same exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"the main process failed with exit code {exit_code}; see its message")
        self.exit_code = exit_code


class StoppedError(VidpredError):
    """Training was stopped by a signal and saved a checkpoint; the same command resumes it."""

    exit_code = 75


# How libraries word a lack of memory, or sizes beyond any memory: torch, NumPy, OpenCV, and the loader of libraries.
NO_MEMORY = re.compile(
    "can't allocate memory|storage size calculation overflowed|out of memory|insufficient memory|failed to allocate|"
    "array is too big|multiplication overflow|overflow when unpacking|maximum allowed (dimension|size) exceeded|"
    "unable to allocate|failed to map segment",
    re.IGNORECASE,
)


def lacks_memory(error: BaseException) -> bool:
    """Return whether an error is a lack of memory."""
    return isinstance(error, MemoryError) or NO_MEMORY.search(str(error)) is not None


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 frame", "2,000 frames"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def one_line(error: BaseException) -> str:
    """Return an error's message as one line, without the traceback that precedes it in errors of data workers.

    Control characters of names are written as escapes, so that no file or setting can write to the terminal.
    """
    text = str(error).strip() or type(error).__name__
    names = list(re.finditer(r"^vidpred\.errors\.\w+: ", text, re.MULTILINE))
    if names:
        text = text[names[-1].end() :]
    elif TRACEBACK in text or not isinstance(error, VidpredError):  # ours may name files with line breaks
        text = text.rpartition("\n")[2]
    visible = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
    return visible.rstrip(".")


def printable(path: Path | str) -> str:
    """Return the path as text that can be printed, even if its name is not valid UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\n", "\\n")


def short(error: BaseException) -> str:
    """Return the first line of an error's message, at most 80 characters."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0][:80].rstrip(".")
