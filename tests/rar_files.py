"""RAR 4 archives written byte by byte with the method "store", as unrar and libarchive read them."""

from __future__ import annotations

import struct
from binascii import crc32
from pathlib import Path

MARKER = b"Rar!\x1a\x07\x00"
FILE, LINK, FOLDER = 0o100644, 0o120777, 0o040755
VOLUME, FIRST_VOLUME, NEW_NAMES = 0x0001, 0x0100, 0x0010
SPLIT_BEFORE, SPLIT_AFTER = 0x01, 0x02


def block(kind: int, flags: int, body: bytes) -> bytes:
    """Return a header: the low 16 bits of the CRC32 of the rest, then type, flags, size, body."""
    head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", crc32(head) & 0xFFFF) + head


def member(
    name: str, content: bytes, mode: int = FILE, flags: int = 0, size: int | None = None, crc: int | None = None
) -> bytes:
    """Return a file's header and content; `size` is that of the whole file if this is only a part."""
    path = name.encode()
    body = struct.pack(
        "<IIBIIBBHI", len(content), len(content) if size is None else size, 3,
        crc32(content) if crc is None else crc, 0x5A210000, 20, 0x30, len(path), mode,
    )  # fmt: skip
    flags |= 0xE0 if mode == FOLDER else 0
    return block(0x74, 0x8000 | flags, body + path) + content


def archive(*members: bytes, flags: int = 0, last: bool = True) -> bytes:
    return MARKER + block(0x73, flags, bytes(6)) + b"".join(members) + block(0x7B, 0x4000 | (not last), b"")


def write_rar(path: Path, files: dict[str, bytes]) -> Path:
    """Write an archive of these files."""
    path.write_bytes(archive(*(member(name, content) for name, content in files.items())))
    return path


def write_volumes(folder: Path, name: str, content: bytes, cut: int) -> list[Path]:
    """Write one file as two volumes, split after `cut` bytes."""
    whole = len(content)
    first = member(name, content[:cut], flags=SPLIT_AFTER, size=whole, crc=crc32(content[:cut]))
    second = member(name, content[cut:], flags=SPLIT_BEFORE, size=whole, crc=crc32(content))
    paths = [folder / "set.part1.rar", folder / "set.part2.rar"]
    paths[0].write_bytes(archive(first, flags=VOLUME | FIRST_VOLUME | NEW_NAMES, last=False))
    paths[1].write_bytes(archive(second, flags=VOLUME | NEW_NAMES))
    return paths
