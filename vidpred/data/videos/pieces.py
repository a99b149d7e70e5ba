"""The pieces of a container file, one after the other, which show whether a file or a pipe ends within one.

FFmpeg takes the end of many formats within a frame for the end of the video. Each function here walks through one
format: it receives the first bytes of every piece, and yields the piece's length. It returns where a length is unknown,
and receives no bytes at the end, where it yields what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

HEAD = 256  # bytes of a piece that show its length
MKV_SEGMENT, MKV_CLUSTER = 0x18538067, 0x1F43B675
MKV_TOP = {  # IDs of a segment's elements: seek head, info, tracks, chapters, clusters, cues, ...
    0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1043A770, MKV_CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1254C367, 0xEC, 0xBF,
}  # fmt: skip
MKV_IN_CLUSTER = {0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854, 0xEC, 0xBF}
MKV_IDS = [
    name.to_bytes(-(-name.bit_length() // 8), "big") for name in {0x1A45DFA3, MKV_SEGMENT, *MKV_TOP, *MKV_IN_CLUSTER}
]
BOXES = (
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx", b"ssix", b"mfra", b"emsg", b"uuid",
    b"meta", b"udta", b"pnot", b"prft", b"pdin",
)  # fmt: skip
ASF_DATA = b"\x36\x26\xb2\x75"
# The first bytes of objects: header, data, and indexes.
ASF = (b"\x30\x26\xb2\x75", ASF_DATA, b"\x90\x08\0\x33", b"\xd3\x29\xe2\xd6", b"\xf8\x03\xb1\xfe", b"\xd0\x3f\xb7\x3c")
ASF_EMPTY = 50  # size of a data object before its packets, and of one whose packets a live stream did not count
UNKNOWN = (0, 2**32 - 1)  # sizes of RIFF that a muxer could not go back to write
FLV_TAGS = (8, 9, 18)  # sound, video, script
SUBSAMPLING = {"410": (4, 4), "411": (4, 1), "420": (2, 2), "422": (2, 1), "440": (1, 2), "444": (1, 1)}
PNG = b"\x89PNG\r\n\x1a\n"

Walk = Generator[int, bytes, None]


def _y4m(head: bytes) -> Walk:
    line = head.partition(b"\n")[0]
    size = _y4m_frame(line.decode("latin1"))
    head = yield len(line) + 1
    while size and b"FRAME".startswith(head[:5]) and head:
        head = yield head.find(b"\n") + 1 + size


def _y4m_frame(line: str) -> int | None:
    """Return the bytes of a frame of YUV4MPEG2, by the first line; None if they are unknown."""
    sides = [re.search(rf" {name}(\d+)", line) for name in "WH"]
    width, height = (int(found[1]) if found else 0 for found in sides)
    kind = re.search(r" C(\w+)", line) or re.search(r" XYSCSS=(\w+)", line)
    found = re.fullmatch(r"(mono|\d{3})(alpha)?(?:jpeg|mpeg2|paldv)?(?:p?(\d+))?", kind[1].lower() if kind else "420")
    if not (width and height and found and (found[1] == "mono" or found[1] in SUBSAMPLING)):
        return None
    values = width * height * (2 if found[2] else 1)
    if found[1] != "mono":
        across, down = SUBSAMPLING[found[1]]
        values += 2 * -(-width // across) * -(-height // down)
    return values * (2 if int(found[3] or 8) > 8 else 1)


def _boxes(head: bytes) -> Walk:
    name = b""
    while len(head) > 4 and any(known.startswith(head[4:8]) for known in BOXES):  # else the end, or what follows it
        size, name = int.from_bytes(head[:4], "big"), head[4:8]
        size = int.from_bytes(head[8:16], "big") if size == 1 else size
        if size < 8:
            return
        head = yield size
    if name == b"moof":  # the frames of a fragment follow it
        yield 8


def _elements(head: bytes) -> Walk:
    offset = end = 0
    while any(known.startswith(head[: len(known)]) for known in MKV_IDS if head):
        id_width = 9 - head[0].bit_length()
        size_width = 9 - head[id_width].bit_length() if len(head) > id_width else 1
        name, start = int.from_bytes(head[:id_width], "big"), id_width + size_width
        if size_width > 8:
            return
        if len(head) < start:
            yield start
            return
        size = int.from_bytes(head[id_width:start], "big") - (1 << 7 * size_width)
        unknown = size == (1 << 7 * size_width) - 1
        if name in (MKV_SEGMENT, MKV_CLUSTER):
            end = end if unknown else max(end, offset + start + size)
            size = 0
        elif unknown:
            return
        offset += start + size
        head = yield start + size
    if end > offset:
        yield end - offset


def _transport(head: bytes) -> Walk:
    while head[:1] == b"\x47":
        head = yield 188


def _units(head: bytes) -> Walk:
    while head and head[0] & 2 and not head[0] & 128:  # units of AV1 with a length
        size, place = 0, 2 if head[0] & 4 else 1
        for shift, byte in enumerate(head[place : place + 8]):
            size |= (byte & 127) << 7 * shift
            if byte < 128:
                break
        head = yield place + shift + 1 + size


def _keys(head: bytes) -> Walk:
    while head.startswith(b"\x06\x0e\x2b\x34"):  # keys, lengths and values of MXF
        first = head[16] if len(head) > 16 else 0
        long = first & 127 if first & 128 else 0
        head = yield 17 + long + (int.from_bytes(head[17 : 17 + long], "big") if long else first)


def _objects(head: bytes) -> Walk:
    while head.startswith(ASF):
        size = int.from_bytes(head[16:24], "little")
        if (len(head) >= 24 and size < 24) or (head.startswith(ASF_DATA) and size == ASF_EMPTY):
            return
        head = yield max(size, 24)


def _chunks(head: bytes) -> Walk:
    while (size := int.from_bytes(head[4:8], "little")) not in UNKNOWN and head.startswith(b"RIFF"):
        head = yield 8 + size + size % 2


def _tags(head: bytes) -> Walk:
    head = yield int.from_bytes(head[5:9], "big")
    while len(head) > 4 and head[4] & 31 in FLV_TAGS:  # of FLV, after the size of the tag before
        head = yield 15 + (int.from_bytes(head[5:8], "big") if len(head) >= 8 else 0)


def _ivf(head: bytes) -> Walk:
    head = yield int.from_bytes(head[6:8], "little")
    while head:
        head = yield 12 + (int.from_bytes(head[:4], "little") if len(head) >= 4 else 0)


def _png(head: bytes) -> Walk:
    head = yield len(PNG)
    while head[4:8] != b"IEND":
        head = yield 12 + int.from_bytes(head[:4], "big")
    yield 12


def _gif(head: bytes) -> Walk:
    head = yield 13 + _palette(head[10:11])
    while head[:1] in (b"\x21", b"\x2c", b""):
        head = yield 2 if head[:1] == b"\x21" else 11 + _palette(head[9:10])
        while head[:1] > b"\0":
            head = yield 1 + head[0]
        head = yield 1


def _palette(flags: bytes) -> int:
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 128 else 0


BEGINNINGS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Walk]], ...] = (
    (re.compile(rb"YUV4MPEG2 "), _y4m),
    (re.compile(rb"....(?:ftyp|styp|moov|moof)", re.DOTALL), _boxes),
    (re.compile(rb"\x1a\x45\xdf\xa3"), _elements),
    (re.compile(rb"\x47.{187}\x47", re.DOTALL), _transport),
    (re.compile(rb"\x12\0"), _units),
    (re.compile(rb"\x06\x0e\x2b\x34"), _keys),
    (re.compile(rb"\x30\x26\xb2\x75"), _objects),
    (re.compile(rb"RIFF"), _chunks),
    (re.compile(rb"FLV\x01"), _tags),
    (re.compile(rb"DKIF"), _ivf),
    (re.compile(re.escape(PNG)), _png),
    (re.compile(rb"GIF8"), _gif),
)


def _walk(head: bytes) -> Walk:
    return next((walk(head) for beginning, walk in BEGINNINGS if beginning.match(head)), iter(()))  # type: ignore[arg-type]


def missing_bytes(content: Any) -> int:
    """Return how many bytes are missing at the end of a file, given as bytes or as `FileBytes`; 0: none, or unknown."""
    walk, end = _walk(content[0:HEAD]), 0
    with suppress(StopIteration):
        end = _positive(next(walk))
        while end <= len(content):
            end += _positive(walk.send(content[end : end + HEAD]))
    return max(0, end - len(content))


def _positive(length: int) -> int:
    """Return the length of a piece. Raises StopIteration for one that no piece has, or no walk would end."""
    if length < 1:
        raise StopIteration
    return length


class Pieces:
    """A walk through the pieces of a container in a pipe, whose bytes come one after the other.

    Attributes:
        total: Number of bytes so far.
        end: Where the current piece ends.
    """

    def __init__(self) -> None:
        self.total = self.end = 0
        self._head = b""
        self._walk: Walk | None = None
        self._known = True  # whether the format and all lengths so far are

    def feed(self, content: bytes) -> None:
        """Take the next bytes."""
        start, self.total = self.total, self.total + len(content)
        while self._known and self.total > self.end:
            begin = max(0, self.end + len(self._head) - start)
            self._head += content[begin : begin + HEAD - len(self._head)]
            if len(self._head) < HEAD:
                return
            self._step()

    def missing(self) -> int:
        """Return how many bytes are missing if this is the end; 0: none, or unknown."""
        while self._known and self.total >= self.end:
            self._step()
        return max(0, self.end - self.total)

    def _step(self) -> None:
        """Move to the end of the next piece."""
        before = self.end
        try:
            if self._walk is None:
                self._walk = _walk(self._head)
                self.end += _positive(next(self._walk))
            else:
                self.end += _positive(self._walk.send(self._head))
        except StopIteration:
            self._known = False
        self._head = self._head[self.end - before :]
