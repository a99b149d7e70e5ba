"""Temporary files and folders, named after the process that writes them, and removed once it is gone."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
import uuid
import zlib
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

NAME = re.compile(r"\.tmp-(?:([0-9a-f]{8})-(\d+)-(\d+)-)?[0-9a-f]{32}(?:\..*)?")
UNKNOWN_SECONDS = 86_400  # a day; after it, the temporary file of a process of another machine is left over
NOTED_BYTES = 1 << 20
ENDED = ("Z", "X")  # states of a process that has ended, of which its parent has not taken note

_cleaned: set[str] = set()  # folders that this process has cleaned


def temporary_path(path: Path) -> Path:
    """Return a new path next to `path` for what will replace it; the name identifies this process."""
    return path.with_name(f".tmp-{_machine()}-{os.getpid()}-{_started(os.getpid())}-{uuid.uuid4().hex}{path.suffix}")


def is_temporary(name: str) -> bool:
    """Return whether a name is that of a temporary file or folder."""
    return NAME.fullmatch(name) is not None


def remove_leftovers(folder: Path, exclusive: bool = False) -> list[Path]:
    """Remove from a folder, once per process, the temporary files of processes that have ended.

    Args:
        folder: The folder; it may be absent.
        exclusive: Whether this process holds the folder's lock, so that no other machine writes here.

    Returns:
        Those that remain, because a process on another machine may be writing them.
    """
    if str(folder) in _cleaned and not exclusive:
        return []
    _cleaned.add(str(folder))
    with suppress(OSError):
        found = [entry for entry in os.scandir(folder) if is_temporary(entry.name)]
        left = [Path(entry.path) for entry in found if _is_left_over(entry, exclusive)]
        size = sum(map(size_of, left))
        for path in left:
            remove(path)
        if size >= NOTED_BYTES:
            note = f"vidpred: removed {size >> 20} MB of temporary files that ended processes had left [{folder}]"
            print(note, file=sys.stderr)
        return [Path(entry.path) for entry in found if not _is_local(entry) and Path(entry.path) not in left]
    return []


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content; it may be absent. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Return the bytes of a file or of all files in a folder."""
    files: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _is_local(entry: os.DirEntry[str]) -> bool:
    match = NAME.fullmatch(entry.name)
    return match is not None and match[1] == _machine()


def _is_left_over(entry: os.DirEntry[str], exclusive: bool) -> bool:
    match = NAME.fullmatch(entry.name)
    assert match is not None
    machine, pid, started = match.groups()
    if machine == _machine():
        return _started(int(pid)) != started
    return exclusive or time.time() - entry.stat(follow_symlinks=False).st_mtime > UNKNOWN_SECONDS


@cache
def _machine() -> str:
    """Return what identifies this machine since it was started, and where its process numbers count."""
    parts = [socket.gethostname()]
    for file in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            parts.append(os.readlink(file) if file.endswith("pid") else Path(file).read_text())
    return f"{zlib.crc32(' '.join(parts).encode('utf-8', 'surrogateescape')):08x}"


def _started(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; "0" where that is unknown, "" for none or an ended one."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in ENDED else fields[18]
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "0"
