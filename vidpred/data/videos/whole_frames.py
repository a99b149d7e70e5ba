"""Decoding a video without the frames that are damaged or lack a reference frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from vidpred.data.videos.checksums import AHEAD, VERIFYING, SliceChecksums, wrong_png_checksum
from vidpred.data.videos.containers import DROPPING_DECODERS, OpenVideo
from vidpred.data.videos.pieces import TRAILING
from vidpred.errors import counted, short

JPEG_END = b"\xff\xd9"
LOOK_AHEAD = 2  # packets within which a keyframe follows where two streams were joined
# Decoders that begin with any packet, and predict from a gray image what precedes the first keyframe.
PREDICTING_FROM_NOTHING = frozenset((
    "mpeg4", "h263", "h263i", "flv", "msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "cinepak", "msvideo1",
    "qtrle",
))  # fmt: skip
# Decoders that do not flag keyframes, although their packets are flagged.
WITHOUT_KEY_FLAGS = frozenset(("cfhd", "libvpx", "libvpx-vp9", "msvideo1", "qtrle"))
RETAINING = frozenset(("msvideo1", "qtrle"))  # of these, those that keep parts of the last image in a damaged keyframe


Images = int | None | Callable[[], int | None]


class WholeFrames:
    """Iterator over the undamaged frames of an open video, from where its container stands.

    After damage, frames are dropped up to the next keyframe, since they are predicted from missing data. Containers
    flag a packet as corrupt where a counter jumps: data is missing, or two streams were joined. In the latter case a
    keyframe follows at once, and nothing is dropped.

    Attributes:
        count: Number of frames yielded.
        is_key: Whether decoding can start at the last frame yielded.
        before: Number of frames without a reference before the first undamaged one.
        lost: Number of other frames dropped.
        gaps: Values of `count` at which frames were dropped.
        reasons: What went wrong, in the order of `gaps`.
    """

    def __init__(self, video: OpenVideo, breaks: Sequence[int] = (), images: Images = None) -> None:
        """Take the damage that `container_damage.find_damage` found; of a pipe, images() is known at its end."""
        self.video, self.breaks, self.images = video, breaks, images
        self.count, self.before, self.lost, self.is_key = 0, 0, 0, False
        self.gaps: list[int] = []
        self.reasons: list[str] = []
        self._whole = True
        self._key_sent = True  # whether a keyframe was sent to the decoder since the last damage
        self._key_pts: int | None = None
        self._offset = 0  # in the file, of the last packet
        self._demuxed = video.packets()
        self._following: deque[Any] = deque()  # packets read ahead
        self._ended = False
        self._retains_nothing = video.decoder.name not in RETAINING
        self._must_be_key = video.decoder.name in PREDICTING_FROM_NOTHING  # the next packet
        # Times of packets flagged as keyframes.
        self._flagged: set[int] | None = set() if video.decoder.name in WITHOUT_KEY_FLAGS else None
        self._checksums = SliceChecksums(video.decoder.extradata) if video.decoder.name == "ffv1" else None
        self._is_mjpeg = video.container.format.name == "mjpeg"
        self._jpeg_ends: bool | None = None
        self._broken = False
        self._frames = self._decode()

    def __iter__(self) -> Iterator[Any]:
        return self._frames

    def __next__(self) -> Any:
        """Return the next undamaged frame."""
        return next(self._frames)

    @property
    def ends_whole(self) -> bool:
        """Whether the last frame so far is undamaged, and reading has not failed."""
        return self._whole and not self._broken

    def describe_loss(self) -> str | None:
        """Return which frames were lost, and where and why first, for the user; None: none."""
        if not self.gaps:
            return None
        lost = f"{counted(self.lost, 'frame')} damaged or without a reference frame, " if self.lost else "damaged "
        return f"{lost}first after frame {self.gaps[0]} ({self.reasons[0]})"

    def _decode(self) -> Iterator[Any]:
        import av

        for packet in self._packets():
            if (self.breaks or packet.is_corrupt) and self._is_broken(packet):
                self._lose("data is missing", sent=False)
            differs = self._checksums is not None and self._has_wrong_checksum(packet, self._checksums)
            if differs or (self._is_mjpeg and self._is_cut_jpeg(packet)):
                self._lose("a wrong checksum" if differs else "incomplete image", sent=False)
                self.lost += 1
                continue
            if self._must_be_key or packet.is_keyframe:
                self._note_key(packet)
            try:
                frames = self.video.decode(packet)
            except av.EOFError:
                return
            except av.FFmpegError as error:
                verifies = self.video.decoder.name in VERIFYING
                wrong = wrong_png_checksum(bytes(packet)) if verifies else None
                self._lose(f"a wrong checksum in {wrong}" if wrong else short(error), sent=False)
                self.lost += 1
                continue
            for frame in frames:
                if self._is_whole(frame):
                    yield frame

    def _note_key(self, packet: Any) -> None:
        """Note whether the decoder gets a keyframe."""
        if self._must_be_key and packet.size and not packet.is_keyframe:
            self._lose("no keyframe at the start")
        self._must_be_key = self._must_be_key and not packet.size
        if packet.is_keyframe and not packet.is_corrupt:
            self._key_sent, self._key_pts = True, packet.pts
            if self._flagged is not None and packet.pts is not None:
                self._flagged.add(packet.pts)

    def _is_whole(self, frame: Any) -> bool:
        """Return whether a decoded frame is undamaged, and count it."""
        is_key = self._is_key(frame)
        images = self.images() if callable(self.images) else self.images
        if images is not None and self.count >= images:
            self._lose("incomplete image")
        elif frame.is_corrupt:
            if self._whole and not self.count and self.video.decoder.name in DROPPING_DECODERS:
                self.before += 1  # a stream that was cut between keyframes; players skip these, too
                return False
            self._lose("incomplete frame")
        elif is_key and self._key_sent and (None in (self._key_pts, frame.pts) or frame.pts >= self._key_pts):
            self._whole = True
        if not self._whole:
            self.lost += 1
            return False
        self.count += 1
        self._key_pts, self.is_key = None, is_key and self._retains_nothing
        return True

    def _is_key(self, frame: Any) -> bool:
        if self._flagged is None:
            return bool(frame.key_frame)
        flagged = frame.pts in self._flagged
        self._flagged.discard(frame.pts)
        return flagged

    def _lose(self, reason: str, sent: bool = True) -> None:
        """Drop frames from here on; sent: whether a keyframe that the decoder already has may end that."""
        if self._whole:
            self.gaps.append(self.count)
            self.reasons.append(reason)
        self._whole, self._key_sent = False, sent
        if sent:
            self._key_pts = None

    def _is_broken(self, packet: Any) -> bool:
        if self.breaks:
            before, offset = self._offset, packet.pos
            if offset is not None and offset >= 0:
                self._offset = offset
                if any(before < place <= offset for place in self.breaks):
                    return True
        joined = packet.is_corrupt and any(
            following.is_keyframe and following.size for following in self._read_ahead(LOOK_AHEAD)
        )
        return bool(packet.is_corrupt and not joined)

    def _has_wrong_checksum(self, packet: Any, checksums: SliceChecksums) -> bool:
        following = () if checksums.decided else self._read_ahead(AHEAD)
        return checksums.differ(bytes(packet), [bytes(one) for one in following])

    def _is_cut_jpeg(self, packet: Any) -> bool:
        """Return whether the end of a JPEG image is missing, in a stream whose first image has one."""
        cut = bool(packet.size) and JPEG_END not in bytes(packet).rstrip(b"\0")[-TRAILING:]
        self._jpeg_ends = not cut if self._jpeg_ends is None else self._jpeg_ends
        return self._jpeg_ends and cut

    def _packets(self) -> Iterator[Any]:
        """Yield every packet up to the empty one that flushes the decoder."""
        while (packet := self._following.popleft() if self._following else self._read()) is not None:
            yield packet

    def _read_ahead(self, count: int) -> list[Any]:
        """Return up to `count` of the next packets, which `_packets` yields later."""
        while len(self._following) < count and (packet := self._read()) is not None:
            self._following.append(packet)
        return list(islice(self._following, count))

    def _read(self) -> Any:
        """Return the next packet of the container; None behind the last one."""
        import av

        if self._ended:
            return None
        try:
            packet = next(self._demuxed, None)
        except av.FFmpegError as error:
            self.reasons.append(short(error))
            self.gaps.append(self.count)
            self._broken = True
            packet = av.Packet()  # flushes the decoder
        self._ended = packet is None or not packet.size
        return packet
