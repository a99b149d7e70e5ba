"""Opening untrusted video files: checks that run before anything is decoded."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.bounds import LEAST_RATE, MOST_RATE
from vidpred.data.videos.checksums import VERIFYING
from vidpred.data.videos.limits import Limits
from vidpred.errors import DataError, printable, short
from vidpred.files import open_regular

# Formats are detected by content, not by suffix. These name other files or devices, or are images or text.
REFUSED_FORMATS = frozenset((
    "concat", "dash", "hls", "image2", "image2pipe", "imf", "mpjpeg", "rtp", "rtsp", "sap", "sdp", "vobsub",
    "webm_dash_manifest", "alsa", "fbdev", "kmsgrab", "lavfi", "video4linux2,v4l2", "x11grab", "data", "ffmetadata",
    "bin", "adf", "idf", "tty", "xbin", "ico", "svg", "srt", "webvtt", "ass",
))  # fmt: skip
# Decoders of text, and those that pass data on as it is.
REFUSED_CODECS = frozenset(("ansi", "bintext", "idf", "xbin", "wrapped_avframe", "vnull"))
# The default decoders of VP8 and VP9 drop the alpha channel.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Decoders that leave out frames without a reference unless asked for them, flagged as corrupt.
DROPPING_DECODERS = frozenset(("h264", "hevc", "vvc"))
USUAL_RATE = 25.0  # frames per second, as FFmpeg's
TEXT_BYTES = frozenset(range(32, 127)) | {9, 10, 13}

# Leading bytes of files that are not videos, and the reason to report.
BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git-LFS pointer, not the video itself; run git lfs pull"),
    (b"ffconcat", "a playlist script, not a video"),
    (b"#EXTM3U", "a playlist script, not a video"),
    (b"#!", "a script, not a video"),
    (b"\x89PNG", "an image or sound, not a video"),
    (b"\xff\xd8\xff", "an image or sound, not a video"),
    (b"BM", "an image or sound, not a video"),
    (b"ID3", "an image or sound, not a video"),
    (b"fLaC", "an image or sound, not a video"),
    (b"PK\x03\x04", "an archive, not a video; extract it"),
    (b"\x93NUMPY", "an array, not a video; see vidpred prepare numpy"),
    (b"\x89HDF", "an HDF5 file, not a video; see vidpred prepare hdf5"),
    (b"Rar!", "an archive, not a video; extract it"),
    (b"7z\xbc\xaf", "an archive, not a video; extract it"),
    (b"\x1f\x8b", "an archive, not a video; extract it"),
    (b"%PDF", "a PDF document, not a video"),
    (b"MZ", "a program, not a video"),
    (b"\x7fELF", "a program, not a video"),
)
# Leading bytes of TIFF and WebP, which may be stacks of pages or animations.
TIFF, WEBP = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), b"WEBP"
STILL_BRANDS = (b"heic", b"heix", b"mif1", b"avif")  # still images in an MP4 container
FILE_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def file_status(path: Path) -> os.stat_result:
    """Return the status of a regular file.

    Raises:
        DataError: The file is missing, or is a pipe or device, which might never end.
    """
    try:
        status = path.stat()
    except OSError as error:
        if path.is_symlink():
            raise DataError(f"broken link [{printable(path)}]") from None
        raise DataError(f"cannot read the file: {error.strerror} [{printable(path)}]") from None
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for is_kind, name in FILE_KINDS if is_kind(status.st_mode)), "a special file")
        raise DataError(f"{kind}, not a regular file [{printable(path)}]")
    return status


def explain_bytes(path: Path) -> bytes:
    """Return the first bytes of a file that may be a video.

    Raises:
        DataError: The first bytes show that the file is not a video.
    """
    file_status(path)
    try:
        with open_regular(path) as file:
            head = file.read(256)
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror} [{printable(path)}]") from None
    reason = _reason(head, path.suffix.lower())
    if reason:
        raise DataError(f"{reason} [{printable(path)}]")
    return head


def _reason(head: bytes, suffix: str) -> str | None:
    if not head:
        return "empty file (0 bytes)"
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not a video; download it again"
    if head.startswith(b"\xff\xd8\xff") and suffix in (".mjpeg", ".mjpg"):
        return None
    if head.startswith(b"PK") and suffix == ".npz":
        return "arrays, not a video; see vidpred prepare numpy"
    animated = head.startswith(b"\x89PNG") and b"acTL" in head
    if animated or _is_image_clip(head) or head.startswith(b"YUV4MPEG2"):
        return None
    for beginning, reason in BEGINNINGS:
        if head.startswith(beginning):
            return reason
    riff_but_no_video = head[:4] == b"RIFF" and head[8:12] != b"AVI "
    if riff_but_no_video or (head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS):
        return "an image or sound, not a video"
    return "a text, not a video" if set(head) <= TEXT_BYTES else None


def _is_image_clip(head: bytes) -> bool:
    """Return whether a file may be an animation or a stack of pages."""
    return head.startswith(TIFF) or head[8:12] == WEBP


@dataclass
class OpenVideo:
    """An open video file: container, first video stream, and its single-threaded decoder."""

    container: Any
    stream: Any
    decoder: Any

    def frames(self) -> Iterator[Any]:
        """Yield decoded frames from the current position of the container.

        Raises:
            av.FFmpegError: A frame cannot be decoded.
        """
        for packet in self.packets():
            yield from self.decode(packet)

    def packets(self) -> Iterator[Any]:
        """Yield the packets of the stream, then the one that flushes the decoder.

        Empty packets repeat the image before, as in Theora; a decoder would take one as the end of the stream.

        Raises:
            av.FFmpegError: A packet cannot be read.
        """
        for packet in self.container.demux(self.stream):
            if packet.size or (packet.pts is None and packet.dts is None):
                yield packet

    def decode(self, packet: Any) -> list[Any]:
        """Return the frames that a packet completes; an empty packet flushes the decoder."""
        frames: list[Any] = self.decoder.decode(packet if packet.size else None)
        return frames

    def seek(self, time: int) -> None:
        """Seek to the last keyframe at or before `time`, in units of the stream's time base."""
        self.container.seek(time, stream=self.stream, backward=True)
        if self.decoder.is_open:
            self.decoder.flush_buffers()

    def close(self) -> None:
        """Close the container and its file."""
        self.container.close()


