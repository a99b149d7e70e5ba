"""Files: atomic writing, and reading that neither waits for ever nor fails in unexpected ways."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vidpred.devices import is_device, is_null, is_pipe, write_to_device
from vidpred.errors import ConfigError, DataError, StorageError, printable, short
from vidpred.processes.temporary import remove, remove_leftovers, temporary_path

MAX_TEXT_BYTES = 1 << 30
MAX_BYTES = 1 << 36  # of a file of images
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)  # of a file system without them

_new: set[str] = set()  # outputs that did not exist when they were checked, and must not when they are written
_devices: dict[str, str] = {}  # outputs that are written into, with a suffix for their format
TOO_MANY_FILES = "too many open files; raise the limit (ulimit -n), or lower data.num_workers"
CHECKSUM = "crc32"
FINGERPRINT_BYTES, PART_BYTES = 1 << 16, 1 << 26


def read_bytes(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the content of a file.

    Args:
        path: The file.
        max_bytes: Maximum size in bytes.

    Raises:
        OSError: It cannot be read, has more bytes, or is a pipe or a device, whose reading might never end.
    """
    descriptor, size = _descriptor(path, os.O_RDONLY)
    try:  # with few system calls, since many threads read many small files
        if size > max_bytes:
            raise OSError(errno.EFBIG, f"more than {max_bytes:,} bytes", str(path))
        parts = [os.read(descriptor, size + 1)]
        while len(parts[0]) != size and (part := os.read(descriptor, PART_BYTES)):  # it grew, or is very large
            parts.append(part)
    finally:
        os.close(descriptor)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def content_fingerprint(path: Path) -> str:
    """Return a checksum of a file's size and of its first and last 64 KB; "" if it cannot be read."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            found = zlib.crc32(file.read(FINGERPRINT_BYTES), size & 0xFFFFFFFF)
            if size > FINGERPRINT_BYTES:
                file.seek(-FINGERPRINT_BYTES, os.SEEK_END)
                found = zlib.crc32(file.read(FINGERPRINT_BYTES), found)
    except OSError:
        return ""
    return f"{found:08x}"


def fingerprint_of(content: bytes) -> str:
    """Return the `content_fingerprint` of a file that has been read."""
    found = zlib.crc32(content[:FINGERPRINT_BYTES], len(content) & 0xFFFFFFFF)
    if len(content) > FINGERPRINT_BYTES:
        found = zlib.crc32(content[-FINGERPRINT_BYTES:], found)
    return f"{found:08x}"


def read_json(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> Any:
    """Return the content of a JSON file.

    Args:
        path: The file.
        max_bytes: Maximum size in bytes.

    Raises:
        OSError: See `read_bytes`.
        ValueError: It is not JSON, or nested too deeply.
    """
    return parse_json(read_bytes(path, max_bytes).decode("utf-8", "surrogateescape"))


def parse_json(text: str) -> Any:
    """Return the value of JSON text. Raises ValueError, also if it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def with_checksum(lines: Iterable[str]) -> str:
    """Return lines with one more, the checksum of all, as the text of a file that `read_lines` reads."""
    text = "".join(f"{line}\n" for line in lines)
    return f"{text}{json.dumps({CHECKSUM: zlib.crc32(text.encode('utf-8', 'surrogateescape'))})}\n"


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file that `with_checksum` made, or of one without a checksum.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged.
    """
    text = read_bytes(path).decode("utf-8", "surrogateescape")
    body, _, last = text.removesuffix("\n").rpartition("\n")
    stored = parse_json(last) if last.startswith(f'{{"{CHECKSUM}"') else None
    if stored is None:
        return text.splitlines()
    if stored != {CHECKSUM: zlib.crc32(f"{body}\n".encode("utf-8", "surrogateescape"))}:
        raise ValueError("its checksum differs")
    return body.splitlines()


def append_text(path: Path, text: str) -> None:
    """Append text to a file, which is created if it is absent. Raises OSError, also for a pipe or a device."""
    with _opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, "ab") as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading bytes.

    Raises:
        OSError: It cannot be read, or is a folder, or a pipe or device, which might never end.
        StorageError: This process has too many open files, which is no fault of the file.
    """
    opened: io.BufferedReader = _opened(path, os.O_RDONLY, "rb")
    return opened


