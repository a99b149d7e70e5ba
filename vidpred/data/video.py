"""The only file that decodes video. Every reader opens its own containers, with one thread, in its own process."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import av
import numpy as np

from vidpred.errors import DataError

# Formats by content, not by suffix: a picture, a playlist or a script renamed to .mp4 is no video.
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,gif,h264,hevc,mjpeg,m4v,ivf"
MAX_PIXELS = 8192 * 4320
OPEN_CONTAINERS = 8
THUMBNAIL = 32  # side of the gray thumbnails in which cuts are looked for
CUT_DIFFERENCE = 20.0  # mean absolute difference of thumbnails, of 255, that a cut has at least
CUT_RATIO = 3.0  # and how many times the motion around it


@dataclass(frozen=True)
class VideoInfo:
    """What one scan of a video found.

    path is relative to the data folder. width and height are those of the first frame after rotation (degrees). pts
    are in units of time_base, ascending, one a frame; empty where the stream has none. Decoding can start at the frame
    numbers in keyframes; cuts begin a new shot.
    """

    path: str
    bytes: int
    mtime_ns: int
    codec: str
    frames: int
    rate: float
    width: int
    height: int
    rotation: int
    time_base: str
    pts: list[int]
    keyframes: list[int]
    cuts: list[int]

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Raises ValueError, KeyError or TypeError for anything but a line of `to_json`."""
        return cls(**json.loads(line))


def scaled_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """(height, width) with the short side scaled to `short_side` (None: unchanged), the other in proportion."""
    if short_side is None:
        return height, width
    scale = short_side / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def open_video(path: Path) -> tuple[Any, Any]:
    """(container, video stream), decoding with one thread. Raises DataError with the reason."""
    av.logging.set_level(None)  # FFmpeg's own chatter; every failure is reported by an exception
    explain_bytes(path)
    try:
        container = av.open(str(path), options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"not a video that can be opened ({short(error)}) [{printable(path)}]") from None
    if not container.streams.video:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        container.close()
        raise DataError(f"no video stream, only {kinds} [{printable(path)}]")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        container.close()
        raise DataError(f"no decoder for its codec [{printable(path)}]")
    if stream.width * stream.height > MAX_PIXELS:
        size = f"{stream.width}x{stream.height}"
        container.close()
        raise DataError(f"frames of {size} are over the limit of {MAX_PIXELS:,} pixels [{printable(path)}]")
    stream.codec_context.thread_count = 1
    return container, stream


def explain_bytes(path: Path) -> None:
    """Name the common ways in which a file is no video at all. Raises DataError."""
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror} [{printable(path)}]") from None
    if not head:
        raise DataError(f"empty file (0 bytes) [{printable(path)}]")
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"a Git-LFS pointer, not the video itself; run git lfs pull [{printable(path)}]")
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise DataError(f"an HTML page, not a video; download it again [{printable(path)}]")
    motion_jpeg = head.startswith(b"\xff\xd8\xff") and path.suffix.lower() in (".mjpeg", ".mjpg")
    other = head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"BM")) or (head[:4] == b"RIFF" and head[8:12] != b"AVI ")
    if other and not motion_jpeg:
        raise DataError(f"a picture or sound, not a video [{printable(path)}]")
    if head.startswith(b"ffconcat"):
        raise DataError(f"a playlist script, not a video [{printable(path)}]")


