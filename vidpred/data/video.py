"""The only file that decodes video. Every reader opens its own containers, with one thread, in its own process."""

from __future__ import annotations

import json
import os
import zlib
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Self

import av
import numpy as np

from vidpred.data.containers import OpenVideo, Scaler, check_packets, file_status, open_video, printable, short
from vidpred.data.limits import Limits
from vidpred.data.worker_notes import reading
from vidpred.errors import DataError

OPEN_CONTAINERS = 8
STREAMS = ("mpegts", "mpeg")
HOLE_SECONDS, HOLE_STEPS = 0.3, 5  # what a hole between two frames of these has at least, in seconds and usual steps
THUMBNAIL = 32  # side of the gray thumbnails in which cuts are looked for
CUT_DIFFERENCE = 20.0  # mean absolute difference of thumbnails, of 255, that a cut has at least
CUT_RATIO = 3.0  # and how many times the motion around it
TRIED_KEYFRAMES, TRIED_FRAMES = 2, 16  # what a scan decodes a second time to see whether random access works
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


def probe(path: Path, name: str | None = None, limits: Limits | None = None) -> VideoInfo:
    """Decode the whole video once and note what random access needs; memory does not grow with its length.

    name: the path to note in the result. Raises DataError: not a video, over the limits, truncated, damaged, without
    frames.
    """
    limits = limits or Limits()
    status = file_status(path)
    video = open_video(path, limits)
    scan = _Scan(video, limits)
    try:
        with video.container:
            check_packets(path, video.container)
            scan.run()
            info = VideoInfo(
                path=name or path.name, bytes=status.st_size, mtime_ns=status.st_mtime_ns, codec=video.decoder.name,
                frames=scan.count, rate=scan.rate, width=scan.width, height=scan.height, rotation=scan.rotation,
                time_base=str(video.stream.time_base or Fraction(1, 25)), pts=scan.order(), keyframes=scan.keyframes,
                keyframe_dts=scan.keyframe_dts(), cuts=find_cuts(scan.thumbnail_differences),
            )  # fmt: skip
        return _with_trusted_keyframes(path, info, scan.checksums)
    except av.FFmpegError as error:
        reason = f"damaged or truncated: frame {scan.count} cannot be decoded ({short(error)})"
        raise DataError(f"{reason} [{printable(path)}]") from None
    except DataError as error:
        raise DataError(f"{error} [{printable(path)}]") from None