def check_regular(path: Path) -> None:
    """Check that a file can be read, before a library opens it by its name. Raises OSError as `open_regular`."""
    open_regular(path).close()


def check_input(path: Path) -> None:
    """Check that a file or folder of the user's data can be read, if it exists. Raises DataError."""
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            os.scandir(path).close()
            os.stat(os.path.join(path, os.curdir))  # its files are found by name
        elif path.is_file():
            check_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the data: {reason} [{printable(path)}]; check its permissions") from None


def check_folder(folder: Path) -> None:
    """Check that a folder has only files and folders, before a library opens them. Raises DataError."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                check_folder(folder / entry.name)
            elif not (entry.is_file() or entry.is_dir()):
                place = printable(folder / entry.name)
                raise DataError(f"a pipe, a device, a socket or a link to nothing [{place}]; remove it")
    except OSError as error:
        raise DataError(f"cannot read the data ({short(error)}) [{printable(folder)}]") from None


def _opened(path: Path, flags: int, mode: str) -> Any:
    descriptor, _ = _descriptor(path, flags)
    try:
        return open(descriptor, mode)
    except BaseException:
        os.close(descriptor)
        raise


def _descriptor(path: Path, flags: int) -> tuple[int, int]:
    """Open a regular file and return its descriptor and its size in bytes; raises as `open_regular` does."""
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0), 0o666)
    except ValueError:  # a NUL, or a surrogate that stands for no byte
        raise OSError(errno.EINVAL, "not a file name", str(path)) from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise StorageError(TOO_MANY_FILES) from None
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status.st_size
    os.close(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def csv_text(rows: Sequence[Sequence[object]]) -> str:
    """Return rows as CSV, with a line feed after each; names may have any character."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    if "\r" not in text.getvalue():
        return text.getvalue()
    text = io.StringIO()
    for row in rows:  # the csv module quotes carriage returns only where they end rows, and cannot read others back
        quoted = any("\r" in str(cell) for cell in row)
        writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
        writer.writerow(row)
    return text.getvalue()


def check_distinct(outputs: Sequence[tuple[str, Path]], inputs: Iterable[Path]) -> None:
    """Check that no output is another output or an input, by any of its names; devices and folders may be.

    Args:
        outputs: Options and paths.
        inputs: Files that are read.

    Raises:
        ConfigError: One is.
    """
    known: dict[object, str] = {_identity(path): f"the input [{path}]" for path in inputs}
    for option, path in outputs:
        if not path.is_dir() and not is_device(path):
            identity = _identity(path)
            if identity in known:
                raise ConfigError(f"[{option} {path}] is also {known[identity]}; choose another {option}")
            known[identity] = option


def _identity(path: Path) -> object:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return os.path.realpath(path)
    return found.st_dev, found.st_ino


def must_be_new(path: Path) -> None:
    """Let `publish` refuse to replace a file that appears at this path."""
    _new.add(os.path.abspath(path))