def printable(path: Path | str) -> str:
    """A path that can be printed whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace("\n", "\\n")


def short(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0][:80]


def probe(path: Path, name: str | None = None) -> VideoInfo:
    """Decode the whole video once and note what random access needs; memory does not grow with its length.

    name: the path to note in the result. Raises DataError: not a video, truncated, damaged, without frames.
    """
    status = path.stat() if path.exists() else None
    container, stream = open_video(path)
    assert status is not None
    scan = _Scan()
    with container:
        try:
            for frame in container.decode(stream):
                scan.add(frame)
        except av.FFmpegError as error:
            raise DataError(
                f"damaged or truncated: frame {scan.count} cannot be decoded ({short(error)}) [{printable(path)}]"
            ) from None
        if not scan.count:
            raise DataError(f"no frames in its video stream [{printable(path)}]")
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        scan.check_length(stream, container, rate, path)
        order = scan.order()
        return VideoInfo(
            path=name or path.name, bytes=status.st_size, mtime_ns=status.st_mtime_ns,
            codec=stream.codec_context.name, frames=scan.count, rate=rate, width=scan.width, height=scan.height,
            rotation=scan.rotation, time_base=str(stream.time_base or Fraction(1, 25)), pts=order,
            keyframes=scan.keyframes, cuts=find_cuts(scan.thumbnail_differences),
        )  # fmt: skip


class _Scan:
    """What `probe` gathers frame by frame."""

    def __init__(self) -> None:
        self.count, self.width, self.height, self.rotation = 0, 0, 0, 0
        self.pts: list[int | None] = []
        self.keyframes: list[int] = []
        self.thumbnail_differences: list[float] = []
        self._thumbnail: np.ndarray | None = None

    def add(self, frame: Any) -> None:
        if not self.count:
            self.rotation = round(frame.rotation) % 360
            self.width, self.height = frame.width, frame.height
            if self.rotation % 180:
                self.width, self.height = self.height, self.width
        if frame.key_frame:
            self.keyframes.append(self.count)
        self.pts.append(frame.pts)
        self.count += 1
        thumbnail = frame.reformat(THUMBNAIL, THUMBNAIL, "gray").to_ndarray().astype(np.float32)
        if self._thumbnail is not None:
            self.thumbnail_differences.append(float(np.abs(thumbnail - self._thumbnail).mean()))
        self._thumbnail = thumbnail

    def order(self) -> list[int]:
        """The frames' pts if they can tell frames apart in the order of decoding, else nothing: count instead."""
        known = [pts for pts in self.pts if pts is not None]
        ascending = all(a < b for a, b in pairwise(known))
        return known if len(known) == self.count and ascending else []

    def check_length(self, stream: Any, container: Any, rate: float, path: Path) -> None:
        """Decoders can end early without a word: compare with what the container promises. Raises DataError."""
        if stream.frames > self.count + 1:
            raise DataError(f"truncated: {self.count} of {stream.frames} frames can be decoded [{printable(path)}]")
        last = self.pts[-1]
        duration = stream.duration * stream.time_base if stream.duration else None
        if duration is None and container.duration and len(container.streams) == 1:
            duration = Fraction(container.duration, av.time_base)
        if duration is None or last is None or stream.time_base is None:
            return
        # Matroska counts a late start as part of the duration, MP4 does not: it has to be short by both counts.
        found = float(max(last, last - (self.pts[0] or 0)) * stream.time_base)
        if found + 3 / rate < float(duration) * 0.99 - 0.1:
            raise DataError(f"truncated: it ends after {found:.2f} of {float(duration):.2f} s [{printable(path)}]")


def find_cuts(differences: Sequence[float]) -> list[int]:
    """Frame numbers that begin a new shot, from the differences of consecutive thumbnails.

    A cut differs much, and much more than the frames around it do: fast motion differs much for many frames.
    """
    cuts = []
    for index, difference in enumerate(differences):
        around = [*differences[max(0, index - 3) : index], *differences[index + 1 : index + 4]]
        if difference > CUT_DIFFERENCE and difference > CUT_RATIO * (float(np.median(around)) if around else 0.0):
            cuts.append(index + 1)
    return cuts


_open: OrderedDict[tuple[int, str], tuple[Any, Any]] = OrderedDict()


def _container(path: Path) -> tuple[Any, Any]:
    """An open container of this process (one opened before a fork shares its file position with the parent)."""
    key = (os.getpid(), str(path))
    if key not in _open:
        _open[key] = open_video(path)
        own = [other for other in _open if other[0] == key[0]]
        if len(own) > OPEN_CONTAINERS:
            _open.pop(own[0])[0].close()
    _open.move_to_end(key)
    return _open[key]


