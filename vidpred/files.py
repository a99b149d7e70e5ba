"""Write files whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vidpred.errors import ConfigError, StorageError

if TYPE_CHECKING:
    pass


def csv_text(rows: list[tuple[str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_whole(path: Path, text: str) -> bool:
    """Write a file whole or not at all; False where it has this content already. Raises StorageError."""
    content = text.encode("utf-8", "surrogateescape")
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        if path.is_file() and path.read_bytes() == content:
            return False
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"cannot write [{path}]: {error.strerror}; free space or choose another target") from None
    finally:
        temporary.unlink(missing_ok=True)
    return True


def check_output(
    path: Path | None, overwrite: bool, option: str = "--output", suffixes: tuple[str, ...] | None = None
) -> None:
    """Check before any long work that a file (None: no file) can be written, and make its folder.

    Args:
        path: The file.
        overwrite: Whether it may exist.
        option: What the errors name.
        suffixes: Allowed suffixes; None: any.

    Raises:
        ConfigError: Another suffix.
        StorageError: The file exists, or its folder cannot be written.
    """
    if path is None:
        return
    if suffixes is not None and path.suffix.lower() not in suffixes:
        raise ConfigError(f"[{option} {path}] ends in none of {', '.join(suffixes)}; choose one of them")
    try:
        if path.is_dir():
            raise StorageError(f"the output is a folder [{path}]; choose another {option}")
        if path.exists() and not overwrite:
            raise StorageError(f"the output exists [{path}]; add --overwrite or choose another {option}")
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.parent / f".tmp-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(f"cannot write here: {error.strerror} [{path.parent}]; choose another {option}") from None


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and is removed when it does not.
    Raises StorageError where the file cannot be written."""
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"cannot write [{path}]: {error.strerror or error}; choose another folder") from None
    finally:
        with suppress(OSError):  # it is gone, or its folder never was one
            temporary.unlink()


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content in one step. Raises StorageError."""
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}-{path.name}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write [{path}]: {error.strerror}; free space or choose another run=") from None
