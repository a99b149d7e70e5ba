"""Sources of a stream: files played as a camera, folders of images, cameras, pipes, and the caller's own frames."""

from __future__ import annotations

import re
import stat
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vidpred.bounds import shown
from vidpred.data.images.decode import SUFFIXES, read_image
from vidpred.data.videos.container_damage import Damage, find_damage
from vidpred.data.videos.containers import (
    USUAL_RATE,
    OpenVideo,
    Scaler,
    allowed_formats,
    choose_stream,
    frame_rate,
    open_video,
)
from vidpred.data.videos.geometry import Geometry, geometry_of
from vidpred.data.videos.limits import Limits
from vidpred.data.videos.pieces import TINY, TRAILING, Pieces, ends_early
from vidpred.data.videos.reader import to_array
from vidpred.data.videos.whole_frames import WholeFrames
from vidpred.errors import ConfigError, DataError, counted, printable, short, warn
from vidpred.files import check_input
from vidpred.media.video_writer import exact_rate

PIPE = "-"
USUAL_FORMATS = ("rgb24", "bgr24", "rgba", "bgra", "gray", "yuv420p", "yuyv422", "uyvy422", "nv12")
LOST = 1.75  # usual intervals between the frames of a camera; after a longer one, frames were lost
CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


class TimedFrame(NamedTuple):
    """A decoded frame.

    Attributes:
        frame: PyAV's frame.
        time: Seconds on the source's clock; None: unknown, the frame belongs to the time at which it arrives.
        follows_gap: Whether frames before it are missing.
    """

    frame: Any
    time: float | None = None
    follows_gap: bool = False


@dataclass(frozen=True)
class SourceOptions:
    """What the user knows about a source.

    Attributes:
        rate: Frames per second; None: the source's own.
        video_size: (width, height) of the raw frames of a pipe, or of a camera; None: as the source states.
        pixel_format: FFmpeg's name of the format of raw frames; None: rgb24.
    """

    rate: float | None = None
    video_size: tuple[int, int] | None = None
    pixel_format: str | None = None

    def __post_init__(self) -> None:
        """Check the rate and the format. Raises ConfigError."""
        if self.rate is not None:
            exact_rate(self.rate)
        if self.pixel_format is not None:
            _check_pixel_format(self.pixel_format)


def _check_pixel_format(name: str) -> None:
    import av
    from av.video import format as formats

    try:
        if av.VideoFormat(name).components:  # else a format of a graphics card
            return
    except ValueError:
        pass
    near = get_close_matches(name.lower(), sorted(set(getattr(formats, "names", ())) - {name}), cutoff=0.7)
    known = ", ".join(dict.fromkeys((*near, *USUAL_FORMATS)))
    raise ConfigError(
        f"[--pixel-format {shown(name)}] no format of raw frames; choose {known} or another one of ffmpeg -pix_fmts"
    )


class FrameSource(ABC):
    """An open source of frames, read by one thread.

    Attributes:
        name: Name in messages.
        rate: Frames per second.
        is_live: Whether frames come when they happen; others are played at their rate.
        rotation: Degrees counter-clockwise by which frames are turned.
        mirrored: Whether frames are mirrored after that.
    """

    is_live = False

    def __init__(
        self, name: str, rate: float, size: tuple[int, int], rotation: int = 0, mirrored: bool = False
    ) -> None:
        self.name, self.rate, self.size = name, rate, size
        self.rotation, self.mirrored = rotation, mirrored

    @abstractmethod
    def decoded(self) -> Iterator[TimedFrame]:
        """Yield decoded frames. Raises DataError where the source breaks."""

    def frames(self, size: tuple[int, int], channels: int) -> Iterator[tuple[TimedFrame, np.ndarray]]:
        """Yield decoded frames, and as `(H, W, C)` uint8 scaled to (height, width); warn once of another size."""
        scaler, stored = Scaler(), None
        for timed in self.decoded():
            shape = (timed.frame.width, timed.frame.height)
            if stored not in (None, shape):
                text = f"frames of {shape[0]}x{shape[1]} after ones of {stored[0]}x{stored[1]} are scaled to their size"
                warn(f"{text} [{self.name}]")
            stored = shape
            yield timed, to_array(timed.frame, size, channels, self.rotation, self.mirrored, scaler)

    def close(self) -> None:  # noqa: B027  (not all have something to close)
        """Close the file, device or pipe; sources without one do nothing."""