def close_all() -> None:
    """Close this process's containers."""
    for key in [key for key in _open if key[0] == os.getpid()]:
        _open.pop(key)[0].close()


def read_frames(
    path: Path, info: VideoInfo, numbers: Sequence[int], size: tuple[int, int] | None = None, channels: int = 3
) -> np.ndarray:
    """The frames with these numbers, in this order: `(n, H, W, C)` uint8, upright, equal to sequential decoding.

    size: (height, width) to scale every frame to; None: the first frame's. channels: 3 RGB, 1 gray.
    Raises DataError naming file and frame: cannot be decoded, changed since it was scanned.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror} [{printable(path)}]") from None
    if (status.st_size, status.st_mtime_ns) != (info.bytes, info.mtime_ns):
        raise DataError(f"changed since it was scanned; start again to scan it anew [{printable(path)}]")
    wanted = sorted(set(numbers))
    if not wanted or wanted[0] < 0 or wanted[-1] >= info.frames:
        raise IndexError(f"frames {list(numbers)} of a video of {info.frames}")
    size = size or (info.height, info.width)
    found: dict[int, np.ndarray] = {}
    try:
        for number, frame in _decode_from(path, info, wanted[0]):
            if number in wanted:
                found[number] = to_array(frame, size, channels, info.rotation)
            if number >= wanted[-1]:
                break
    except av.FFmpegError as error:
        close_all()
        raise DataError(f"cannot decode frame {len(found) + wanted[0]} ({short(error)}) [{printable(path)}]") from None
    missing = [number for number in wanted if number not in found]
    if missing:
        raise DataError(f"cannot decode frame {missing[0]} [{printable(path)}]")
    return np.stack([found[number] for number in numbers])


def _decode_from(path: Path, info: VideoInfo, first: int) -> Iterator[tuple[int, Any]]:
    """(number, frame) from some frame at or before `first` on."""
    container, stream = _container(path)
    if info.pts and info.keyframes:
        number_of = {pts: number for number, pts in enumerate(info.pts)}
        start = max((key for key in info.keyframes if key <= first), default=0)
        container.seek(info.pts[start], stream=stream, backward=True)
        frames = container.decode(stream)
        head = next(frames, None)
        number = number_of.get(head.pts) if head is not None else None
        if head is not None and number is not None and number <= first:
            yield number, head
            for frame in frames:
                if frame.pts in number_of:  # frames from before the seek point may come first
                    yield number_of[frame.pts], frame
            return
    # No pts to go by, or the seek landed too late: count from the start.
    close_all()
    container, stream = _container(path)
    yield from enumerate(container.decode(stream))


def to_array(frame: Any, size: tuple[int, int], channels: int, rotation: int) -> np.ndarray:
    """A decoded frame as `(H, W, C)` uint8, scaled to size = (height, width) and turned upright."""
    height, width = size if rotation % 180 == 0 else size[::-1]
    interpolation = "AREA" if frame.width > width else "BICUBIC"
    picture = frame.to_ndarray(
        format="rgb24" if channels == 3 else "gray", width=width, height=height, interpolation=interpolation
    )
    if rotation:
        picture = np.rot90(picture, rotation // 90)
    return np.ascontiguousarray(picture.reshape(*size, channels))


def stream_frames(path: Path, size: tuple[int, int] | None = None, channels: int = 3) -> Iterator[np.ndarray]:
    """Every frame in turn, `(H, W, C)` uint8, in constant memory. Raises DataError."""
    container, stream = open_video(path)
    number = 0
    with container:
        try:
            for frame in container.decode(stream):
                rotation = round(frame.rotation) % 360
                if size is None:
                    size = (frame.height, frame.width) if rotation % 180 == 0 else (frame.width, frame.height)
                yield to_array(frame, size, channels, rotation)
                number += 1
        except av.FFmpegError as error:
            raise DataError(f"cannot decode frame {number} ({short(error)}) [{printable(path)}]") from None
