"""The pieces of a container file, one after the other, which show whether a file or a pipe ends within one.

FFmpeg takes the end of many formats within a frame for the end of the video. Each function here walks through one
format: it receives the first bytes of every piece, and yields the piece's length. It returns where a length is unknown
or what follows cannot begin a piece, and receives no bytes at the end, where it yields what is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Any

from vidpred.errors import counted

HEAD = 512  # bytes of a piece that show its length
TRAILING = 1024  # at most this many bytes that begin no piece, behind the last one, are no loss
# Python walks through 100,000 to 300,000 pieces a second. Those of usual videos have more bytes, except for short ones.
FREE_PIECES, PIECE_BYTES = 100_000, 128
TINY = "its structure is not checked completely: it has too many tiny pieces"
UNCOUNTED = 1 << 62  # missing bytes of unknown number
LARGEST = 1 << 44  # bytes of a file
MKV_SEGMENT, MKV_CLUSTER = 0x18538067, 0x1F43B675
MKV_TOP = {  # IDs of a segment's elements: seek head, info, tracks, chapters, clusters, cues, ...
    0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1043A770, MKV_CLUSTER, 0x1C53BB6B, 0x1941A469, 0x1254C367, 0xEC, 0xBF,
}  # fmt: skip
MKV_IN_CLUSTER = {0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854, 0xEC, 0xBF}
MKV_OUTER = {0x1A45DFA3, MKV_SEGMENT, 0xEC, 0xBF}  # behind a segment
MKV_NAMES, MKV_OUTER_NAMES = (
    tuple(name.to_bytes(-(-name.bit_length() // 8), "big") for name in names)
    for names in (MKV_OUTER | MKV_TOP | MKV_IN_CLUSTER, MKV_OUTER)
)
BOXES = (
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"sidx", b"ssix", b"mfra", b"emsg", b"uuid",
    b"meta", b"udta", b"pnot", b"prft", b"pdin",
)  # fmt: skip
ASF_DATA = b"\x36\x26\xb2\x75"
# The first bytes of objects: header, data, and indexes.
ASF = (b"\x30\x26\xb2\x75", ASF_DATA, b"\x90\x08\0\x33", b"\xd3\x29\xe2\xd6", b"\xf8\x03\xb1\xfe", b"\xd0\x3f\xb7\x3c")
ASF_EMPTY = 50  # size of a data object before its packets, and of one whose packets a live stream did not count
UNKNOWN = (0, 2**32 - 1)  # sizes of RIFF, and lengths of IVF, that a muxer could not go back to write
FLV_TAGS = (8, 9, 18)  # sound, video, script
IVF_JUMP = 1 << 32  # units of time between frames
SUBSAMPLING = {"410": (4, 4), "411": (4, 1), "420": (2, 2), "422": (2, 1), "440": (1, 2), "444": (1, 1)}
PNG = b"\x89PNG\r\n\x1a\n"
OGG_START, OGG_HEAD, OGG_FIRST, OGG_LAST = (
    b"OggS",
    27,
    2,
    4,
)  # bytes of a page before its table; flags of a stream's first and last page
UNIT_SEQUENCE, UNIT_DELIMITER = 1, 2  # kinds of units of AV1; the header of a sequence, and what precedes an image
BEFORE_SEQUENCE = (UNIT_DELIMITER, UNIT_SEQUENCE, 5, 15)  # or metadata, or padding
DV_START, DV_HEADER = b"\x1f\x07\x00", 452  # bytes up to the one that names the kind of a frame
DV_BYTES = (120_000, 144_000)  # of a frame of one channel with 525 and with 625 lines
DV_CHANNELS = {0: 1, 4: 2, 0x14: 4, 0x18: 2}  # by kind

Walk = Generator[int, bytes, None]


def _begins(head: bytes, names: tuple[bytes, ...]) -> bool:
    """Return whether bytes begin with one of these, or end within it."""
    return bool(head) and (head.startswith(names) or (len(head) < 4 and any(name.startswith(head) for name in names)))


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
    while _begins(head[4:8], BOXES):  # else the end, or what follows it
        size, name = int.from_bytes(head[:4], "big"), head[4:8]
        size = int.from_bytes(head[8:16], "big") if size == 1 else size
        if size < 8:
            return
        head = yield size
    if name == b"moof":  # the frames of a fragment follow it
        yield 8


def _elements(head: bytes) -> Walk:
    offset = end = segment = 0
    while _begins(head, MKV_OUTER_NAMES if 0 < segment <= offset else MKV_NAMES):
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
            segment = end if name == MKV_SEGMENT else segment
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
    kind = UNIT_DELIMITER
    while head and head[0] & 0x83 == 2:  # units of AV1 with a length
        before, kind = kind, head[0] >> 3
        if kind == UNIT_SEQUENCE and before not in BEFORE_SEQUENCE:
            return
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
    before = 0
    head = yield int.from_bytes(head[5:9], "big")
    while (
        len(head) > 4
        and head[4] in FLV_TAGS
        and not any(head[12:15])
        and int.from_bytes(head[:4], "big") in (0, before)
    ):
        before = 11 + int.from_bytes(head[5:8], "big") if len(head) >= 8 else 11
        head = yield 4 + before


def _ivf(head: bytes) -> Walk:
    length = int.from_bytes(head[24:28], "little")  # frames, or units of time, of which a frame takes one or more
    frames = time = 0
    head = yield int.from_bytes(head[6:8], "little")
    while head and (frames < length or length in UNKNOWN):
        before, time = time, int.from_bytes(head[4:12], "little")
        if len(head) >= 12 and frames and abs(time - before) > IVF_JUMP:
            return
        head = yield 12 + (int.from_bytes(head[:4], "little") if len(head) >= 4 else 0)
        frames += 1


def _pages(head: bytes) -> Walk:
    unfinished: set[bytes] = set()  # streams of Ogg
    while _begins(head, (OGG_START,)):
        note_ogg_stream(head, unfinished)
        head = yield ogg_page(head)
    if unfinished and not head:
        yield UNCOUNTED


def ogg_page(head: bytes) -> int:
    """Return the bytes of a page of Ogg, by its head; at least those, if it is cut."""
    return OGG_HEAD + (head[26] + sum(head[OGG_HEAD : OGG_HEAD + head[26]]) if len(head) >= OGG_HEAD else 0)


def note_ogg_stream(head: bytes, unfinished: set[bytes]) -> None:
    """Note the stream of a page of Ogg in the set of those whose last page is still to come."""
    if len(head) >= OGG_HEAD and head[5] & OGG_FIRST:
        unfinished.add(head[14:18])
    if len(head) >= OGG_HEAD and head[5] & OGG_LAST:
        unfinished.discard(head[14:18])


def _dv(head: bytes) -> Walk:
    size = dv_frame(head)
    while size and _begins(head[:3], (DV_START,)):
        head = yield size


def dv_frame(head: bytes) -> int | None:
    """Return the bytes of every frame of raw DV, by the first one; None if they are unknown."""
    if len(head) < DV_HEADER or not head.startswith(DV_START) or head[DV_HEADER - 1] & 0x1F not in DV_CHANNELS:
        return None
    return DV_BYTES[head[3] >> 7] * DV_CHANNELS[head[DV_HEADER - 1] & 0x1F]


def _png(head: bytes) -> Walk:
    head = yield len(PNG)
    while head[4:8] != b"IEND":
        head = yield 12 + int.from_bytes(head[:4], "big")
    yield 12


def _gif(head: bytes) -> Walk:
    head = yield 13 + gif_palette(head[10:11])
    while head[:1] in (b"\x21", b"\x2c", b""):
        head = yield 2 if head[:1] == b"\x21" else 11 + gif_palette(head[9:10])
        while head[:1] > b"\0":
            head = yield 1 + head[0]
        head = yield 1


def gif_palette(flags: bytes) -> int:
    """Return the bytes of the palette that flags of a GIF, a byte or none, announce."""
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
    (re.compile(OGG_START), _pages),
    (re.compile(DV_START), _dv),
)


def _nothing(head: bytes) -> Walk:
    yield from ()


def missing_bytes(content: Any) -> int:
    """Return how many bytes are missing at the end of a file, given as bytes or as `FileBytes`; 0: none, or unknown."""
    return pieces_of(content).missing()


def pieces_of(content: Any) -> Pieces:
    """Walk through the pieces of a file, given as bytes or as `FileBytes`."""
    pieces = Pieces()
    pieces.total = len(content)
    while pieces.known and pieces.end <= pieces.total:
        pieces.step(content[pieces.end : pieces.end + HEAD])
    return pieces


def ends_early(missing: int) -> str:
    """Return how many bytes are missing, for the user."""
    return f"ends {counted(missing, 'byte')} early" if missing < LARGEST else "ends early"


class Pieces:
    """A walk through the pieces of a container file, or of a container in a pipe, whose bytes come one after the other.

    Attributes:
        total: Number of bytes so far.
        end: Where the current piece ends.
        count: Number of pieces up to there.
        known: Whether the format and all lengths so far are.
        gave_up: Whether there were too many tiny pieces.
    """

    def __init__(self) -> None:
        self.total = self.end = self.count = 0
        self.known, self.gave_up = True, False
        self._head = b""
        self._kind: Callable[[bytes], Walk] = _nothing
        self._walk: Walk | None = None

    def feed(self, content: bytes) -> None:
        """Take the next bytes of a pipe, and follow the pieces of its format in them."""
        start, self.total = self.total, self.total + len(content)
        while self.known and self.total > self.end:
            begin = max(0, self.end + len(self._head) - start)
            self._head += content[begin : begin + HEAD - len(self._head)]
            if len(self._head) < HEAD:
                return
            self._take_head()

    def missing(self) -> int:
        """Return how many bytes are missing if this is the end; 0: none, or unknown."""
        while self.known and self.total >= self.end:
            self._take_head()
        return max(0, self.end - self.total)

    def trails(self) -> bool:
        """Return whether, if this is the end, a handful of bytes that begin no piece follows whole pieces."""
        return not self.missing() and 0 < self.total - self.end <= TRAILING and self.count > 0 and not self.gave_up

    def images(self) -> int | None:
        """Return the number of whole images of raw DV, if this is the end; None: another format."""
        return self.count - (self.missing() > 0) if self._kind is _dv and self.count else None

    def step(self, head: bytes) -> None:
        """Move to the end of the next piece, whose first bytes these are."""
        self.gave_up = self.count > FREE_PIECES + self.end // PIECE_BYTES
        try:
            if self.gave_up:
                raise StopIteration
            if self._walk is None:
                self._kind = next((kind for beginning, kind in BEGINNINGS if beginning.match(head)), _nothing)
                self._walk = self._kind(head)
                length = next(self._walk)
            else:
                length = self._walk.send(head)
        except StopIteration:
            length = 0
        self.known = length > 0  # a piece without bytes is none, or no walk would end
        self.end += max(0, length)
        self.count += self.known

    def _take_head(self) -> None:
        before = self.end
        self.step(self._head)
        self._head = self._head[self.end - before :]
