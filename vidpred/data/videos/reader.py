"""Reads frames of videos. Every reader opens its own containers, with one thread, in its own process."""

from __future__ import annotations

import json
import os
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np

from vidpred.data.videos.containers import Scaler, file_status, open_video, printable, short
from vidpred.data.videos.limits import Limits
from vidpred.data.videos.worker_status import reading
from vidpred.errors import DataError

OPEN_CONTAINERS = 8
READ_ON = 2  # frames that are cheaper decoded than jumped over


@dataclass(frozen=True)
class VideoInfo:
    """What one scan of a video found.

    path is relative to the data folder. width and height are those of the first frame after rotation (degrees, whole
    quarter turns). pts are in units of time_base, ascending, one a frame; empty where the stream has none. Decoding can
    start at the frame numbers in keyframes; their times to seek to are their pts or, without pts, keyframe_dts (empty:
    decoding starts at the beginning). cuts begin a new shot.
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
    keyframe_dts: list[int]
    cuts: list[int]

    @property
    def seconds(self) -> float:
        """From the first frame to the end of the last, which is taken to last as long as the average."""
        if not self.pts:
            return self.frames / self.rate
        return float((self.pts[-1] - self.pts[0]) * Fraction(self.time_base)) + 1 / self.rate

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


class Reader:
    """One open video, and how far it has been decoded. Reading on is cheaper than jumping, and just as exact."""

    def __init__(self, path: Path, info: VideoInfo) -> None:
        self.path, self.info = path, info
        self._open()

    def _open(self) -> None:
        self._video = open_video(self.path)
        self._frames: Iterator[Any] = self._video.frames()
        self._position: int | None = 0  # the next frame to come; None after a jump that led nowhere

    def close(self) -> None:
        self._video.close()

    def frames_from(self, first: int) -> Iterator[tuple[int, Any]]:
        """(number, frame) from frame `first` on, as sequential decoding gives them. Raises av.FFmpegError."""
        start = self._keyframe_before(first)
        reachable = self._position is not None and self._position <= first
        if not reachable or (start is not None and start > (self._position or 0) + READ_ON):
            self._jump(start)
        for frame in self._frames:
            number = self._number(frame)
            if number is not None:
                self._position = number + 1
                if number >= first:
                    yield number, frame

    def _keyframe_before(self, number: int) -> int | None:
        """The keyframe to jump to for a frame; None: there is nothing to go by."""
        place = bisect_right(self.info.keyframes, number) - 1
        known = self.info.pts or self.info.keyframe_dts
        return self.info.keyframes[place] if known and place >= 0 else None

    def _number(self, frame: Any) -> int | None:
        if not self.info.pts:
            return self._position
        place = bisect_left(self.info.pts, frame.pts) if frame.pts is not None else len(self.info.pts)
        return place if place < len(self.info.pts) and self.info.pts[place] == frame.pts else None

    def _jump(self, start: int | None) -> None:
        """To where the next frame that comes is `start`, or, failing that, to the beginning."""
        if start is not None:
            by_pts = bool(self.info.pts)
            time = self.info.pts[start] if by_pts else self.info.keyframe_dts[bisect_left(self.info.keyframes, start)]
            self._position = None
            self._video.seek(time)
            self._frames = self._video.frames()
            # Frames from before the keyframe may come first, and lack what they were predicted from.
            for frame in self._frames:
                number = self._number(frame) if by_pts else start if frame.key_frame and frame.dts == time else None
                if number == start:
                    self._frames, self._position = chain([frame], self._frames), start
                    return
                if number is not None and number > start:
                    break
        self.close()
        self._open()


_open: OrderedDict[tuple[int, str], Reader] = OrderedDict()


def _reader(path: Path, info: VideoInfo) -> Reader:
    """An open reader of this process (a container opened before a fork shares its file position with the parent)."""
    key = (os.getpid(), str(path))
    if key in _open and (_open[key].info.bytes, _open[key].info.mtime_ns) != (info.bytes, info.mtime_ns):
        _open.pop(key).close()
    if key not in _open:
        own = [other for other in _open if other[0] == key[0]]
        for other in own[: max(0, len(own) + 1 - OPEN_CONTAINERS)]:
            _open.pop(other).close()
        _open[key] = Reader(path, info)
    _open.move_to_end(key)
    return _open[key]


_scaler = Scaler()


def read_frames(
    path: Path, info: VideoInfo, numbers: Sequence[int], size: tuple[int, int] | None = None, channels: int = 3
) -> np.ndarray:
    """The frames with these numbers, in this order: `(n, H, W, C)` uint8, upright, equal to sequential decoding.

    size: (height, width) to scale every frame to; None: the first frame's. channels: 3 RGB, 1 gray.
    Raises DataError naming file and frame: cannot be decoded, changed since it was scanned.
    """
    with reading(path):
        return _read_frames(path, info, numbers, size, channels)


def _read_frames(
    path: Path, info: VideoInfo, numbers: Sequence[int], size: tuple[int, int] | None, channels: int
) -> np.ndarray:
    import av  # training on prepared frames works without it

    status = file_status(path)
    if (status.st_size, status.st_mtime_ns) != (info.bytes, info.mtime_ns):
        raise DataError(f"changed since it was scanned; start again to scan it anew [{printable(path)}]")
    places = {number: place for place, number in enumerate(sorted(set(numbers)))}
    wanted = list(places)
    if not wanted or wanted[0] < 0 or wanted[-1] >= info.frames:
        raise IndexError(f"frames {list(numbers)} of a video of {info.frames}")
    size = size or (info.height, info.width)
    found = np.empty((len(wanted), *size, channels), np.uint8)
    count = 0
    try:
        for number, frame in _reader(path, info).frames_from(wanted[0]):
            if number in places:
                found[places[number]] = to_array(frame, size, channels, info.rotation, _scaler)
                count += 1
            if number >= wanted[-1]:
                break
    except av.FFmpegError as error:
        _open.pop((os.getpid(), str(path))).close()
        raise DataError(f"cannot decode frame {wanted[count]} ({short(error)}) [{printable(path)}]") from None
    if count < len(wanted):
        raise DataError(f"cannot decode all of frames {wanted[0]} to {wanted[-1]} [{printable(path)}]")
    return found if wanted == list(numbers) else found[[places[number] for number in numbers]]


def quarter_turns(frame: Any) -> int:
    """0, 90, 180 or 270 degrees counter-clockwise that turn a decoded frame upright."""
    return int(round(frame.rotation / 90) * 90 % 360)


def to_array(frame: Any, size: tuple[int, int], channels: int, rotation: int, scaler: Scaler) -> np.ndarray:
    """A decoded frame as `(H, W, C)` uint8, scaled from its own size to size = (height, width) and turned upright."""
    lying = size if rotation % 180 == 0 else size[::-1]
    image = scaler.array(frame, lying, "rgb24" if channels == 3 else "gray")
    if rotation:
        image = np.ascontiguousarray(np.rot90(image, rotation // 90))
    return image.reshape(*size, channels)


def stream_frames(
    path: Path, size: tuple[int, int] | None = None, channels: int = 3, limits: Limits | None = None
) -> Iterator[np.ndarray]:
    """Every frame in turn, `(H, W, C)` uint8, in constant memory. Raises DataError."""
    import av

    video, scaler, number, rotation = open_video(path, limits or Limits()), Scaler(), 0, 0
    with video.container:
        try:
            for frame in video.frames():
                if not number:
                    rotation = quarter_turns(frame)
                    size = size or ((frame.height, frame.width) if rotation % 180 == 0 else (frame.width, frame.height))
                assert size is not None
                yield to_array(frame, size, channels, rotation, scaler)
                number += 1
        except av.FFmpegError as error:
            raise DataError(f"cannot decode frame {number} ({short(error)}) [{printable(path)}]") from None
