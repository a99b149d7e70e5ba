"""Damage that the structure of a file reveals: FFmpeg skips it silently and finds the next packet."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vidpred.data.videos.pieces import (
    DV_HEADER,
    HEAD,
    MKV_CLUSTER,
    MKV_IN_CLUSTER,
    MKV_SEGMENT,
    MKV_TOP,
    OGG_FIRST,
    OGG_START,
    TINY,
    TRAILING,
    UNCOUNTED,
    UNKNOWN,
    dv_frame,
    ends_early,
    gif_palette,
    note_ogg_stream,
    ogg_page,
    pieces_of,
)
from vidpred.files import open_regular

TS_PACKET, TS_SYNC = 188, 0x47  # transport streams: bytes of a packet, and its first byte
TS_BLOCK = TS_PACKET << 16  # bytes read at once
GIF_EXTENSION, GIF_IMAGE, GIF_END = 0x21, 0x2C, 0x3B
GIF_CONTROL, GIF_REST = b"\x21\xf9\x04", 1 << 16  # the beginning of an image, searched in what follows the end
GIF_BLOCK, IRREGULAR_MOST = (
    255,
    4,
)  # bytes of every block except the last; at most one of this number of images is irregular
READ_BYTES = 16_384  # at least; structures are read in small pieces
# Python reads 500,000 to 2,000,000 times a second; whole structures of usual videos take fewer reads.
FREE_READS, READ_SHARE = 500_000, 16  # and one per this number of bytes
READ_UNIT = 512  # bytes; longer reads count several times
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
CHUNK, CHUNK_BLOCK = struct.Struct("<4sI"), 1 << 16  # of RIFF: name and size; bytes read at once


@dataclass
class Damage:
    """What is wrong with a file's structure.

    Attributes:
        breaks: Byte offsets after which data is missing; the next whole frame is a keyframe.
        notes: What is wrong, for the user.
        images: Number of complete images (GIF and DV only).
    """

    breaks: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    images: int | None = None

    def add(self, offset: int, note: str) -> None:
        """Add damage at a byte offset, with a note for the user."""
        self.breaks.append(offset)
        self.notes.append(note)


class TinyPiecesError(Exception):
    """Reading the structure of a file takes too long."""


class FileBytes:
    """The bytes of an open file, by index and slice, in constant memory. What is cut off meanwhile reads as zeros.

    Raises TinyPiecesError if there are too many reads for the size of the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size = file, os.fstat(file.fileno()).st_size
        self._block, self._start = b"", 0  # the last bytes read, and their offset
        self._reads = FREE_READS + self.size // READ_SHARE

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: int | slice) -> Any:
        start, stop = (place.start, place.stop) if isinstance(place, slice) else (place, place + 1)
        self.count_reads(1 + (stop - start) // READ_UNIT)
        if start < self._start or stop > self._start + len(self._block):
            self.file.seek(start)
            self._block, self._start = self.file.read(max(stop - start, READ_BYTES)), start
        content = self._block[start - self._start : stop - self._start]
        return content if isinstance(place, slice) else content[0] if content else 0

    def count_reads(self, reads: int) -> None:
        """Count reads. Raises TinyPiecesError if there were too many."""
        self._reads -= reads
        if self._reads < 0:
            raise TinyPiecesError

    def find(self, content: bytes, start: int) -> int:
        """Return the offset of the next such bytes at or behind `start`; -1: none."""
        if self[start : start + len(content)] == content:  # as usual
            return start
        for first in range(start, self.size, READ_BYTES):
            place: int = self[first : first + READ_BYTES + len(content) - 1].find(content)
            if place >= 0:
                return first + place
        return -1


def find_damage(path: Path, container_format: str) -> Damage:
    """Return the damage in the structure of a video file.

    Args:
        path: The file.
        container_format: FFmpeg's name of its container format.
    """
    damage = Damage()
    check = next((check for name, check in CHECKS.items() if name in container_format.split(",")), None)
    with open_regular(path) as file:
        try:
            (check or _check_pieces)(FileBytes(file), damage)
        except TinyPiecesError:
            damage.notes.append(TINY)
            damage.images = None
    return damage


def _check_pieces(content: FileBytes, damage: Damage) -> None:
    pieces = pieces_of(content)
    if missing := pieces.missing():
        damage.notes.append(f"the file {ends_early(missing)}")
    damage.notes += [TINY] if pieces.gave_up else []


def _check_ts(content: FileBytes, damage: Damage) -> None:
    blocks = [
        np.frombuffer(content[start : start + TS_BLOCK], np.uint8)[::TS_PACKET] == TS_SYNC
        for start in range(0, len(content), TS_BLOCK)
    ]
    firsts = np.concatenate(blocks) if blocks else np.empty(0, bool)
    if not firsts[:2].all():  # packets of another size, as on Blu-ray
        return
    packets = int(np.flatnonzero(firsts)[-1]) + 1
    if len(content) - packets * TS_PACKET <= TRAILING:
        firsts = firsts[:packets]
    bad = np.flatnonzero(~firsts)
    if len(bad):
        starts = bad[np.diff(bad, prepend=-2) > 1]
        damage.breaks += [int(start) * TS_PACKET for start in starts]
        damage.notes.append(f"{len(bad)} of {len(firsts)} packets of the transport stream are invalid")
    if len(content) < packets * TS_PACKET:
        damage.notes.append("the file ends within a packet")


def _check_riff(content: FileBytes, damage: Damage) -> None:
    """Walk through the chunks of an AVI file; those of several RIFF lists follow one another."""
    offset = 0
    while offset + 12 <= len(content) and content[offset : offset + 4] == b"RIFF":
        size = int.from_bytes(content[offset + 4 : offset + 8], "little")
        if size in UNKNOWN:  # written to a pipe
            size = len(content) - offset - 8
        end = offset + 8 + size
        _check_chunks(content, offset + 12, min(end, len(content)), damage)
        if end > len(content):
            damage.notes.append(f"the file {ends_early(end - len(content))}")
        offset = end + size % 2


def _check_chunks(content: FileBytes, offset: int, end: int, damage: Damage) -> None:
    block, start = b"", 0
    while offset + 8 <= end:
        if not start <= offset <= start + len(block) - 12:
            block, start = content[offset : offset + CHUNK_BLOCK], offset
            if len(block) < 8:  # cut off meanwhile
                return
        content.count_reads(2)  # as slow
        name, size = CHUNK.unpack_from(block, offset - start)
        following = offset + 8 + size + size % 2
        printable = name.isalnum() or all(32 <= byte < 127 for byte in name)
        if not printable or (following > end + 1 and end < len(content)):
            damage.add(offset, f"an invalid chunk at byte {offset:,}")
            return
        is_list = name == b"LIST" and block[offset + 8 - start : offset + 12 - start] in (b"movi", b"rec ")
        offset = offset + 12 if is_list else following  # the chunks of a list follow one another, then the next list


def _check_mkv(content: FileBytes, damage: Damage) -> None:
    for name, offset, end in _elements(content, 0, len(content)):
        if name != MKV_SEGMENT:
            continue
        _check_segment(content, offset, min(end or len(content), len(content)), damage)
        if end is not None and end > len(content):
            damage.notes = [note for note in damage.notes if not note.startswith("the file ends")]
            damage.notes.append(f"the file {ends_early(end - len(content))}")
        return


def _check_segment(content: FileBytes, start: int, end: int, damage: Damage) -> None:
    following: int | None = start
    while following is not None:
        following = _check_known(content, following, end, damage)


def _check_known(content: FileBytes, offset: int, end: int, damage: Damage) -> int | None:
    """Check the elements of a segment up to a cluster of unknown length; return where the one after that begins."""
    for name, inside, after in _elements(content, offset, end):
        if name not in MKV_TOP:
            damage.add(inside, f"invalid data at byte {inside:,}")
            return None
        if name == MKV_CLUSTER:
            following = _check_cluster(content, inside, end if after is None else min(after, end), damage)
            if after is None:  # a live stream
                return following
    return None


def _check_cluster(content: FileBytes, offset: int, end: int, damage: Damage) -> int | None:
    """Check the blocks of a cluster; return where the element after them begins, if there is one before `end`."""
    following = offset
    for name, inside, after in _elements(content, offset, end):
        if name in MKV_TOP - MKV_IN_CLUSTER:
            return following
        if name not in MKV_IN_CLUSTER:
            damage.add(inside, f"invalid data at byte {inside:,}")
            return None
        following = inside if after is None else after
    if following > end == len(content):
        damage.notes.append(f"the file {ends_early(following - end)}")
    return None


def _elements(content: FileBytes, offset: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """Yield (ID, offset of the data, offset behind it; None: unknown) of the EBML elements in a part of a file."""
    while offset < end:
        width = 9 - content[offset].bit_length()
        if width > 4:
            yield 0, offset, None
            return
        name = int.from_bytes(content[offset : offset + width], "big")
        offset += width
        if offset >= end:
            return
        width = 9 - content[offset].bit_length()
        if width > 8:
            yield 0, offset, None
            return
        if offset + width > end:
            return
        size = int.from_bytes(content[offset : offset + width], "big") - (1 << 7 * width)
        offset += width
        following = None if size == (1 << 7 * width) - 1 else offset + size
        yield name, offset, following
        if following is None:
            return
        offset = following


def _check_gif(content: FileBytes, damage: Damage) -> None:
    """Walk through the blocks of a GIF; what follows its end is ignored, as players do, unless it is an image.

    Where a length is wrong, the walk continues within the data of a later image, so that those between are lost. That
    image then has a short block in its middle, which no usual encoder writes.
    """
    irregular: list[int] = []
    _walk_gif(content, damage, irregular)
    if 0 < IRREGULAR_MOST * len(irregular) <= (damage.images or 0):
        for offset in irregular:
            damage.add(offset, f"images are missing at byte {offset:,}")
        damage.breaks.sort()


def _walk_gif(content: FileBytes, damage: Damage, irregular: list[int]) -> None:
    damage.images = 0
    offset = 13 + gif_palette(content[10:11])
    while offset < len(content):
        kind = content[offset]
        if kind == GIF_END:
            if GIF_CONTROL in content[offset : offset + GIF_REST]:
                damage.add(offset, f"images follow the end at byte {offset:,}")
            return
        start, short = offset, False
        if kind == GIF_IMAGE and offset + 10 < len(content):
            offset += 11 + gif_palette(content[offset + 9 : offset + 10])
        elif kind == GIF_EXTENSION:
            offset += 2
        else:
            damage.add(offset, f"an invalid block at byte {offset:,}")
            return
        while offset < len(content) and (size := content[offset]):
            short |= kind == GIF_IMAGE and size < GIF_BLOCK and bool(content[offset + 1 + size])
            offset += 1 + size
        offset += 1
        irregular += [start] if short else []
        damage.images += kind == GIF_IMAGE and offset <= len(content)
    damage.notes.append("the end of the file is missing")


def _check_dv(content: FileBytes, damage: Damage) -> None:
    """Count the whole frames of raw DV, which all have one size: FFmpeg decodes a part of one like a frame."""
    if size := dv_frame(content[0:DV_HEADER]):
        damage.images = len(content) // size


def _check_ogg(content: FileBytes, damage: Damage) -> None:
    """Check the pages of Ogg: FFmpeg skips those with a wrong checksum, and decodes on from the next packet."""
    pages = offset = 0
    numbers: dict[bytes, int] = {}  # of the next page, by stream
    unfinished: set[bytes] = set()
    while (offset := content.find(OGG_START, offset)) >= 0:
        head, pages = content[offset : offset + HEAD], pages + 1
        size = ogg_page(head)
        if offset + size > len(content):
            damage.add(offset, f"the file {ends_early(offset + size - len(content))}")
            return
        page, stream, number = content[offset : offset + size], head[14:18], int.from_bytes(head[18:22], "little")
        is_whole = _ogg_checksum(page) == int.from_bytes(head[22:26], "little")
        if not is_whole or (number != numbers.get(stream, number) and not head[5] & OGG_FIRST):
            damage.breaks.append(offset)
        if is_whole:
            numbers[stream] = number + 1
            note_ogg_stream(head, unfinished)
        else:
            numbers.clear()
        offset += size if is_whole else len(OGG_START)
    if damage.breaks:
        damage.notes.append(f"{len(damage.breaks)} of {pages} pages of Ogg are damaged, or follow missing ones")
    if unfinished:
        damage.notes.append(f"the file {ends_early(UNCOUNTED)}")


def _ogg_checksum(page: bytes) -> int:
    """Return the checksum of a page of Ogg: a CRC of 32 bits, first bit first, from 0, without its own bytes."""
    content = page[:22] + bytes(4) + page[26:]
    reflected = zlib.crc32(content.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


CHECKS: dict[str, Callable[[FileBytes, Damage], None]] = {
    "mpegts": _check_ts, "avi": _check_riff, "matroska": _check_mkv, "gif": _check_gif,
    "dv": _check_dv, "ogg": _check_ogg,
}  # fmt: skip
