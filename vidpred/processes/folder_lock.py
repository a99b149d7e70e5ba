"""An exclusive lock on a folder that one process writes; the kernel releases it when the process ends."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from vidpred.errors import InUseError, StorageError, warn
from vidpred.files import make_folder, read_json

try:
    import fcntl
except ImportError:  # not on this system: folders are not locked
    fcntl = None  # type: ignore[assignment]

FILE = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # of a file system without locks

_descriptors: set[int] = set()  # of the locks that this process holds


def _close_in_child() -> None:
    """Close the locks that a forked process inherits; it would hold them after the end of the holder."""
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


@contextmanager
def folder_lock(folder: Path, remedy: str) -> Iterator[bool]:
    """Hold the lock of an existing folder; on a file system without locks, warn, yield False and go on.

    Args:
        folder: The folder.
        remedy: End of the error message: what to choose instead.

    Raises:
        InUseError: Another process holds it; the message names the process, its host and when it started.
        StorageError: The folder is not writable.
    """
    file = folder / FILE
    try:
        descriptor = _locked(file)
    except BlockingIOError:
        raise InUseError(
            f"another process writes this folder: {_holder(file)} [{folder}]; wait for it, stop it or {remedy}"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise StorageError(f"cannot write here: {error.strerror} [{folder}]; {remedy}") from None
        warn(f"the file system has no locks [{folder}]; let no second process write this folder")
        yield False
        return
    _descriptors.add(descriptor)
    try:
        _write_holder(descriptor)
        yield True
    finally:
        with suppress(OSError):  # where the folder was moved, another may have its lock there
            if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                file.unlink()
        _descriptors.discard(descriptor)
        os.close(descriptor)


@contextmanager
def locked_output(folder: Path, option: str = "--output") -> Iterator[None]:
    """Create an output folder, and hold its lock. Raises InUseError or StorageError, which name the option."""
    try:
        make_folder(folder)
    except OSError as error:
        raise StorageError(f"cannot write here: {error.strerror} [{folder}]; choose another {option}") from None
    with folder_lock(folder, f"choose another {option}"):
        yield


def _locked(file: Path) -> int:
    """Return the descriptor of the locked file. Raises BlockingIOError if another process holds the lock."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "no file locks")
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):  # removed by the previous holder in between
                if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _write_holder(descriptor: int) -> None:
    started = datetime.now().astimezone().isoformat(" ", "seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
    with suppress(OSError):  # a full disk; the lock holds anyway
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(file: Path) -> str:
    try:
        holder = read_json(file, 1 << 16)
        return f"process {int(holder['pid'])} on {holder['host']}, since {holder['started']}"
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "an unknown process"
