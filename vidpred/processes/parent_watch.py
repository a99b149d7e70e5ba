"""The end of this process when its parent ends, even if the parent was killed."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1  # Linux: the kernel sends a signal when the parent ends
POLL_SECONDS = 0.5
SAVE_SECONDS = 9.0  # for a checkpoint and exit.json, between SIGTERM and SIGKILL; all end within 10 s

_watched_by: int | None = None  # the process that watches; a forked one has to begin anew


def started_by_launcher() -> bool:
    """Return whether torch's or Accelerate's launcher is the parent of this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def end_with_parent(save_seconds: float = 0.0) -> None:
    """End this process within seconds of its parent's end.

    The kernel's signal also reaches a busy process, and a stopped one once it goes on; a thread covers other systems.

    Args:
        save_seconds: Time between SIGTERM, on which a training saves a checkpoint, and SIGKILL; 0: SIGKILL at once.
    """
    global _watched_by
    if _watched_by == os.getpid():
        return
    _watched_by = os.getpid()
    first = signal.SIGTERM if save_seconds else signal.SIGKILL
    sent = sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(first), 0, 0, 0) == 0
    threading.Thread(
        target=_wait_and_end, args=(os.getppid(), None if sent else first, save_seconds), daemon=True
    ).start()


def _wait_and_end(parent: int, first: signal.Signals | None, seconds: float) -> None:
    spawner = multiprocessing.parent_process()  # not the parent under the start method forkserver
    while os.getppid() == parent and (spawner is None or spawner.is_alive()):
        time.sleep(POLL_SECONDS)
    if first is not None:
        os.kill(os.getpid(), first)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
