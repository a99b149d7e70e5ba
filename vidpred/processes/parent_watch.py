"""The end of this process when its parent ends, even if the parent was killed."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress

PR_SET_PDEATHSIG = 1  # Linux: the kernel sends a signal when the parent ends
POLL_SECONDS = 0.5
SAVE_SECONDS = 9.0  # for a checkpoint and exit.json, between SIGTERM and SIGKILL; all end within 10 s

# The number of processes of a run: of torch's launchers, and of the kinds of MPI that Accelerate knows.
WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")

_watched_by: int | None = None  # the process that watches; a forked one has to begin anew


def started_by_launcher() -> bool:
    """Return whether torch's or Accelerate's launcher is the parent of this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def has_peers() -> bool:
    """Return whether this process is one of several of a run."""
    return any(os.environ.get(name, "1") != "1" for name in WORLD_SIZES)


def end_with_parent(save_seconds: float = 0.0) -> None:
    """End this process within seconds of its parent's end.

    The kernel's signals also reach a busy process, and a stopped one, which goes on; a thread covers other systems.

    Args:
        save_seconds: Time between SIGTERM, on which a training saves a checkpoint, and SIGKILL; 0: SIGKILL at once.
    """
    global _watched_by
    if _watched_by == os.getpid():
        return
    _watched_by = os.getpid()
    first = signal.SIGTERM if save_seconds else signal.SIGKILL
    sent = _at_end_of_parent(first)
    threading.Thread(
        target=_wait_and_end, args=(os.getppid(), None if sent else first, save_seconds), daemon=True
    ).start()


def _at_end_of_parent(number: signal.Signals) -> bool:
    """Let the kernel send a signal to this process when its parent ends, one for each thread that asks."""
    return sys.platform == "linux" and not ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def _wait_and_end(parent: int, first: signal.Signals | None, seconds: float) -> None:
    _at_end_of_parent(signal.SIGCONT)  # a stopped process would not handle SIGTERM
    spawner = multiprocessing.parent_process()  # not the parent under the start method forkserver
    while os.getppid() == parent and (spawner is None or spawner.is_alive()):
        time.sleep(POLL_SECONDS)
    if first is not None:
        os.kill(os.getpid(), first)
    for child in [child.pid for child in multiprocessing.active_children() if child.pid]:
        with suppress(OSError):
            os.kill(child, signal.SIGCONT)  # saving may wait for one that was stopped as well
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
