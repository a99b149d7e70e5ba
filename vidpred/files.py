"""Atomic writing of files."""

from __future__ import annotations

import csv
import io
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vidpred.errors import ConfigError, StorageError


def csv_text(rows: list[tuple[str, str]]) -> str:
    """Return rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def check_output(
    path: Path | None, overwrite: bool, option: str = "--output", suffixes: tuple[str, ...] | None = None
) -> None:
    """Check that an output file can be written, before any long work, and create its folder.

    Args:
        path: The file; None: no file.
        overwrite: Whether it may exist already.
        option: The option that the error messages name.
        suffixes: Allowed suffixes; None: any.

    Raises:
        ConfigError: The suffix is not allowed.
        StorageError: The file exists already, or its folder is not writable.
    """
    if path is None:
        return
    if suffixes is not None and path.suffix.lower() not in suffixes:
        raise ConfigError(f"[{option} {path}] unsupported suffix; choose one of {', '.join(suffixes)}")
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
def atomic_write(path: Path, remedy: str = "choose another folder", durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block succeeds, and is removed when it fails.

    The block may create a file or a folder there; the temporary path has the suffix of `path`.

    Args:
        path: The file or folder to write. Missing parent folders are created.
        remedy: End of the error message.
        durable: Flush everything to the disk before and after renaming.

    Raises:
        StorageError: The block or the renaming raised OSError.
    """
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            for written in [*temporary.rglob("*"), temporary]:
                _flush(written)
        if temporary.is_dir() and path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
        if durable:
            _flush(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write [{path}]: {error.strerror or error}; {remedy}") from None
    finally:
        with suppress(OSError):  # already renamed, or never created
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()


def write_file(
    path: Path, content: str | bytes, remedy: str = "free space or choose another folder", durable: bool = False
) -> bool:
    """Write text (UTF-8) or bytes with `atomic_write`; return False if the file has this content already."""
    encoded = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with suppress(OSError):
        if path.read_bytes() == encoded:
            return False
    with atomic_write(path, remedy, durable) as temporary:
        temporary.write_bytes(encoded)
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
