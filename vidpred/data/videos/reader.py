"""Random access to the frames of videos. Every process opens its own containers and decodes with one thread."""

from __future__ import annotations

import json
import os
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np

from vidpred.bounds import is_image_size
from vidpred.data.field_types import from_mapping
from vidpred.data.videos.container_damage import find_damage
from vidpred.data.videos.containers import OpenVideo, Scaler, file_status, open_video
from vidpred.data.videos.geometry import geometry_of, upright
from vidpred.data.videos.limits import Limits
from vidpred.data.videos.whole_frames import WholeFrames
from vidpred.data.videos.worker_status import reading
from vidpred.errors import ConfigError, DataError, printable, short
from vidpred.files import parse_json

OPEN_CONTAINERS = 8
READ_ON = 2  # frames; up to this distance, decoding is cheaper than seeking


@dataclass(frozen=True)
class VideoInfo:
    """The result of scanning a video.

    Attributes:
        path: Path relative to the data folder.
        bytes: File size.
        mtime_ns: Time of the last modification.
        codec: Name of FFmpeg's decoder.
        frames: Number of frames.
        rate: Average frames per second.
        width: Width of the first frame as it is shown; see `Geometry`.
        height: Height of the first frame as it is shown.
        rotation: Degrees counter-clockwise, a multiple of 90.
        time_base: Unit of the timestamps in seconds, as a fraction.
        pts: One ascending timestamp per frame in units of `time_base`; empty if the stream has none.
        keyframes: Frame indices at which decoding can start; seek to their pts or, without pts, `keyframe_dts`.
        keyframe_dts: Seek times of the keyframes; if empty, decoding starts at the beginning.
        cuts: Indices of the frames that begin a new shot.
        gaps: Indices of the frames before which frames are missing or damaged.
        breaks: Byte offsets of damage; see `container_damage.Damage`, also for `images`.
        images: Number of complete images (GIF and DV only).
        notes: What is damaged or missing; empty for a good file.
        mirrored: Whether frames are mirrored after the rotation.
        interlaced: Whether most frames are stored as two fields of different times.
        fingerprint: See `files.content_fingerprint`; "" if unknown.
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
    gaps: list[int] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    images: int | None = None
    notes: list[str] = field(default_factory=list)
    mirrored: bool = False
    interlaced: bool = False
    fingerprint: str = ""

    @property
    def seconds(self) -> float:
        """Duration, assuming that the last frame lasts as long as the average frame."""
        if not self.pts:
            return self.frames / self.rate
        return float((self.pts[-1] - self.pts[0]) * Fraction(self.time_base)) + 1 / self.rate

    def to_json(self) -> str:
        """Return the result as one line of JSON."""
        return json.dumps(vars(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Parse a line written by `to_json`.

        Raises:
            ValueError: The line was not written by `to_json`.
        """
        info = from_mapping(cls, parse_json(line))
        info.check()
        return info

    def check(self) -> None:
        """Raise ValueError if a value is impossible, as in a damaged or forged index."""
        sizes = (self.frames, self.width, self.height)
        ascending = (self.pts, self.keyframes, self.keyframe_dts)
        inside = [*self.keyframes, *self.cuts, *self.gaps]
        if (
            min(*sizes, self.bytes + 1) < 1
            or self.rate <= 0
            or self.rotation not in (0, 90, 180, 270)
            or Fraction(self.time_base) <= 0
            or len(self.pts) not in (0, self.frames)
            or len(self.keyframe_dts) not in (0, len(self.keyframes))
            or any(a >= b for values in ascending for a, b in pairwise(values))
            or not all(0 <= number < self.frames for number in inside)
        ):
            raise ValueError("impossible values")