class VideoSource(FrameSource):
    """A container that FFmpeg reads: a file, a pipe or a camera.

    Attributes:
        pipe: The pipe, if it is one.
    """

    def __init__(
        self, name: str, video: OpenVideo, rate: float | None, is_live: bool, damage: Damage | None = None,
        pipe: Pipe | None = None,
    ) -> None:  # fmt: skip
        """Decode the first frame of a file, whose damage is known, of a pipe or of a camera. Raises DataError."""
        self._video, self.is_live, self._damage, self.pipe = video, is_live, damage, pipe
        found = damage or Damage()
        frames = self._decoder = WholeFrames(video, found.breaks, found.images if pipe is None else pipe.images)
        self._frames = self._checked(name, frames)
        first = next(self._frames, None)
        if first is None:
            raise DataError(f"the source has no frames [{printable(name)}]; check it with ffplay")
        self._frames = chain([first], self._frames)
        shape: Geometry = geometry_of(first, video.stream)
        super().__init__(
            printable(name),
            rate or frame_rate(video.stream),
            (shape.height, shape.width),
            shape.rotation,
            shape.mirrored,
        )
        self._retimed = rate is not None  # the container's times do not count then

    @staticmethod
    def _checked(name: str, frames: Iterator[Any]) -> Iterator[Any]:
        import av

        try:
            yield from frames
        except (av.FFmpegError, OSError) as error:
            raise _broke_off(short(error), name) from None

    def decoded(self) -> Iterator[TimedFrame]:
        gaps, before, usual = 0, None, 1 / self.rate
        for frame in self._frames:
            time = None if frame.time is None or self._retimed else float(frame.time)
            found = len(self._decoder.gaps)
            lost = found > gaps
            if self.is_live and time is not None and before is not None:
                lost = time - before > LOST * usual
                usual += 0.2 * (time - before - usual)
            gaps, before = min(found, 1), time
            del self._decoder.gaps[1:], self._decoder.reasons[1:]  # a stream may go on for ever
            yield TimedFrame(frame, time, lost)
        self._report()

    def _report(self) -> None:
        """Warn on stderr of what was lost; that the end of a pipe or a camera was is a DataError."""
        notes = [note for note in [self._decoder.describe_loss()] if note]
        missing = self.pipe.missing() if self.pipe is not None else 0
        if missing:
            notes.insert(0, f"it {ends_early(missing)}")
        if self.pipe is not None and self.pipe.gave_up:
            notes.append(TINY)
        ends_whole = self._decoder.ends_whole or (self.pipe is not None and self.pipe.trails())
        if self._damage is None and (missing or not ends_whole):
            raise _broke_off("; ".join(notes), self.name)
        notes[:0] = [] if self._damage is None else self._damage.notes
        if notes:
            text = f"used {counted(self._decoder.count, 'frame')}; {'; '.join(notes)}"
            warn(f"{text} [{self.name}]")

    def close(self) -> None:
        self._video.close()
        if self.pipe is not None:
            self.pipe.close()


