"""Errors that users may encounter, with their exit codes."""

from __future__ import annotations

import os
import re
import struct
import sys
import tokenize
import zipfile
import zlib
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


def warn(text: str | Exception) -> None:
    """Print a warning on stderr."""
    print(f"vidpred: warning: {text}", file=sys.stderr)


class VidpredError(Exception):
    """A failure that the user can fix. The message is one line: what happened, where, how to fix it."""

    exit_code = 1


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
    """Another process writes the same run folder or prepared set."""

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
