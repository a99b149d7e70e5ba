"""Builders of awkward video files: what cameras, capture programs and broken downloads leave behind."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.video_files import numbered_frames, write_video

COUNT = 60
FRAMES = numbered_frames(COUNT, 64, 96)
H264: dict[str, Any] = {"options": {"g": "20", "bf": "2"}}
MPEG4: dict[str, Any] = {"codec": "mpeg4", "options": {"g": "12"}}
MPEG2: dict[str, Any] = {"codec": "mpeg2video", "options": {"g": "12"}}
VP9: dict[str, Any] = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "g": "15"}}
GIF: dict[str, Any] = {"codec": "gif", "pixel_format": "rgb8"}
FLV: dict[str, Any] = {"codec": "flv", "options": {"g": "12"}}
FFV1: dict[str, Any] = {"codec": "ffv1", "options": {"level": "3", "slicecrc": "1", "slices": "4", "g": "10"}}
MJPEG: dict[str, Any] = {"codec": "mjpeg", "pixel_format": "yuvj420p"}
FASTSTART: dict[str, Any] = {"options": {"g": "12"}, "container_options": {"movflags": "faststart"}}


def whole(path: Path, **how: Any) -> bytearray:
    """Write all frames to a file, and return its bytes."""
    write_video(path, FRAMES, **how)
    return bytearray(path.read_bytes())


def remux(source: Path, target: Path, change: Callable[[int, Any], Any], options: dict[str, str] | None = None) -> None:
    """Copy packets without encoding; change: (number, packet) -> packet, or None to leave it out."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options or {}) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in old.demux(stream) if packet.size):
            if (changed := change(number, packet)) is not None:
                changed.stream = copy
                new.mux(changed)


def shifted(path: Path, seconds: float, options: dict[str, str]) -> None:
    """A video whose first packets have negative times; an MP4 hides them by an edit list."""
    source = path.with_name("source.mp4")
    whole(source, **H264)

    def shift(number: int, packet: Any) -> Any:
        offset = round(seconds / packet.time_base)
        packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
        return packet

    remux(source, path, shift, {"avoid_negative_ts": "disabled", **options})


def dropped_frames(path: Path) -> None:
    """An AVI in which three of ten frames are empty chunks, as capture programs write them."""
    source = path.with_name("source.avi")
    whole(source, **MJPEG)
    remux(source, path, lambda number, packet: None if 4 <= number % 10 <= 6 else packet)


