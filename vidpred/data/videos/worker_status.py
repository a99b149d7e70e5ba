"""The file that each data worker is reading, recorded so that training can report it when a worker hangs or dies."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

HEAD = struct.Struct("=dH")  # start time (time.monotonic) and length of the path in bytes; 0: between files
SIZE = 4096

_page: mmap.mmap | None = None  # the status page of this process if it is a data worker


class Reading(NamedTuple):
    """The path of the file that a worker is reading, and for how many seconds."""

    path: str
    seconds: float


class WorkerNotes:
    """The status of a training run's data workers, kept in small files that the workers map into memory."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="vidpred-workers-")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._folder.cleanup()

    @property
    def folder(self) -> str:
        """Return the folder of the status files."""
        return self._folder.name

    def reading(self, worker: int) -> Reading | None:
        """Return what a worker is reading and for how long, or None between files."""
        try:
            page = (Path(self.folder) / str(worker)).read_bytes()
        except OSError:
            return None  # not started yet
        began, length = HEAD.unpack_from(page)
        name = page[HEAD.size : HEAD.size + length]
        return Reading(os.fsdecode(name), time.monotonic() - began) if length else None


def report_status(folder: str, worker: int) -> None:
    """Make this process, data worker number `worker`, report in `folder` which file it is reading."""
    global _page
    file = Path(folder) / str(worker)
    file.write_bytes(bytes(SIZE))
    with file.open("r+b") as opened:
        _page = mmap.mmap(opened.fileno(), SIZE)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Report `path` as being read while the context is active."""
    if _page is None:
        yield
        return
    name = os.fsencode(path)[-(SIZE - HEAD.size) :]
    _page[HEAD.size : HEAD.size + len(name)] = name
    HEAD.pack_into(_page, 0, time.monotonic(), len(name))
    try:
        yield
    finally:
        HEAD.pack_into(_page, 0, 0.0, 0)
