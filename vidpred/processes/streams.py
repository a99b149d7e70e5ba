"""Standard output and error that never raise: a log or a progress bar does not end what it reports on."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class _Unfailing(io.FileIO):
    """A descriptor to write to, that drops what cannot be written. `failure` is the first error."""

    failure: OSError | None = None

    def write(self, content: Any) -> int:
        rest = memoryview(content).cast("B")
        size = len(rest)
        try:
            while rest:
                written = super().write(rest)
                if written is None:  # it does not wait, and its reader is slow
                    select.select([], [self], [])
                else:
                    rest = rest[written:]
        except OSError as error:
            self.failure = self.failure or error
        return size


def protect_streams() -> None:
    """Let stdout and stderr of this process never raise, and open what it was started without; for commands.

    Files that are opened would otherwise get the numbers 0 to 2, and with them the output of libraries.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
    sys.stdout, sys.stderr = _unfailing(sys.stdout), _unfailing(sys.stderr)


@contextmanager
def protected_streams() -> Iterator[None]:
    """Let stdout and stderr not raise within the block; for the library."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _unfailing(sys.stdout), _unfailing(sys.stderr)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = before


def check_stdout() -> None:
    """Flush stdout, and raise the OSError of any earlier write to it, such as a full disk.

    A broken pipe is no error: the reader, as in `| head`, wants no more.
    """
    sys.stdout.flush()
    failure = getattr(_raw(sys.stdout), "failure", None)
    if failure is not None and failure.errno != errno.EPIPE:
        raise failure


def _raw(stream: TextIO) -> Any:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)  # without a buffer under `python -u`


def _unfailing(stream: TextIO | None) -> TextIO:
    """Return a stream to the same file; the stream itself if it is no file, such as a notebook's.

    Letters that its encoding lacks are written as escapes.
    """
    if stream is None:  # the descriptor was closed when Python started
        return open(os.devnull, "w", encoding="utf-8")
    if type(stream) is not io.TextIOWrapper or type(_raw(stream)) is not io.FileIO:
        return stream
    with suppress(OSError, ValueError):
        stream.flush()
    try:
        file = _Unfailing(stream.fileno(), "wb", closefd=False)
    except (OSError, ValueError):  # closed, or a folder
        return open(os.devnull, "w", encoding="utf-8")
    errors = "backslashreplace" if stream.errors in ("strict", "surrogateescape") else stream.errors
    return io.TextIOWrapper(
        io.BufferedWriter(file), stream.encoding, errors, line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )  # fmt: skip