def scaled_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Return (height, width) with the short side scaled to `short_side` (None: unchanged), keeping the aspect ratio.

    Raises:
        ConfigError: Images of this size are too large.
    """
    if short_side is None:
        return height, width
    scale = short_side / min(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if not is_image_size(*size):
        raise ConfigError(
            f"[--size {short_side}, or data.size] frames of {width}x{height} pixels would become {size[1]}x{size[0]}, "
            "more than can be scaled; lower the size"
        )
    return size


class Reader:
    """An open video and its decoding position; decodes onwards if that is cheaper than seeking."""

    def __init__(self, path: Path, info: VideoInfo, video: OpenVideo | None = None) -> None:
        """Open the video, or continue with one that is open and was decoded to its end."""
        self.path, self.info = path, info
        self._open(video)

    def _open(self, video: OpenVideo | None = None) -> None:
        self._video = video or open_video(self.path)
        self._frames: Iterator[Any] = self._whole_frames()
        # The index of the next frame; None after a failed seek, and after the end.
        self._position: int | None = 0 if video is None else None

    def _whole_frames(self) -> WholeFrames:
        return WholeFrames(self._video, self.info.breaks, self.info.images)

    def close(self) -> None:
        """Close the video file and its decoder."""
        self._video.close()

    def frames_from(self, first: int) -> Iterator[tuple[int, Any]]:
        """Yield (number, frame) from frame `first` on, equal to sequential decoding.

        Raises:
            av.FFmpegError: A frame cannot be decoded.
        """
        start = self._keyframe_before(first)
        reachable = self._position is not None and self._position <= first
        if not reachable or (start is not None and start > (self._position or 0) + READ_ON):
            self._seek(start)
        for frame in self._frames:
            number = self._number(frame)
            if number is not None:
                self._position = number + 1
                if number >= first:
                    yield number, frame

    def _keyframe_before(self, number: int) -> int | None:
        """Return the last keyframe at or before a frame, or None if there is none with a timestamp."""
        place = bisect_right(self.info.keyframes, number) - 1
        timestamps = self.info.pts or self.info.keyframe_dts
        return self.info.keyframes[place] if timestamps and place >= 0 else None

    def _number(self, frame: Any) -> int | None:
        if not self.info.pts:
            return self._position
        place = bisect_left(self.info.pts, frame.pts) if frame.pts is not None else len(self.info.pts)
        return place if place < len(self.info.pts) and self.info.pts[place] == frame.pts else None

    def _seek(self, start: int | None) -> None:
        """Seek so that the next frame is `start`; if that fails, reopen the video at the beginning."""
        # In a damaged video, and where no times identify the frames, the keyframe of frame 0 may not be the first one.
        from_start = start is None or (start == 0 and bool(self.info.notes or not self.info.pts))
        if start is not None and not from_start:
            by_pts = bool(self.info.pts)
            time = self.info.pts[start] if by_pts else self.info.keyframe_dts[bisect_left(self.info.keyframes, start)]
            if self.info.notes:  # what a decoder puts in place of missing data depends on what it decoded before
                self.close()
                self._open()
            self._position = None
            self._frames = self._whole_frames() if self._can_seek(time) else iter(())
            # Frames from before the keyframe may be decoded first, without their reference frames: skip them.
            for frame in self._frames:
                number = self._number(frame) if by_pts else start if frame.key_frame and frame.dts == time else None
                if number == start:
                    self._frames, self._position = chain([frame], self._frames), start
                    return
                if number is not None and number > start:
                    break
        self.close()
        self._open()

    def _can_seek(self, time: int) -> bool:
        """Seek and return whether that worked; some containers refuse it for some times, such as RealMedia."""
        import av

        try:
            self._video.seek(time)
        except (av.FFmpegError, OSError):
            return False
        return True


_open: OrderedDict[tuple[int, str], Reader] = OrderedDict()


def _reader(path: Path, info: VideoInfo) -> Reader:
    """Return an open reader of this process; one opened before a fork would share the parent's file position."""
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
    """Return the frames with these indices, upright and equal to sequential decoding.

    Args:
        path: The video file.
        info: The result of scanning it.
        numbers: Frame indices in any order, repeats allowed.
        size: (height, width) to scale every frame to; None keeps the size of the first frame.
        channels: 3 for RGB, 1 for gray.

    Returns:
        `(n, H, W, C)` uint8, in the order of `numbers`.

    Raises:
        DataError: A frame cannot be decoded, or the file changed since it was scanned.
    """
    with reading(path):
        return _read_frames(path, info, numbers, size, channels)


def _read_frames(
    path: Path, info: VideoInfo, numbers: Sequence[int], size: tuple[int, int] | None, channels: int
) -> np.ndarray:
    import av  # optional: training on prepared frames works without it

    status = file_status(path)
    if (status.st_size, status.st_mtime_ns) != (info.bytes, info.mtime_ns):
        raise DataError(f"the file changed since it was scanned; start again to rescan it [{printable(path)}]")
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
                found[places[number]] = to_array(frame, size, channels, info.rotation, info.mirrored, _scaler)
                count += 1
            if number >= wanted[-1]:
                break
    except av.FFmpegError as error:
        _open.pop((os.getpid(), str(path))).close()
        raise DataError(f"cannot decode frame {wanted[count]} ({short(error)}) [{printable(path)}]") from None
    if count < len(wanted):
        _open.pop((os.getpid(), str(path))).close()
        if info.keyframes:  # seeking led astray, as in files with repeated or misplaced packets: decode from the start
            sequential = replace(info, keyframes=[], keyframe_dts=[])
            return _read_frames(path, sequential, numbers, size, channels)
        raise DataError(f"cannot decode all frames from {wanted[0]} to {wanted[-1]} [{printable(path)}]")
    return found if wanted == list(numbers) else found[[places[number] for number in numbers]]


def to_array(
    frame: Any, size: tuple[int, int], channels: int, rotation: int, mirrored: bool, scaler: Scaler
) -> np.ndarray:
    """Convert a decoded frame to `(H, W, C)` uint8, turned upright and scaled to size = (height, width).

    Raises:
        DataError: FFmpeg cannot scale frames to this size.
    """
    unrotated = size if rotation % 180 == 0 else size[::-1]
    try:
        image = scaler.array(frame, unrotated, "rgb24" if channels == 3 else "gray")
    except ValueError as error:
        raise DataError(f"cannot scale a frame to {size[1]}x{size[0]} ({short(error)}); lower the size") from None
    if rotation or mirrored:
        image = np.ascontiguousarray(upright(image, rotation, mirrored))
    return image.reshape(*size, channels)


def stream_frames(
    path: Path, size: tuple[int, int] | None = None, channels: int = 3, limits: Limits | None = None
) -> Iterator[np.ndarray]:
    """Yield every undamaged frame, `(H, W, C)` uint8, in constant memory.

    Raises:
        DataError: The video cannot be opened, or exceeds the limits.
    """
    video, scaler, geometry = open_video(path, limits or Limits()), Scaler(), None
    with video.container:
        damage = find_damage(path, video.container.format.name)
        for frame in WholeFrames(video, damage.breaks, damage.images):
            geometry = geometry or geometry_of(frame, video.stream)
            shape = size or (geometry.height, geometry.width)
            yield to_array(frame, shape, channels, geometry.rotation, geometry.mirrored, scaler)