def open_video(path: Path, limits: Limits | None = None) -> OpenVideo:
    """Open a video after checking that it is safe to decode.

    Args:
        path: The video file.
        limits: Maximum size and length; None for an unchanged file that was scanned within the limits.

    Raises:
        DataError: The file is not a video, exceeds the limits, or has an unsupported format.
    """
    import av  # training on prepared frames works without it

    av.logging.set_level(None)  # silence FFmpeg; every failure raises an exception
    source: Any = f"file:{path}"
    if _is_image_clip(explain_bytes(path)):
        from vidpred.data.videos.image_clips import as_video  # which needs this module

        source = as_video(path, limits or Limits())
    try:
        container = av.open(source, options={"format_whitelist": allowed_formats(), "protocol_whitelist": "file"})
    except (av.FFmpegError, OSError, ValueError) as error:
        # FFmpeg reports a format outside the whitelist as an invalid argument.
        why = "unsupported container format" if isinstance(error, av.ArgumentError) else short(error)
        lost = "; it is probably incomplete: copy it again" if isinstance(error, av.InvalidDataError) else ""
        raise DataError(f"cannot open the video ({why}){lost} [{printable(path)}]") from None
    try:
        return choose_stream(container, limits)
    except DataError as error:
        container.close()
        raise DataError(f"{error} [{printable(path)}]") from None


@cache
def allowed_formats() -> str:
    """Return the names of all container formats that are read, separated by commas."""
    import av

    names = {name for name in av.formats_available if not name.endswith("_pipe")} - REFUSED_FORMATS
    return ",".join(sorted(names))


