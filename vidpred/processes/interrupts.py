"""Ctrl-C: the first one that interrupts ends the process without a traceback, and further ones change nothing."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODE = 128 + signal.SIGINT

_interrupted = False


def interrupt(number: int = signal.SIGINT, frame: object = None) -> None:
    """Raise KeyboardInterrupt, once: a second one would hit the code that cleans up."""
    global _interrupted
    if not _interrupted:
        _interrupted = True
        raise KeyboardInterrupt


def arm() -> None:
    """Let the next call of `interrupt` raise again, at the beginning of work that it may end."""
    global _interrupted
    _interrupted = False


def end_on_interrupt() -> None:
    """Let the first Ctrl-C raise KeyboardInterrupt, and ignore further ones; for the main process of a command.

    A process that was started with Ctrl-C ignored, as by a shell in the background, goes on ignoring it.
    """
    arm()
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
        sys.unraisablehook = _unraisable


def _unraisable(failure: Any) -> None:
    """End the process if the interrupt was raised where Python drops exceptions, such as in a finalizer."""
    if failure.exc_type is KeyboardInterrupt:
        os._exit(EXIT_CODE)
    sys.__unraisablehook__(failure)


@contextmanager
def children_ignore_interrupts() -> Iterator[None]:
    """Start processes that never receive Ctrl-C, which their parent handles; in the parent it waits for the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
