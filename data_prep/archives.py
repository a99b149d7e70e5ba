"""Extracting videos from .rar and .zip archives with libarchive, without ever writing outside the target folder.

Only files with expected names are extracted, to paths that are built here and not taken from the archive. Files are
written atomically, and existing files are not extracted again, so an interrupted extraction can be resumed.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vidpred.errors import ConfigError, DataError, StorageError, install_extra, printable
from vidpred.files import atomic_write, make_folder, open_regular
from vidpred.processes.temporary import remove_leftovers

SUFFIXES = (".rar", ".zip", ".001")


def is_archive(path: Path) -> bool:
    """Return whether a file has the suffix of an archive."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def extract(archive: Path, target: Path, members: re.Pattern[str], progress: bool = False) -> int:
    """Extract all files whose names match `members`, and return how many were written.

    Args:
        archive: First file of the archive.
        target: Folder to extract to.
        members: Pattern of the names; its group "path" is the path below `target`.
        progress: Show a progress bar.

    Raises:
        DataError: The archive cannot be read, has no such file, or contains links or paths that lead outside.
        StorageError: The target cannot be written.
    """
    try:
        make_folder(target)
        for folder in target.glob("*/"):
            remove_leftovers(folder)
    except OSError as error:
        raise StorageError(f"cannot extract here: {error.strerror} [{target}]; choose another") from None
    return _read(archive, members, target, progress)["written"]


def read_archive(archive: Path, members: re.Pattern[str]) -> dict[str, Any]:
    """Read the whole archive, including its checksums, without writing anything; return {clips, bytes}.

    Raises:
        DataError: The archive cannot be read, or has no such file.
    """
    found = _read(archive, members, None, False)
    return {"clips": found["clips"], "bytes": found["bytes"]}


def _read(archive: Path, members: re.Pattern[str], target: Path | None, progress: bool) -> Counter[str]:
    """Read the expected files in the order of the archive, and write those that are missing or incomplete."""
    library = _libarchive()
    paths = volumes(archive)
    total = sum(path.stat().st_size for path in paths)
    found: Counter[str] = Counter(written=0)
    try:
        with (
            Volumes(paths) as stream,
            library.stream_reader(stream, block_size=2**20) as opened,
            tqdm(total=total, desc=f"extract {archive.name}", unit="B", unit_scale=True, disable=not progress) as bar,
        ):
            for entry in opened:
                path = _safe_path(entry, members, archive)
                if path is not None:
                    found["clips"] += 1
                    if target is None:
                        found["bytes"] += sum(len(block) for block in entry.get_blocks())
                    elif not ((target / path).is_file() and (target / path).stat().st_size == entry.size):
                        _write(target / path, entry, archive)
                        found["written"] += 1
                bar.update(opened.bytes_read - bar.n)
    except library.exception.ArchiveError as error:
        reason = f"damaged or truncated archive ({error.args[0]})"
        raise DataError(f"{reason}; download it again [{printable(archive)}]") from None
    if not found["clips"]:
        raise DataError(f"none of the expected videos is in this archive [{printable(archive)}]")
    return found


def _write(file: Path, entry: Any, archive: Path) -> None:
    with atomic_write(file, "free space or choose another target") as temporary:
        with temporary.open("wb") as output:
            for block in entry.get_blocks():
                output.write(block)
        size = temporary.stat().st_size
        if entry.size not in (None, size):
            raise DataError(f"{file.name} has {size} of {entry.size} bytes [{printable(archive)}]")


def _safe_path(entry: Any, members: re.Pattern[str], archive: Path) -> Path | None:
    """Return the path of an entry below the target, or None for folders and unexpected names.

    Raises:
        DataError: The entry is a link, or its path leads outside.
    """
    name = str(entry.pathname).replace("\\", "/")
    if entry.issym or entry.islnk or entry.linkpath:
        raise DataError(
            f"the archive contains a link, which is not extracted [{printable(archive)}: {printable(name)}]"
        )
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
        raise DataError(f"the archive contains a path that leads outside [{printable(archive)}: {printable(name)}]")
    found = members.fullmatch(name) if entry.isfile else None
    return Path(found["path"]) if found else None


def volumes(archive: Path) -> list[Path]:
    """Return all files of an archive in order: name.part1.rar, ...; name.rar, name.r00, ...; name.rar.001, ...

    Raises:
        DataError: A file is missing.
    """
    name, folder = archive.name, archive.parent
    for pattern in (r"(.*\.part)\d+(\.rar)", r"(.*\.)\d{3}()"):
        if match := re.fullmatch(pattern, name, re.IGNORECASE):
            same = re.compile(re.escape(match[1]) + r"(\d+)" + re.escape(match[2]), re.IGNORECASE)
            numbered = {int(found[1]): path for path in folder.iterdir() if (found := same.fullmatch(path.name))}
            missing = set(range(1, max(numbered) + 1)) - numbered.keys()
            if missing:
                raise DataError(f"part {min(missing)} of the archive is missing [{printable(archive)}]")
            return [numbered[number] for number in sorted(numbered)]
    following = re.compile(re.escape(archive.stem) + r"\.r\d\d", re.IGNORECASE)
    return [archive, *sorted(path for path in folder.iterdir() if following.fullmatch(path.name))]


class Volumes(io.RawIOBase):
    """A stream that concatenates several files."""

    def __init__(self, paths: list[Path]) -> None:
        self._files = [open_regular(path) for path in paths]
        sizes = [path.stat().st_size for path in paths]
        self._starts = [sum(sizes[:index]) for index in range(len(sizes) + 1)]
        self._place = 0

    def readinto(self, buffer: Any) -> int:
        for file, start, end in zip(self._files, self._starts, self._starts[1:], strict=False):
            if start <= self._place < end:
                file.seek(self._place - start)
                count = file.readinto(buffer)
                self._place += count
                return int(count)
        return 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._starts[-1]}[whence]
        return self._place

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


def _libarchive() -> Any:
    try:
        import libarchive
        import libarchive.exception
    except ImportError:
        raise ConfigError(f"archives need libarchive-c; {install_extra('archives')}") from None
    except (AttributeError, OSError, TypeError):  # raised if the system's library is missing
        raise ConfigError("archives need the system's libarchive (Debian: apt install libarchive13)") from None
    return libarchive
