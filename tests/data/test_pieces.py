"""Walks through containers: whole ones lack nothing, cut ones do, bytes behind the end do not count, all walks end."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import pytest

from vidpred.data.videos.container_damage import Damage, FileBytes, _check_riff, find_damage
from vidpred.data.videos.pieces import LARGEST, TINY, Pieces, ends_early, missing_bytes, pieces_of

FORMATS: dict[str, tuple[str, str, dict[str, str]]] = {
    "matroska": ("mpeg4", "yuv420p", {}), "webm": ("libvpx", "yuv420p", {}), "flv": ("flv", "yuv420p", {}),
    "ivf": ("libvpx", "yuv420p", {}), "asf": ("wmv2", "yuv420p", {}),
    "mp4": ("mpeg4", "yuv420p", {"movflags": "frag_every_frame+empty_moov"}), "mpegts": ("mpeg2video", "yuv420p", {}),
    "avi": ("mpeg4", "yuv420p", {}), "gif": ("gif", "rgb8", {}), "mxf": ("mpeg2video", "yuv420p", {}),
    "ogg": ("libvpx", "yuv420p", {}), "dv": ("dvvideo", "yuv420p", {}),
}  # fmt: skip
TAILS = (b"a", b"abc", b"\0" * 3, b"\0" * 40, b"\xff" * 5, b"\xff" * 40, np.random.default_rng(0).bytes(300))


class Pipe(io.RawIOBase):
    """What a muxer writes where it cannot seek."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, content: Any) -> int:
        self.content += bytes(content)
        return len(content)

    def writable(self) -> bool:
        return True


def encode(name: str, pipe: bool = False) -> bytes:
    """Return a video of 12 frames in a container."""
    codec, pixels, options = FORMATS[name]
    file: Any = Pipe() if pipe else io.BytesIO()
    with av.open(file, "w", format=name, container_options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = (720, 576) if name == "dv" else (64, 48)
        stream.pix_fmt = pixels
        for number in range(12):
            values = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, "rgb24")))
        container.mux(stream.encode(None))
    return bytes(file.content) if pipe else file.getvalue()


def missing_of_pipe(content: bytes, step: int = 777) -> int:
    pieces = Pieces()
    for first in range(0, len(content), step):
        pieces.feed(content[first : first + step])
    return pieces.missing()


@pytest.mark.parametrize("name", FORMATS)
def test_whole_and_cut_and_with_more_behind_the_end(name: str) -> None:
    content = encode(name)
    assert missing_bytes(content) == missing_of_pipe(content) == 0
    for cut in (len(content) // 3, len(content) // 2, len(content) * 4 // 5):
        assert missing_of_pipe(content[:cut]) == missing_bytes(content[:cut])
    assert sum(missing_bytes(content[:-cut]) > 0 for cut in range(20, 1000, 97)) >= 7, "cuts between frames are no loss"
    for tail in TAILS:  # the walk ends, and what no known piece begins with is not the beginning of one
        assert missing_of_pipe(content + tail) == missing_bytes(content + tail)
        assert missing_bytes(content + tail) == 0, tail


@pytest.mark.parametrize("name", ["matroska", pytest.param("webm", marks=pytest.mark.slow)])
def test_a_cut_within_the_head_of_an_element(name: str) -> None:
    """A size that is cut is no size; it was once taken for a negative one, and the walk never ended."""
    content = encode(name)
    for cut in range(40, len(content), 7):
        assert missing_of_pipe(content[:cut]) == missing_bytes(content[:cut]) >= 0
    cluster = content.index(b"\x1f\x43\xb6\x75")
    for kept in range(1, 8):
        assert missing_bytes(content[: cluster + kept]) > 0


@pytest.mark.parametrize(("name", "start"), [("flv", 4), ("ivf", 0)])
def test_a_cut_within_the_head_of_a_frame(name: str, start: int) -> None:
    content = encode(name)
    place = 32 if name == "ivf" else int.from_bytes(content[5:9], "big")
    sizes = {"ivf": lambda at: 12 + int.from_bytes(content[at : at + 4], "little"),
             "flv": lambda at: 15 + int.from_bytes(content[at + 5 : at + 8], "big")}  # fmt: skip
    for _ in range(5):
        place += sizes[name](place)
    assert missing_bytes(content[:place]) == 0
    for kept in range(start + 1, start + 20):
        assert missing_bytes(content[: place + kept]) > 0, kept


@pytest.mark.parametrize("name", ["asf", "avi", "matroska", "flv"])
def test_sizes_that_a_muxer_could_not_go_back_to_write(name: str, tmp_path: Any) -> None:
    content = encode(name, pipe=True)
    assert missing_bytes(content) == missing_of_pipe(content) == 0
    if name == "avi":
        (tmp_path / "a.avi").write_bytes(content)
        damage = Damage()
        with (tmp_path / "a.avi").open("rb") as file:
            _check_riff(FileBytes(file), damage)
        assert damage.notes == []


TINY_PIECES = {
    "matroska": b"\xec\x80", "mp4": b"\0\0\0\x08free", "gif": b"\x21\xfe\1a\0", "flv": b"\0\0\0\0\x12" + bytes(10),
    "avi": b"JUNK\0\0\0\0", "ogg": b"OggS" + bytes(22) + b"\xff",
}  # fmt: skip


LONG = ("matroska", "gif", "flv")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else []) for name in TINY_PIECES]
)
def test_walks_through_tiny_pieces_stop(name: str, tmp_path: Any) -> None:
    """Python takes a minute for 10 MiB of elements of two bytes, which FFmpeg skips in no time."""
    start = b"RIFF\xff\xff\xff\xffAVI " if name == "avi" else encode(name, pipe=name == "matroska")
    content = start[: {"gif": -1, "flv": -4}.get(name)] + {"ogg": 90_000}.get(name, 900_000) * TINY_PIECES[name]
    if name not in ("avi", "ogg"):  # of which files are walked through differently
        pieces = pieces_of(content)
        assert pieces.gave_up
        assert pieces.count < 250_000
        assert missing_of_pipe(content, 1 << 16) == 0
    (tmp_path / "a").write_bytes(content)
    assert find_damage(tmp_path / "a", name).notes == [TINY]


def test_many_usual_pieces_are_walked_through() -> None:
    content = encode("mpegts")
    pieces = pieces_of(content * (110_000 * 188 // len(content) + 1))
    assert pieces.count > 110_000
    assert not pieces.gave_up


def test_counts_that_no_file_has(tmp_path: Any) -> None:
    assert ends_early(1) == "ends 1 byte early"
    assert ends_early(LARGEST) == "ends early"
    (tmp_path / "a").write_bytes(b"\0\0\0\1ftyp" + b"\xff" * 8 + bytes(1000))
    assert find_damage(tmp_path / "a", "mov,mp4").notes == ["the file ends early"]