def not_coded(path: Path) -> None:
    """An XviD-like AVI in which every fifth frame is not coded (an N-VOP: the image stays)."""
    source = path.with_name("source.avi")
    whole(source, codec="mpeg4", options={"g": "25", "bf": "0"})

    def change(number: int, packet: Any) -> Any:
        content = bytes(packet)
        start = content.index(b"\0\0\1\xb6") + 4
        bits = "".join(f"{byte:08b}" for byte in content[start : start + 12])
        if not bits.startswith("01") or number % 5 != 4:  # no P-frame
            return packet
        end = bits.index("0", 2)  # of modulo_time_base; 5 bits of time follow, between two markers
        head = bits[: end + 1] + "1" + bits[end + 2 : end + 7] + "10"
        head += "0" + "1" * (-(len(head) + 1) % 8)
        empty = av.Packet(content[:start] + int(head, 2).to_bytes(len(head) // 8, "big"))
        empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
        return empty

    remux(source, path, change)


def joined(path: Path) -> None:
    """Two whole transport streams, one after the other."""
    path.write_bytes(whole(path, **H264) * 2)


def joined_segments(path: Path) -> None:
    """Segments of one stream whose time goes on and whose counters begin anew, as in HLS."""
    segments = []
    for first in range(0, COUNT, 20):
        times = list(range(first, first + 20))
        segment = path.with_name(f"{first}.ts")
        write_video(segment, FRAMES[first : first + 20], pts=times, time_base=Fraction(1, 25), **H264)
        segments.append(segment.read_bytes())
    path.write_bytes(b"".join(segments))


def held(path: Path) -> None:
    """A WebM whose last frame stands still for three seconds."""
    source = path.with_name("source.webm")
    whole(source, **VP9)

    def hold(number: int, packet: Any) -> Any:
        if number == COUNT - 1:
            packet.duration = round(3 / packet.time_base)
        return packet

    remux(source, path, hold)


def overstated(path: Path) -> None:
    """An AVI whose header promises 444 frames."""
    content = whole(path, **MJPEG)
    for name, offset in ((b"avih", 16), (b"strh", 32)):
        place = content.index(name) + 8 + offset
        content[place : place + 4] = (444).to_bytes(4, "little")
    path.write_bytes(content)


def trailing_bytes(path: Path) -> None:
    """A GIF with something behind its end."""
    path.write_bytes(whole(path, **GIF) + b"\0junk")


def unseekable(path: Path) -> None:
    """A RealMedia file in which seeking fails for some times."""
    levels = np.arange(0, 150, 5, np.uint8)[:, None, None, None]
    write_video(path, np.broadcast_to(levels, (30, 64, 96, 3)), "rv10")


def lost_packets(path: Path) -> None:
    """A transport stream without three of its packets."""
    content = whole(path, **H264)
    middle = len(content) // 188 // 2 * 188
    path.write_bytes(content[:middle] + content[middle + 3 * 188 :])


def cut(path: Path, part: float = 0.5, **how: Any) -> None:
    """The beginning of a video."""
    content = whole(path, **how)
    path.write_bytes(content[: int(len(content) * part)])


def zeroed(path: Path, **how: Any) -> None:
    """A video whose middle third is zeros."""
    content = whole(path, **how)
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    path.write_bytes(content)


def flipped(path: Path, seed: int = 0, count: int = 20, **how: Any) -> None:
    """A video in whose middle half some bits are flipped."""
    content = whole(path, **how)
    random = np.random.default_rng(seed)
    for place in random.integers(len(content) // 4, len(content) * 3 // 4, count):
        content[place] ^= 1 << int(random.integers(8))
    path.write_bytes(content)


# File name -> builder, number of frames that players show.
GOOD: dict[str, tuple[Callable[[Path], object], int]] = {
    "trimmed.mp4": (lambda path: shifted(path, 13 / 25, {"use_editlist": "1"}), 47),
    "negative.mkv": (lambda path: shifted(path, 2, {}), 60),
    "negative.ts": (lambda path: shifted(path, 2, {}), 60),
    "dropped.avi": (dropped_frames, 42),
    "not_coded.avi": (not_coded, 49),
    "overstated.avi": (overstated, 60),
    "joined.ts": (joined, 120),
    "segments.ts": (joined_segments, 60),
    "held.webm": (held, 60),
    "trailing.gif": (trailing_bytes, 60),
    # By the clock of a camera, 111 hours after the zero of its times.
    "late.mkv": (lambda path: write_video(path, FRAMES, pts=list(range(10**7, 10**7 + COUNT))), 60),
    "unseekable.rm": (unseekable, 30),
}
# File name -> builder, words of the notes.
DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut.mp4": (lambda path: cut(path, **FASTSTART), "the file ends .* bytes early"),
    "cut.mkv": (lambda path: cut(path, **H264), "the file ends .* bytes early"),
    "cut.webm": (lambda path: cut(path, **VP9), "the file ends .* bytes early"),
    "cut.avi": (lambda path: cut(path, **MPEG4), "the file ends .* bytes early"),
    "cut.ts": (lambda path: cut(path, 0.501, **H264), "the file ends within a packet"),
    "cut.flv": (lambda path: cut(path, **FLV), "first after frame"),
    "cut.mpg": (lambda path: cut(path, **MPEG2), "first after frame"),
    "cut.gif": (lambda path: cut(path, **GIF), "the end of the file is missing"),
    "lost.ts": (lost_packets, "data is missing"),
    "zeroed.mp4": (lambda path: zeroed(path, **FASTSTART), "damaged or without a reference frame"),
    "zeroed.mkv": (lambda path: zeroed(path, **H264), "invalid data at byte"),
    "zeroed.webm": (lambda path: zeroed(path, **VP9), "invalid data at byte"),
    "zeroed.avi": (lambda path: zeroed(path, **MPEG4), "an invalid chunk at byte"),
    "zeroed.ts": (lambda path: zeroed(path, **H264), "packets of the transport stream are invalid"),
    "zeroed.flv": (lambda path: zeroed(path, **FLV), "damaged or without a reference frame"),
    "zeroed.mpg": (lambda path: zeroed(path, **MPEG2), "damaged or without a reference frame"),
    "zeroed.gif": (lambda path: zeroed(path, **GIF), "an invalid block at byte"),
    "flipped.mp4": (lambda path: flipped(path, **FASTSTART), "damaged or without a reference frame"),
    "flipped.mpg": (lambda path: flipped(path, **MPEG2), "damaged or without a reference frame"),
    "flipped.ts": (lambda path: flipped(path, **H264), "damaged or without a reference frame"),
}
