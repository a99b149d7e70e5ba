"""What can go wrong for a user, with the exit code that each kind of failure has."""

from __future__ import annotations

import re
import struct
import tokenize
import zipfile
import zlib

# What reading arrays and compressed files of a damaged or another kind raises: numpy, zipfile, gzip, struct.
UNREADABLE: tuple[type[Exception], ...] = (
    OSError, ValueError, EOFError, KeyError, OverflowError, MemoryError, NotImplementedError, RuntimeError, SyntaxError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip


class VidpredError(Exception):
    """A failure that the user can mend. The message is one line: what, where, how to mend it."""

    exit_code = 1


class ConfigError(VidpredError):
    """A setting, an option or an argument is wrong."""

    exit_code = 2


class DataError(VidpredError):
    """The data is absent, unreadable or too short."""

    exit_code = 3


class StorageError(VidpredError):
    """A checkpoint or an output cannot be read or written."""

    exit_code = 4


class DivergedError(VidpredError):
    """A loss or a gradient is not finite any more."""

    exit_code = 5


class DistributedError(VidpredError):
    """A process of a distributed run was lost."""

    exit_code = 6


class MainProcessError(VidpredError):
    """The main process met a failure that it reports itself; this one ends with the same exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"the main process failed with exit code {exit_code}; its message says why")
        self.exit_code = exit_code


class StoppedError(VidpredError):
    """Training was stopped from outside after saving a checkpoint; the same command resumes it."""

    exit_code = 75


def one_line(error: BaseException) -> str:
    """An error's message as one line. One from a data worker arrives with the worker's traceback before it."""
    last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return re.sub(r"^vidpred\.errors\.\w+: ", "", last)