class Pipe:
    """A pipe for FFmpeg, and whether it ends within a piece of its container format; raw frames have none."""

    def __init__(self, name: str, is_raw: bool = False) -> None:
        self._file = open(0 if name == PIPE else name, "rb", buffering=0, closefd=name != PIPE)  # noqa: SIM115
        self._pieces = Pieces()
        self._pieces.known = not is_raw
        self._ended = False

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        content = self._file.read(size)
        self._ended = not content
        self._pieces.feed(content)
        return content

    def missing(self) -> int:
        """Return how many bytes are missing at the end, after reading what FFmpeg left of the current piece."""
        self._read_on(0)
        return self._pieces.missing() if self._ended else 0

    def trails(self) -> bool:
        """Return whether the pipe ends with a handful of bytes that are no part of the video; they are no loss."""
        self._read_on(TRAILING + 1)
        return self._ended and self._pieces.trails()

    def images(self) -> int | None:
        """Return the number of whole images of raw DV, at the end; None: before, or another format."""
        return self._pieces.images() if self._ended else None

    @property
    def gave_up(self) -> bool:
        """Whether the pieces were too many and tiny."""
        return self._pieces.gave_up

    def _read_on(self, more: int) -> None:
        """Read up to the end of the current piece, and a number of bytes behind it."""
        while not self._ended and self._pieces.end + more > self._pieces.total:
            self.read(1 << 16)

    def close(self) -> None:
        """Close the pipe, except if it is standard input, which stays open."""
        self._file.close()


def _broke_off(reason: str, name: str) -> DataError:
    advice = "check the device, or the program that writes the pipe"
    return DataError(f"the source broke off ({reason}) [{printable(name)}]; {advice}")


class ImageFolder(FrameSource):
    """A folder of images, by name with numbers in order, played at a rate."""

    def __init__(self, folder: Path, rate: float | None) -> None:
        """Read the first image. Raises DataError."""
        self._files = sorted(
            (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.name[0] != "."),
            key=lambda path: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)],
        )
        if not self._files:
            raise DataError(f"a folder without images [{printable(folder)}]; give a video, or a folder of images")
        super().__init__(printable(folder), rate or USUAL_RATE, read_image(self._files[0]).shape[:2])

    def decoded(self) -> Iterator[TimedFrame]:
        for path in self._files:
            yield TimedFrame(_as_frame(read_image(path), self.name))


class OwnFrames(FrameSource):
    """The caller's iterable of frames, `(H, W, 3)` RGB or `(H, W)` uint8, taken as they come."""

    is_live = True

    def __init__(self, frames: Iterable[np.ndarray], rate: float | None) -> None:
        """Take the first frame. Raises DataError or ConfigError."""
        self._frames = iter(frames)
        if rate is None:
            raise ConfigError("own frames have no rate; give rate=FRAMES_PER_SECOND")
        first = next(self._frames, None)
        if first is None:
            raise DataError("the source has no frames [own frames]; give an iterable of arrays (H, W, 3)")
        self._first = _as_frame(first, "own frames")
        super().__init__("own frames", rate, (self._first.height, self._first.width))

    def decoded(self) -> Iterator[TimedFrame]:
        yield TimedFrame(self._first)
        for image in self._frames:
            yield TimedFrame(_as_frame(image, self.name))


def _as_frame(image: np.ndarray, name: str) -> Any:
    import av

    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (1,), (3,)) or not image.size:
        raise DataError(f"a frame is {image.dtype} {image.shape} [{name}]; give (H, W, 3) or (H, W) uint8")
    if image.shape[2:] == (3,):
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image.reshape(image.shape[:2])), "gray")


