"""Memory of the process and the machine."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's parameters
LARGEST = 32 * 2**20  # of M_MMAP_THRESHOLD, in bytes


@contextmanager
def without_collection() -> Iterator[None]:
    """Make no garbage collection, which would visit long lists of new objects again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def keep_freed_memory(megabytes: int = 512) -> bool:
    """Keep up to that much freed memory in the process instead of returning it to the system.

    Tensors of a few megabytes that are made and freed in every step otherwise cost a page fault for every 4 KB: about
    a third of the time of a small network. It affects the whole process, so programs call it, not libraries.

    Returns:
        Whether the C library is glibc, the only one with these parameters.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, megabytes * 2**20))


def free_memory_bytes() -> int | None:
    """Return the bytes of memory available to programs (Linux's MemAvailable); None if unknown, as on other systems."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None
