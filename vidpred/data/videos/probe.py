"""Scanning a video: collect what random access needs, and note what is damaged or missing."""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidpred.data.videos.container_damage import Damage, find_damage
from vidpred.data.videos.containers import OpenVideo, Scaler, file_status, frame_rate, open_video
from vidpred.data.videos.geometry import Geometry, geometry_of
from vidpred.data.videos.limits import Limits
from vidpred.data.videos.reader import Reader, VideoInfo
from vidpred.data.videos.whole_frames import WholeFrames
from vidpred.errors import DataError, counted, printable
from vidpred.files import content_fingerprint

# Formats whose index and packets do not reveal missing data; there, only a gap in the timestamps does.
WITHOUT_INDEX = ("mpeg", "mpegts")
GAP_SECONDS, GAP_INTERVALS = 0.3, 5  # minimum length of such a gap, in seconds and median frame intervals
THUMBNAIL = 32  # side of the gray thumbnails for detecting cuts
# Pixel formats whose first plane is the 8-bit luma.
LUMA_FIRST = {"gray", "nv12", "nv21", *(f"yuv{j}{kind}p" for j in ("", "j") for kind in (410, 411, 420, 422, 440, 444))}
COMPARED = 32  # thumbnails that are compared at once
CUT_DIFFERENCE = 20.0  # minimum mean absolute difference of thumbnails (of 255) at a cut
CUT_RATIO = 3.0  # minimum ratio of that difference to the median difference around it
REPEAT_DIFFERENCE = 0.5  # of 255; consecutive thumbnails that differ less show a repeated frame
MAX_REPEATS = 6  # frames; a longer pause is a still scene
TRIED_FRAMES = 2  # frames decoded again from a keyframe to check that random access works


def probe(path: Path, name: str | None = None, limits: Limits | None = None) -> VideoInfo:
    """Decode the whole video once and collect what random access needs, without keeping frames in memory.

    The length is that of the whole frames that decoding yields; what is damaged or missing is noted.

    Args:
        path: The video file.
        name: The path to store in the result; None stores the file name.
        limits: Maximum size and length of a video.

    Raises:
        DataError: The file is not a video, exceeds the limits, or has no whole frame.
    """
    limits = limits or Limits()
    status = file_status(path)
    video = open_video(path, limits)
    scan = _Scan(video, limits)
    try:
        with video.container:
            damage = find_damage(path, video.container.format.name)
            scan.run(damage)
            pts = scan.order()
            info = VideoInfo(
                path=name or path.name, bytes=status.st_size, mtime_ns=status.st_mtime_ns, codec=video.decoder.name,
                frames=scan.count, rate=scan.rate, **scan.geometry._asdict(),
                time_base=str(video.stream.time_base or Fraction(1, 25)), pts=pts, keyframes=scan.keyframes,
                keyframe_dts=[] if pts else scan.keyframe_dts(), cuts=find_cuts(scan.thumbnail_differences),
                gaps=sorted(scan.gaps), breaks=damage.breaks, images=damage.images, notes=[*damage.notes, *scan.notes],
                interlaced=2 * scan.interlaced > scan.count, fingerprint=content_fingerprint(path),
            )  # fmt: skip
            return _with_checked_keyframes(path, info, scan.checksums, video)
    except DataError as error:
        raise DataError(f"{error} [{printable(path)}]") from None