def open_source(source: str | Path | Iterable[np.ndarray], options: SourceOptions) -> FrameSource:
    """Open a source in the thread that will read it.

    Args:
        source: A video file, a folder of images, a camera (its device, or its number as in OpenCV), "-" for standard
            input, a named pipe, or an iterable of frames.
        options: What the user knows about it.

    Raises:
        ConfigError: An option is missing or does not fit the source.
        DataError: The source cannot be opened.
    """
    if not isinstance(source, str | Path):
        return OwnFrames(source, options.rate)
    name = str(source)
    if name == PIPE and sys.stdin is not None and sys.stdin.isatty():
        raise ConfigError("standard input is a terminal; pipe a video: ffmpeg ... -f yuv4mpegpipe - | vidpred stream -")
    if re.match(r"\w+://", name):
        raise ConfigError(f"addresses are not opened [{name}]; pipe them: ffmpeg -i URL -f yuv4mpegpipe - | "
                          "vidpred stream -")  # fmt: skip
    if name.isdecimal() and not Path(name).exists():
        name = f"/dev/video{name}" if sys.platform == "linux" else name
        return _open_camera(name, options)
    kind = _mode_of(Path(name)) if name != PIPE else stat.S_IFIFO
    raw = stat.S_ISFIFO(kind) and options.video_size is not None
    if options.pixel_format and not raw:
        raise ConfigError("[--pixel-format] is for raw frames of a pipe; add --video-size WxH, or leave it out")
    if stat.S_ISFIFO(kind):
        return _open_pipe(name, options)
    if stat.S_ISCHR(kind) or name.startswith("/dev/video"):
        return _open_camera(name, options)
    if options.video_size is not None:
        raise ConfigError(f"[--video-size] is for cameras and pipes of raw frames, not for files [{printable(name)}]")
    check_input(Path(name))
    if stat.S_ISDIR(kind):
        return ImageFolder(Path(name), options.rate)
    video = open_video(Path(name), Limits(frames=sys.maxsize, hours=float("inf")))
    damage = find_damage(Path(name), video.container.format.name)
    return VideoSource(name, video, options.rate, is_live=False, damage=damage)


def _mode_of(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        raise DataError(f"cannot open the source: {error.strerror} [{printable(path)}]; give a video file, a camera "
                        "(/dev/video0) or - for standard input") from None  # fmt: skip


def _open_pipe(name: str, options: SourceOptions) -> VideoSource:
    """Open a pipe of raw frames if their size is given, else of any format that FFmpeg reads from its start."""
    raw = {} if options.video_size is None else _raw_options(options)
    pipe = Pipe(name, bool(raw))
    place = "standard input" if name == PIPE else name
    limits = {"protocol_whitelist": "file", "format_whitelist": "rawvideo" if raw else allowed_formats()}
    try:
        return _opened(place, pipe, "rawvideo" if raw else None, {**limits, **raw}, options.rate, is_live=False)
    except DataError:
        pipe.close()
        raise


def _raw_options(options: SourceOptions) -> dict[str, str]:
    assert options.video_size is not None
    if options.rate is None:
        raise ConfigError("[--video-size] raw frames have no rate; add --rate FRAMES_PER_SECOND")
    size, pixels = "{}x{}".format(*options.video_size), options.pixel_format or "rgb24"
    return {"video_size": size, "pixel_format": pixels, "framerate": f"{options.rate:g}"}


def _open_camera(name: str, options: SourceOptions) -> VideoSource:
    wanted = {} if options.video_size is None else {"video_size": "{}x{}".format(*options.video_size)}
    if options.rate is not None:
        wanted["framerate"] = f"{options.rate:g}"
    return _opened(name, name, CAMERA_FORMATS.get(sys.platform, "v4l2"), wanted, None, is_live=True)


def _opened(
    name: str, source: Any, kind: str | None, options: dict[str, str], rate: float | None, is_live: bool
) -> VideoSource:
    import av

    av.logging.set_level(None)  # failures raise exceptions
    try:
        container = av.open(source, format=kind, options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        advice = "check the device and who uses it" if is_live else "for raw frames add --video-size WxH --rate R"
        raise DataError(f"cannot open the source ({short(error)}) [{printable(name)}]; {advice}") from None
    try:
        video = choose_stream(container, Limits(frames=sys.maxsize, hours=float("inf")))
        return VideoSource(name, video, rate, is_live, pipe=source if isinstance(source, Pipe) else None)
    except DataError as error:
        container.close()
        text = str(error)
        raise DataError(text if "[" in text else f"{text} [{printable(name)}]") from None