class _Scan:
    """What `probe` gathers frame by frame."""

    def __init__(self, video: OpenVideo, limits: Limits) -> None:
        self.video, self.limits = video, limits
        self.rate = float(video.stream.average_rate or video.stream.guessed_rate or 25)
        self.count, self.width, self.height, self.rotation = 0, 0, 0, 0
        self.pts: list[int | None] = []
        self.keyframes: list[int] = []
        self.checksums: list[int] = []
        self.thumbnail_differences: list[float] = []
        self._keyframe_dts: list[int | None] = []
        self._thumbnail: np.ndarray | None = None
        self._scaler = Scaler()
        self._end, self._last_end = 0.0, 0.0  # of all streams, and of the video's last frame

    def run(self) -> None:
        """Decode everything. Raises DataError without the path, av.FFmpegError."""
        # All streams are followed, for some containers only say how long all of them together last.
        for packet in self.video.container.demux():
            if packet.pts is not None and packet.time_base:
                self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is self.video.stream or packet.stream.index == self.video.stream.index:
                if packet.is_corrupt:  # the container's own account of what is missing
                    raise DataError(f"damaged or truncated: what follows frame {self.count} is not whole")
                for frame in self.video.decode(packet):
                    self.add(frame)
        if not self.count:
            raise DataError("no frames in its video stream")
        self.check_length()
        self.check_holes()

    def add(self, frame: Any) -> None:
        if not self.count:
            self.rotation = quarter_turns(frame)
            self.width, self.height = frame.width, frame.height
            if self.rotation % 180:
                self.width, self.height = self.height, self.width
        if frame.is_corrupt:
            raise DataError(f"damaged or truncated: frame {self.count} cannot be decoded whole")
        if frame.key_frame:
            self.keyframes.append(self.count)
            self._keyframe_dts.append(frame.dts)
        self.pts.append(frame.pts)
        self.count += 1
        if frame.pts is not None and self.video.stream.time_base:
            self._last_end = float((frame.pts + (frame.duration or 0)) * self.video.stream.time_base)
        reason = self.limits.of_size(frame.width, frame.height) or self.limits.of_length(self.count, self._seconds())
        if reason:
            raise DataError(reason)
        thumbnail = thumbnail_of(frame, self._scaler)
        self.checksums.append(zlib.crc32(thumbnail.tobytes()))
        difference = thumbnail.astype(np.int16) - self._thumbnail if self._thumbnail is not None else None
        if difference is not None:
            self.thumbnail_differences.append(float(np.abs(difference).mean()))
        self._thumbnail = thumbnail

    def _seconds(self) -> float:
        first, last = self.pts[0], self.pts[-1]
        if first is None or last is None or self.video.stream.time_base is None:
            return self.count / self.rate
        return float((last - first) * self.video.stream.time_base)

    def order(self) -> list[int]:
        """The frames' pts if they can tell frames apart in the order of decoding, else nothing: count instead."""
        known = [pts for pts in self.pts if pts is not None]
        ascending = all(a < b for a, b in pairwise(known))
        return known if len(known) == self.count and ascending else []

    def keyframe_dts(self) -> list[int]:
        """Times to seek to where there are no pts: AVI numbers frames as they are stored, not as they are shown."""
        known = [dts for dts in self._keyframe_dts if dts is not None]
        ascending = all(a < b for a, b in pairwise(known))
        return known if len(known) == len(self.keyframes) and ascending and not self.order() else []

    def check_length(self) -> None:
        """Decoders can end early without a word: compare with what the container promises. Raises DataError."""
        stream, container = self.video.stream, self.video.container
        if stream.frames > self.count + 1:
            raise DataError(f"truncated: {self.count} of {stream.frames} frames can be decoded")
        first = float((self.pts[0] or 0) * (stream.time_base or 0))
        if stream.duration and stream.time_base:
            promised, found = float(stream.duration * stream.time_base), self._last_end
        else:
            promised, found = (container.duration or 0) / av.time_base, max(self._end, self._last_end)
        # Matroska counts a late start as part of the duration, MP4 does not: it has to be short by both counts.
        found = max(found, found - first)
        if found and found + 2 / self.rate + min(0.01 * promised, 0.5) < promised:
            raise DataError(f"truncated: it ends after {found:.2f} of {promised:.2f} s")

    def check_holes(self) -> None:
        """MPEG streams have no index that says what is missing, and decoders skip it: a hole in time tells it.

        Raises DataError.
        """
        times = [float(pts * self.video.stream.time_base) for pts in self.pts if pts is not None]
        if self.video.container.format.name not in STREAMS or len(times) < 3:
            return
        steps = [later - earlier for earlier, later in pairwise(times)]
        longest = max(range(len(steps)), key=steps.__getitem__)
        if steps[longest] > max(HOLE_SECONDS, HOLE_STEPS * float(np.median(steps))):
            begin, end = (time - times[0] for time in times[longest : longest + 2])
            raise DataError(f"damaged or truncated: no frames between {begin:.2f} and {end:.2f} s")


def thumbnail_of(frame: Any, scaler: Scaler) -> np.ndarray:
    return scaler.array(frame, (THUMBNAIL, THUMBNAIL), "gray")


def _with_trusted_keyframes(path: Path, info: VideoInfo, checksums: Sequence[int]) -> VideoInfo:
    """The info without keyframes where decoding from one of them gives other pictures than decoding everything did."""
    places = [place for place in info.keyframes if place > 0]
    scaler = Scaler()
    for number in sorted({places[len(places) // 2], places[-1]}) if places else []:
        reader = Reader(path, info)
        try:
            again = [
                zlib.crc32(thumbnail_of(frame, scaler).tobytes())
                for (_, frame), _ in zip(reader.frames_from(number), range(TRIED_FRAMES), strict=False)
            ]
        except av.FFmpegError:
            again = []
        finally:
            reader.close()
        if again != list(checksums[number : number + TRIED_FRAMES]):
            return replace(info, keyframes=[], keyframe_dts=[])
    return info


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


def close_all() -> None:
    """Close this process's containers."""
    for key in [key for key in _open if key[0] == os.getpid()]:
        _open.pop(key).close()


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
    return round(frame.rotation / 90) * 90 % 360


def to_array(frame: Any, size: tuple[int, int], channels: int, rotation: int, scaler: Scaler) -> np.ndarray:
    """A decoded frame as `(H, W, C)` uint8, scaled from its own size to size = (height, width) and turned upright."""
    lying = size if rotation % 180 == 0 else size[::-1]
    picture = scaler.array(frame, lying, "rgb24" if channels == 3 else "gray")
    if rotation:
        picture = np.ascontiguousarray(np.rot90(picture, rotation // 90))
    return picture.reshape(*size, channels)


def stream_frames(
    path: Path, size: tuple[int, int] | None = None, channels: int = 3, limits: Limits | None = None
) -> Iterator[np.ndarray]:
    """Every frame in turn, `(H, W, C)` uint8, in constant memory. Raises DataError."""
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