class _Scan:
    """The information that `probe` collects frame by frame."""

    def __init__(self, video: OpenVideo, limits: Limits) -> None:
        self.video, self.limits = video, limits
        self.rate = frame_rate(video.stream)
        self.count = 0
        self.geometry = Geometry(0, 0, 0, False)
        self.pts: list[int | None] = []
        self.keyframes: list[int] = []
        self.checksums: dict[int, int] = {}  # of the thumbnails from each keyframe on, by frame
        self.thumbnail_differences: list[float] = []
        self._keyframe_dts: list[int | None] = []
        self._thumbnails, self._filled = np.empty((COMPARED, THUMBNAIL, THUMBNAIL), np.uint8), 0
        self._size = (0, 0)
        self._time_base = float(video.stream.time_base or 0)
        self._scaler = Scaler()
        self.interlaced = 0  # frames
        self.gaps: set[int] = set()
        self.notes: list[str] = []

    def run(self, damage: Damage) -> None:
        """Decode everything.

        Raises:
            DataError: There is no whole frame, or the video exceeds the limits; the message does not include the path.
        """
        frames = WholeFrames(self.video, damage.breaks, damage.images)
        for frame in frames:
            self.add(frame, frames.is_key)
        if not self.count:
            reason = next(iter([*frames.reasons, *damage.notes]), "no keyframe" if frames.before else None)
            raise DataError(f"damaged: no whole frame ({reason})" if reason else "no frames in its video stream")
        self._compare_thumbnails()
        self.gaps.update(gap for gap in frames.gaps if 0 < gap < self.count)
        if (note := frames.describe_loss()) is not None:
            self.notes.append(note)
        if damage.images is not None and damage.images > frames.count + frames.lost:
            missing = damage.images - frames.count - frames.lost
            self.notes.append(f"{counted(missing, 'image')} of {damage.images} cannot be decoded")
        self.note_holes()

    def add(self, frame: Any, is_key: bool) -> None:
        if (frame.width, frame.height) != self._size:
            self._resized(frame)
        if is_key:
            self.keyframes.append(self.count)
            self._keyframe_dts.append(frame.dts)
        self.pts.append(frame.pts)
        self.interlaced += frame.interlaced_frame
        self.count += 1
        if self._filled == COMPARED or self.count > self.limits.frames:
            self._compare_thumbnails()
        thumbnail = thumbnail_of(frame, self._scaler, self._thumbnails[self._filled])
        self._filled += 1
        if self.keyframes and self.count <= self.keyframes[-1] + TRIED_FRAMES:
            self.checksums[self.count - 1] = zlib.crc32(thumbnail.data)

    def _resized(self, frame: Any) -> None:
        """Note the size of the first frame, and refuse frames that are too large."""
        self._size = frame.width, frame.height
        if not self.count:
            self.geometry = geometry_of(frame, self.video.stream)
        upright = self.geometry.rotation % 180 == 0
        width = max(frame.width, self.geometry.width if upright else self.geometry.height)
        self._refuse(self.limits.size_error(width, frame.height))

    def _compare_thumbnails(self) -> None:
        """Compare the last thumbnails with one another, and keep the last one for the next comparison."""
        self._refuse(self.limits.length_error(self.count, self._seconds()))
        found = self._thumbnails[: self._filled]
        if self._filled > 1:
            changes = cv2.absdiff(found[1:], found[:-1]).reshape(self._filled - 1, THUMBNAIL**2)
            sums = cv2.reduce(changes, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
            self.thumbnail_differences += (sums.ravel() / THUMBNAIL**2).tolist()
        self._thumbnails[0], self._filled = found[-1], 1

    def _refuse(self, reason: str | None) -> None:
        if reason:
            raise DataError(reason)

    def _seconds(self) -> float:
        first, last = self.pts[0], self.pts[-1]
        if first is None or last is None or not self._time_base:
            return self.count / self.rate
        return (last - first) * self._time_base

    def order(self) -> list[int]:
        """Return the frames' pts if every frame has one and they ascend in decoding order, else an empty list."""
        found = [pts for pts in self.pts if pts is not None]
        ascending = all(a < b for a, b in pairwise(found))
        return found if len(found) == self.count and ascending else []

    def keyframe_dts(self) -> list[int]:
        """Return seek times for streams without pts: AVI numbers frames in storage order, not display order."""
        found = [dts for dts in self._keyframe_dts if dts is not None]
        ascending = all(a < b for a, b in pairwise(found))
        return found if len(found) == len(self.keyframes) and ascending else []

    def note_holes(self) -> None:
        """Note where MPEG streams have no frames for a long time: nothing else reveals that data is missing there."""
        times = np.array([pts for pts in self.pts if pts is not None], float)
        if self.video.container.format.name not in WITHOUT_INDEX or len(times) < self.count or len(times) < 3:
            return
        intervals = np.diff(times * float(self.video.stream.time_base))
        holes = np.flatnonzero(intervals > max(GAP_SECONDS, GAP_INTERVALS * float(np.median(intervals)))) + 1
        if len(holes):
            self.gaps.update(int(hole) for hole in holes)
            self.notes.append(f"{intervals[holes - 1].sum():.2f} s are missing, first after frame {holes[0]}")


def thumbnail_of(frame: Any, scaler: Scaler, place: np.ndarray | None = None) -> np.ndarray:
    """Return a frame as a gray thumbnail, `(THUMBNAIL, THUMBNAIL)` uint8, in `place` if that is given."""
    place = np.empty((THUMBNAIL, THUMBNAIL), np.uint8) if place is None else place
    # `frame.planes` makes all planes, which takes longer.
    plane = _plane_class()(frame, 0) if frame.format.name in LUMA_FIRST else None
    if plane is None or plane.line_size < frame.width:  # negative: from the bottom up
        place[:] = scaler.array(frame, (THUMBNAIL, THUMBNAIL), "gray")
        return place
    luma = np.ndarray((plane.height, frame.width), np.uint8, plane, 0, (plane.line_size, 1))
    # Four pixels each, which suffices and takes a third of the time.
    return cv2.resize(luma, (THUMBNAIL, THUMBNAIL), place)


@cache
def _plane_class() -> Any:
    from av.video.plane import VideoPlane

    return VideoPlane


def _with_checked_keyframes(path: Path, info: VideoInfo, checksums: dict[int, int], video: OpenVideo) -> VideoInfo:
    """Return the info, without keyframes if decoding from one of them differs from sequential decoding.

    A good video is tried at its last keyframe, by thumbnails, or at all of them where no ascending times identify the
    frames; a damaged one from every keyframe to the next, by whole frames.
    """
    if info.notes:
        right = _keyframes_are_right(path, info)
    else:
        tried = [first for first in (info.keyframes[-1:] if info.pts else info.keyframes) if first]
        if not tried:
            return info
        scaler = Scaler()
        with closing(Reader(path, info, video)) as reader:
            right = all(
                _checksums(reader, first, first + TRIED_FRAMES, lambda frame: thumbnail_of(frame, scaler))
                == [checksums[number] for number in range(first, min(first + TRIED_FRAMES, info.frames))]
                for first in reversed(tried)  # so that the reader seeks each time
            )
    return info if right else replace(info, keyframes=[], keyframe_dts=[])


def _keyframes_are_right(path: Path, info: VideoInfo) -> bool:
    """Return whether decoding from any keyframe to the next, with a new decoder, equals sequential decoding."""

    def checksums(first: int, end: int) -> list[int]:
        # A reader of an open video seeks, also where it could decode on.
        with closing(Reader(path, info, open_video(path) if first else None)) as reader:
            return _checksums(reader, first, end, lambda frame: frame.to_ndarray(format="rgb24"))

    expected = checksums(0, info.frames)
    return all(checksums(first, end) == expected[first:end] for first, end in pairwise([*info.keyframes, info.frames]))


def _checksums(reader: Reader, first: int, end: int, image: Callable[[Any], np.ndarray]) -> list[int]:
    """Return the checksums of the images of frames first <= number < end, up to the last one that can be decoded."""
    import av

    found = []
    with suppress(av.FFmpegError):
        for number, frame in reader.frames_from(first):
            found.append(zlib.crc32(np.ascontiguousarray(image(frame)).data))
            if number >= end - 1:
                break
    return found


def find_cuts(differences: Sequence[float]) -> list[int]:
    """Return the indices of the frames that begin a new shot, from the differences of consecutive thumbnails.

    At a cut, the difference is large and much larger than around it; fast motion causes many large differences.
    Repeated frames, as of 15 frames a second in a file of 30, do not count.
    """
    numbers = _without_repeats(differences)
    cuts = []
    for place, number in enumerate(numbers):
        if differences[number] <= CUT_DIFFERENCE:
            continue
        around = [differences[near] for near in [*numbers[max(0, place - 3) : place], *numbers[place + 1 : place + 4]]]
        if differences[number] > CUT_RATIO * (statistics.median(around) if around else 0.0):
            cuts.append(number + 1)
    return cuts


def _without_repeats(differences: Sequence[float]) -> list[int]:
    """Return the indices of the differences, without those of short runs of repeated frames."""
    kept: list[int] = []
    run: list[int] = []
    for number, difference in enumerate(differences):
        if difference < REPEAT_DIFFERENCE:
            run.append(number)
            continue
        kept += [] if len(run) < MAX_REPEATS else run
        kept.append(number)
        run = []
    return kept + run
