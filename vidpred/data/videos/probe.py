"""One scan of a video: what random access to it needs, and whether it is whole."""

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

# Without an index that says what is missing, and without packets that could: there, a hole in time tells it.
WITHOUT_INDEX = ("mpeg",)
HOLE_SECONDS, HOLE_STEPS = 0.3, 5  # what a hole between two frames of these has at least, in seconds and usual steps
THUMBNAIL = 32  # side of the gray thumbnails in which cuts are looked for
CUT_DIFFERENCE = 20.0  # mean absolute difference of thumbnails, of 255, that a cut has at least
CUT_RATIO = 3.0  # and how many times the motion around it
TRIED_FRAMES = 16  # after a keyframe, decoded a second time to see whether random access works


def probe(path: Path, name: str | None = None, limits: Limits | None = None) -> VideoInfo:
    """Decode the whole video once and note what random access needs; memory does not grow with its length.

    name: the path to note in the result. Raises DataError: not a video, over the limits, truncated, damaged, without
    frames.
    """
    import av  # training on prepared frames works without it

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
        import av

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
        if self.video.container.format.name not in WITHOUT_INDEX or len(times) < 3:
            return
        steps = [later - earlier for earlier, later in pairwise(times)]
        longest = max(range(len(steps)), key=steps.__getitem__)
        if steps[longest] > max(HOLE_SECONDS, HOLE_STEPS * float(np.median(steps))):
            begin, end = (time - times[0] for time in times[longest : longest + 2])
            raise DataError(f"damaged or truncated: no frames between {begin:.2f} and {end:.2f} s")


def thumbnail_of(frame: Any, scaler: Scaler) -> np.ndarray:
    return scaler.array(frame, (THUMBNAIL, THUMBNAIL), "gray")


def _with_trusted_keyframes(path: Path, info: VideoInfo, checksums: Sequence[int]) -> VideoInfo:
    """The info without keyframes where decoding from one of them gives other images than decoding everything did."""
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
    """Frame numbers that begin a new shot, from the differences of consecutive thumbnails.

    A cut differs much, and much more than the frames around it do: fast motion differs much for many frames.
    """
    cuts = []
    for index, difference in enumerate(differences):
        around = [*differences[max(0, index - 3) : index], *differences[index + 1 : index + 4]]
        if difference > CUT_DIFFERENCE and difference > CUT_RATIO * (float(np.median(around)) if around else 0.0):
            cuts.append(index + 1)
    return cuts
