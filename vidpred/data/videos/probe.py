"""Scanning a video: collect what random access needs, and check that the file is complete."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data.videos.containers import OpenVideo, Scaler, check_packets, file_status, open_video, printable, short
from vidpred.data.videos.limits import Limits
from vidpred.data.videos.reader import Reader, VideoInfo, quarter_turns
from vidpred.errors import DataError

# Formats whose index and packets do not reveal missing data; there, only a gap in the timestamps does.
WITHOUT_INDEX = ("mpeg",)
GAP_SECONDS, GAP_INTERVALS = 0.3, 5  # minimum length of such a gap, in seconds and median frame intervals
THUMBNAIL = 32  # side of the gray thumbnails for detecting cuts
CUT_DIFFERENCE = 20.0  # minimum mean absolute difference of thumbnails (of 255) at a cut
CUT_RATIO = 3.0  # minimum ratio of that difference to the median difference around it
TRIED_FRAMES = 16  # frames decoded again from a keyframe to check that random access works


def probe(path: Path, name: str | None = None, limits: Limits | None = None) -> VideoInfo:
    """Decode the whole video once and collect what random access needs, without keeping frames in memory.

    Args:
        path: The video file.
        name: The path to store in the result; None stores the file name.
        limits: Maximum size and length of a video.

    Raises:
        DataError: The file is not a video, exceeds the limits, is truncated or damaged, or has no frames.
    """
    import av  # optional: training on prepared frames works without it

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
        return _with_checked_keyframes(path, info, scan.checksums)
    except av.FFmpegError as error:
        reason = f"damaged or truncated: frame {scan.count} cannot be decoded ({short(error)})"
        raise DataError(f"{reason} [{printable(path)}]") from None
    except DataError as error:
        raise DataError(f"{error} [{printable(path)}]") from None


class _Scan:
    """The information that `probe` collects frame by frame."""

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
        self._end, self._last_end = 0.0, 0.0  # seconds; end of all streams, and of the last video frame

    def run(self) -> None:
        """Decode everything.

        Raises:
            DataError: The video is damaged or exceeds the limits; the message does not include the path.
            av.FFmpegError: A frame cannot be decoded.
        """
        # Demux all streams: some containers only declare the duration of all of them together.
        for packet in self.video.container.demux():
            if packet.pts is not None and packet.time_base:
                self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is self.video.stream or packet.stream.index == self.video.stream.index:
                if packet.is_corrupt:
                    raise DataError(f"damaged or truncated: incomplete packet after frame {self.count}")
                for frame in self.video.decode(packet):
                    self.add(frame)
        if not self.count:
            raise DataError("no frames in its video stream")
        self.check_length()
        self.check_gaps()

    def add(self, frame: Any) -> None:
        if not self.count:
            self.rotation = quarter_turns(frame)
            self.width, self.height = frame.width, frame.height
            if self.rotation % 180:
                self.width, self.height = self.height, self.width
        if frame.is_corrupt:
            raise DataError(f"damaged or truncated: frame {self.count} is incomplete")
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
        """Return the frames' pts if every frame has one and they ascend in decoding order, else an empty list."""
        found = [pts for pts in self.pts if pts is not None]
        ascending = all(a < b for a, b in pairwise(found))
        return found if len(found) == self.count and ascending else []

    def keyframe_dts(self) -> list[int]:
        """Return seek times for streams without pts: AVI numbers frames in storage order, not display order."""
        found = [dts for dts in self._keyframe_dts if dts is not None]
        ascending = all(a < b for a, b in pairwise(found))
        return found if len(found) == len(self.keyframes) and ascending and not self.order() else []

    def check_length(self) -> None:
        """Compare the decoded length with the container's, because decoders can stop early without an error.

        Raises:
            DataError: The video is shorter than the container declares.
        """
        import av

        stream, container = self.video.stream, self.video.container
        if stream.frames > self.count + 1:
            raise DataError(f"truncated: {self.count} of {stream.frames} frames can be decoded")
        first = float((self.pts[0] or 0) * (stream.time_base or 0))
        if stream.duration and stream.time_base:
            declared, found = float(stream.duration * stream.time_base), self._last_end
        else:
            declared, found = (container.duration or 0) / av.time_base, max(self._end, self._last_end)
        # Matroska includes a late start in the duration, MP4 does not: accept either.
        found = max(found, found - first)
        if found and found + 2 / self.rate + min(0.01 * declared, 0.5) < declared:
            raise DataError(f"truncated: the video ends after {found:.2f} of {declared:.2f} s")

    def check_gaps(self) -> None:
        """Check the timestamps of MPEG streams for gaps: they have no index, and decoders skip missing data.

        Raises:
            DataError: There are no frames for a suspiciously long time.
        """
        times = [float(pts * self.video.stream.time_base) for pts in self.pts if pts is not None]
        if self.video.container.format.name not in WITHOUT_INDEX or len(times) < 3:
            return
        intervals = [later - earlier for earlier, later in pairwise(times)]
        longest = max(range(len(intervals)), key=intervals.__getitem__)
        if intervals[longest] > max(GAP_SECONDS, GAP_INTERVALS * float(np.median(intervals))):
            begin, end = (time - times[0] for time in times[longest : longest + 2])
            raise DataError(f"damaged or truncated: no frames between {begin:.2f} and {end:.2f} s")


def thumbnail_of(frame: Any, scaler: Scaler) -> np.ndarray:
    """Return a frame as a gray thumbnail, `(THUMBNAIL, THUMBNAIL)` uint8."""
    return scaler.array(frame, (THUMBNAIL, THUMBNAIL), "gray")


def _with_checked_keyframes(path: Path, info: VideoInfo, checksums: Sequence[int]) -> VideoInfo:
    """Return the info, without keyframes if decoding from one of them differs from sequential decoding."""
    import av

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
    """Return the indices of the frames that begin a new shot, from the differences of consecutive thumbnails.

    At a cut, the difference is large and much larger than around it; fast motion causes many large differences.
    """
    cuts = []
    for index, difference in enumerate(differences):
        around = [*differences[max(0, index - 3) : index], *differences[index + 1 : index + 4]]
        if difference > CUT_DIFFERENCE and difference > CUT_RATIO * (float(np.median(around)) if around else 0.0):
            cuts.append(index + 1)
    return cuts
