"""Which file every data worker is reading, noted where the training can look it up when a worker hangs or is gone."""

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

HEAD = struct.Struct("=dH")  # when the reading began (time.monotonic), how many bytes the name has; 0: none is read
SIZE = 4096

_page: mmap.mmap | None = None  # this process's note, where it is a data worker


class Reading(NamedTuple):
    path: str
    seconds: float


class WorkerNotes:
    """The notes of a training's data workers: small files that their processes map into memory."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="vidpred-workers-")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._folder.cleanup()

    @property
    def folder(self) -> str:
        return self._folder.name

    def reading(self, worker: int) -> Reading | None:
        """What a worker has been reading, and for how long; None between files."""
        try:
            page = (Path(self.folder) / str(worker)).read_bytes()
        except OSError:
            return None  # it has not begun
        began, length = HEAD.unpack_from(page)
        name = page[HEAD.size : HEAD.size + length]
        return Reading(os.fsdecode(name), time.monotonic() - began) if length else None


def report_status(folder: str, worker: int) -> None:
    """Have this process, data worker number `worker`, note what it reads from now on."""
    global _page
    file = Path(folder) / str(worker)
    file.write_bytes(bytes(SIZE))
    with file.open("r+b") as opened:
        _page = mmap.mmap(opened.fileno(), SIZE)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Within, this process is reading a file."""
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
