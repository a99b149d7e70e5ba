"""Outputs that are devices or pipes, such as /dev/null and /dev/stdout: they are written into, never replaced."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from contextlib import suppress
from pathlib import Path

DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")


def is_device(path: Path) -> bool:
    """Return whether a path is neither a file nor a folder, or names an open descriptor of this process."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def is_pipe(path: Path) -> bool:
    """Return whether a path is a named pipe."""
    try:
        return stat.S_ISFIFO(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_null(path: Path) -> bool:
    """Return whether a path is the device that drops everything."""
    try:
        return os.path.samefile(path, os.devnull)
    except (OSError, ValueError):
        return False


def write_to_device(path: Path, content: bytes) -> None:
    """Write into a device or a pipe; that the reader of a pipe has ended is no error.

    Raises:
        OSError: It cannot be written, or is a disk or a socket.
    """
    number = _descriptor(path)
    with suppress(BrokenPipeError):
        if number is None:
            with open(path, "wb", buffering=0, opener=_opened) as file:
                _write_all(file.fileno(), content)
        else:  # opened by its name, a file would be written from its beginning
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            _write_all(number, content)


def _write_all(number: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(number, rest) :]


def _opened(path: str, flags: int) -> int:
    mode = os.stat(path).st_mode
    if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        raise OSError(errno.EINVAL, "neither a file nor a stream", path)
    return os.open(path, flags & ~(os.O_CREAT | os.O_TRUNC))


def open_pipe(path: Path) -> int | None:
    """Return the number of the descriptor if a path names an open pipe of this process, as `<(command)` does."""
    number = 0 if os.fspath(path) == "/dev/stdin" else _descriptor(path)
    with suppress(OSError):
        if number is not None and stat.S_ISFIFO(os.fstat(number).st_mode):
            return number
    return None


def _descriptor(path: Path) -> int | None:
    """Return the number of the descriptor that a path names; None if it names none."""
    name = os.fspath(path)
    match = DESCRIPTOR.fullmatch(name)
    return {"/dev/stdout": 1, "/dev/stderr": 2}.get(name, int(match[1]) if match else None)