@cache
def allowed_codecs() -> str:
    """Return the names of all codecs that are read, separated by commas."""
    import av

    return ",".join(sorted(av.codecs_available - REFUSED_CODECS))


def choose_stream(container: Any, limits: Limits | None) -> OpenVideo:
    """Return the video stream of an open container, with a decoder for untrusted data. Raises DataError."""
    import av
    from av.codec.context import Flags
    from av.stream import Disposition

    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise DataError(f"no video stream, only {kinds}")
    stream = next((stream for stream in videos if stream.disposition & Disposition.default), videos[0])
    if stream.codec_context is None:
        raise DataError("no decoder for the video's codec")
    decoder = stream.codec_context
    if decoder.name in REFUSED_CODECS:
        raise DataError(f"unsupported codec {decoder.name}")
    if limits is not None:
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        # Headers may be wrong: a frame has at least a byte, and times may begin late, as with a camera's clock.
        seconds = seconds or ((container.duration or 0) - max(0, container.start_time or 0)) / av.time_base
        frames = stream.frames if stream.frames <= container.size else 0
        reason = limits.size_error(stream.width, stream.height) or limits.length_error(frames, seconds)
        if reason:
            raise DataError(reason)
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in ALPHA_DECODERS:
        decoder = av.CodecContext.create(ALPHA_DECODERS[decoder.name], "r")
    decoder.thread_count = 1
    options = {"codec_whitelist": allowed_codecs()}  # enforced again inside FFmpeg
    if decoder.name in VERIFYING:
        options["err_detect"] = VERIFYING[decoder.name]
    if limits is not None:
        options["max_pixels"] = str(limits.pixels)
    decoder.options = options
    if decoder.name in DROPPING_DECODERS:
        decoder.flags |= Flags.output_corrupt
    return OpenVideo(container, stream, decoder)


def frame_rate(stream: Any) -> float:
    """Return a stream's frames per second: the first stated rate that is a usual one; else the first; else 25."""
    rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
    return next((rate for rate in rates if LEAST_RATE <= rate <= MOST_RATE), [*rates, USUAL_RATE][0])


class Scaler:
    """Scaling and pixel format conversion; reuse one for images of the same size and format, as its setup is slow."""

    def __init__(self) -> None:
        self._alpha: dict[str, bool] = {}

    def array(self, frame: Any, size: tuple[int, int], pixels: str = "rgb24") -> np.ndarray:
        """Convert a decoded frame to `(H, W, 3)` or, for "gray", `(H, W)` uint8, scaled to size = (height, width).

        16-bit values are divided by 257. Images with an alpha channel are composited over black.
        """
        if self._has_alpha(frame.format):
            frame = over_black(frame)
        image = self._reformatter.reformat(
            frame,
            width=size[1],
            height=size[0],
            format=pixels,
            interpolation="AREA" if frame.width > size[1] else "BICUBIC",
            **self._one_thread,
        )
        array: np.ndarray = image.to_ndarray()
        return array

    @cached_property
    def _reformatter(self) -> Any:
        from av.video.reformatter import VideoReformatter

        return VideoReformatter()

    @cached_property
    def _one_thread(self) -> dict[str, int]:
        """Return arguments that limit scaling to one thread; by default it may start one per processor and image."""
        return {"threads": 1} if "threads" in (type(self._reformatter).reformat.__doc__ or "") else {}

    def _has_alpha(self, pixels: Any) -> bool:
        if pixels.name not in self._alpha:
            self._alpha[pixels.name] = pixels.has_palette or any(part.is_alpha for part in pixels.components)
        return self._alpha[pixels.name]


def over_black(frame: Any) -> Any:
    """Composite a frame with an alpha channel over black; before scaling, so that hidden colors do not bleed in."""
    import av

    colors = frame.to_ndarray(format="rgba")
    if colors[..., 3].min() < 255:
        weighted = colors[..., :3].astype(np.uint16) * colors[..., 3:] + 127
        colors[..., :3] = weighted // 255
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(colors[..., :3]), format="rgb24")