def check_output(
    path: Path | None,
    overwrite: bool,
    option: str = "--output",
    suffixes: tuple[str, ...] | None = None,
    stream: bool = False,
) -> None:
    """Check that an output file can be written, before any long work, and create its folder.

    Args:
        path: The file; None: no file.
        overwrite: Whether it may exist already.
        option: The option that the error messages name.
        suffixes: Allowed suffixes; None: any.
        stream: Whether it may be any device or pipe; otherwise only /dev/null.

    Raises:
        ConfigError: The suffix is not allowed.
        StorageError: The file exists already, is a device, or its folder is not writable.
    """
    if path is None:
        return
    if is_device(path):
        if not (stream or is_null(path)):
            raise StorageError(f"the output is a device or a pipe [{path}]; choose a file for {option}")
        _devices[os.path.abspath(path)] = suffixes[0] if suffixes else path.suffix
        return
    if suffixes is not None and path.suffix.lower() not in suffixes:
        raise ConfigError(f"[{option} {path}] unsupported suffix; choose one of {', '.join(suffixes)}")
    try:
        if path.is_dir():
            raise StorageError(f"the output is a folder [{path}]; choose another {option}")
        (_new.discard if overwrite else _new.add)(os.path.abspath(path))
        if (path.exists() or path.is_symlink()) and not overwrite:
            exists = "exists" if path.exists() else f"is a broken link, to {os.readlink(path)}"
            raise StorageError(f"the output {exists} [{path}]; add --overwrite or choose another {option}")
        make_folder(path.parent)
        check_writable(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write here: {error.strerror} [{path.parent}]; choose another {option}") from None


def make_folder(folder: Path) -> None:
    """Create a folder and its parents. Raises OSError, which tells a broken link and a file in its place apart."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        place = next(part for part in (folder, *folder.parents) if part.is_symlink() or part.exists())
        reason = f"{place} is a file" if place.exists() else f"{place} is a broken link, to {os.readlink(place)}"
        raise OSError(error.errno, printable(reason), str(folder)) from None


def check_writable(folder: Path) -> None:
    """Create and remove a file in a folder, and what ended processes left there. Raises OSError."""
    remove_leftovers(folder)
    probe = temporary_path(folder / "probe")
    probe.touch()
    probe.unlink()


@contextmanager
def atomic_write(path: Path, remedy: str = "choose another folder", durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block succeeds, and is removed when it fails.

    The block may create a file or a folder there; the temporary path has the suffix of `path`. A file is written into
    `path` if that is a device, or a pipe that `check_output` allowed. Errors name `path` instead of the temporary one.

    Args:
        path: The file or folder to write. Missing parent folders are created.
        remedy: End of the error message.
        durable: Flush everything to the disk before and after renaming.

    Raises:
        StorageError: The block or the renaming raised OSError.
    """
    suffix = _devices.get(os.path.abspath(path))
    into_device = is_device(path) and (suffix is not None or not is_pipe(path))
    temporary = temporary_path(Path(tempfile.gettempdir()) / f"output{suffix or ''}" if into_device else path)
    try:
        if not into_device:
            make_folder(path.parent)
        remove_leftovers(temporary.parent)
        with naming(temporary, path):
            yield temporary
        if into_device:
            write_to_device(path, temporary.read_bytes())
            return
        if durable:
            for written in [*temporary.rglob("*"), temporary]:
                _flush(written)
        publish(temporary, path)
        if durable:
            _flush(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write [{path}]: {error.strerror or error}; {remedy}") from None
    finally:
        with suppress(OSError):  # already renamed, or never created
            remove(temporary)


@contextmanager
def naming(temporary: Path, path: Path) -> Iterator[None]:
    """Let errors of the block name a path instead of the temporary one that will replace it."""
    try:
        yield
    except StorageError as error:
        if str(temporary) not in str(error):
            raise
        raise type(error)(str(error).replace(str(temporary), str(path))) from None


def publish(temporary: Path, path: Path) -> None:
    """Give a finished file or folder its name; what is there is replaced, except where `check_output` refused that.

    Raises:
        StorageError: An output has appeared there since it was checked.
        OSError: The file cannot be renamed.
    """
    if os.path.abspath(path) not in _new:
        if temporary.is_dir():
            remove(path)
        os.replace(temporary, path)
        return
    appeared = StorageError(f"the output appeared meanwhile [{path}]; add --overwrite or choose another output")
    try:
        if not temporary.is_dir():
            os.link(temporary, path)  # unlike a renaming, this fails if the name exists
            temporary.unlink()
        elif path.exists():
            raise appeared
        else:
            os.rename(temporary, path)  # fails if there is a folder with content
    except FileExistsError:
        raise appeared from None
    except OSError as error:
        if path.exists():
            raise appeared from None
        if error.errno not in NO_LINKS:
            raise
        os.replace(temporary, path)
    _new.discard(os.path.abspath(path))


def write_file(
    path: Path, content: str | bytes, remedy: str = "free space or choose another folder", durable: bool = False
) -> bool:
    """Write text (UTF-8) or bytes with `atomic_write`; return False if the file has this content already."""
    encoded = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with suppress(OSError):
        if not is_device(path) and read_bytes(path, len(encoded)) == encoded:
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
