"""The file that each data worker is reading, recorded so that training can report it when a worker hangs or dies."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

HEAD = struct.Struct("=dH")  # start time (time.monotonic) and length of the path in bytes; 0: between files
SIZE = 4096

_page: memoryview | None = None  # the status page of this process if it is a data worker


class Reading(NamedTuple):
    """The path of the file that a worker is reading, and for how many seconds."""

    path: str
    seconds: float


class WorkerNotes:
    """The status of a training run's data workers, in memory that the workers share.

    Attributes:
        pages: One page per worker, (workers, SIZE) uint8.
    """

    def __init__(self, workers: int) -> None:
        import torch  # late: scans of videos in other processes do without

        self.pages = torch.zeros(workers, SIZE, dtype=torch.uint8).share_memory_()

    def reading(self, worker: int) -> Reading | None:
        """Return what a worker is reading and for how long, or None between files."""
        page = self.pages[worker].numpy().tobytes()
        began, length = HEAD.unpack_from(page)
        name = page[HEAD.size : HEAD.size + length]
        return Reading(os.fsdecode(name), time.monotonic() - began) if length else None


def report_status(pages: Tensor, worker: int) -> None:
    """Make this process, data worker number `worker`, report on its page which file it is reading."""
    global _page
    _page = pages[worker].numpy().data


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
