"""Ctrl-C: the first one that interrupts ends the process without a traceback, and further ones change nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # without loading typing: this module is loaded before Ctrl-C can be handled
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType
    from typing import Any

EXIT_CODE = 128 + signal.SIGINT
CLEANUP_SECONDS = 10.0  # after which a further Ctrl-C ends the process at once
STOP_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # on which long commands save or finish what they have
IMPORT_SYSTEM = "<frozen importlib._bootstrap>"

_interrupted_at: float | None = None


def interrupt(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """Raise KeyboardInterrupt, once: a second one would hit the code that cleans up.

    During an import, end the process instead: modules drop exceptions of the modules that they import, or turn them
    into others, and a module that was half imported cannot be imported again.

    Args:
        number: The signal.
        frame: What the signal interrupted.
    """
    global _interrupted_at
    if _is_importing(frame) or (_interrupted_at and time.monotonic() > _interrupted_at + CLEANUP_SECONDS):
        _end_at_once()
    if _interrupted_at is None:
        _interrupted_at = time.monotonic()
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != IMPORT_SYSTEM:
        frame = frame.f_back
    return frame is not None


def _end_at_once() -> None:
    with suppress(Exception):  # what was interrupted may be writing
        sys.stdout.flush()
    os._exit(EXIT_CODE)


def arm() -> None:
    """Let the next call of `interrupt` raise again, at the beginning of work that it may end."""
    global _interrupted_at
    _interrupted_at = None


def end_on_interrupt() -> None:
    """Let the first Ctrl-C raise KeyboardInterrupt, and ignore further ones; for the main process of a command.

    A process that was started with Ctrl-C ignored, as by a shell in the background, goes on ignoring it.
    """
    arm()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, interrupt)
            sys.unraisablehook = _unraisable


def _unraisable(failure: Any) -> None:
    """End the process if the interrupt was raised where Python drops exceptions, such as in a finalizer."""
    if failure.exc_type is KeyboardInterrupt:
        _end_at_once()
    sys.__unraisablehook__(failure)


@contextmanager
def children_ignore_interrupts() -> Iterator[None]:
    """Block Ctrl-C within the block, so that processes started in it never receive it: their parent handles it.

    The parent itself receives a Ctrl-C of that time after the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def handling_signals(
    handle: Callable[[int, FrameType | None], None] | signal.Handlers, names: Iterable[str]
) -> Iterator[dict[int, Any]]:
    """Let a function handle signals within the block, except those that are ignored; yield their handlers from before.

    Signals that the system lacks are left out; outside the main thread, which receives the signals, so are all.
    """
    before: dict[int, Any] = {}
    for name in names:
        one = getattr(signal, name, None)
        if one is not None and signal.getsignal(one) != signal.SIG_IGN:
            with suppress(ValueError):  # not the main thread
                before[one] = signal.signal(one, handle)
    try:
        yield before
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@contextmanager
def exiting_on_termination() -> Iterator[None]:
    """Raise SystemExit on SIGTERM and SIGHUP inside the block, where they would end the process without cleaning up."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    unhandled = [name for name in ("SIGTERM", "SIGHUP") if _is_default(name)]
    with handling_signals(end, unhandled):
        yield


def _is_default(name: str) -> bool:
    return hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL


@contextmanager
def stopping_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call a function on the first Ctrl-C, SIGTERM or SIGHUP, so that outputs are finished; a second one interrupts.

    Raises:
        SystemExit: KeyboardInterrupt left the block after that, because it had no output or another signal came; the
            code is 128 + that of the first signal.
    """
    received: list[int] = []

    def handle(number: int, frame: object) -> None:
        received.append(number)
        stop()
        for one, handler in before.items():
            signal.signal(one, handler)

    with handling_signals(handle, STOP_SIGNALS) as before:
        try:
            yield
        except KeyboardInterrupt:
            if not received:
                raise
            sys.exit(128 + received[0])
