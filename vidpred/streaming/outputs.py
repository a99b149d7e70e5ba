"""Where the images of a stream go: a video file, standard output, browsers."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from vidpred.errors import StorageError, counted
from vidpred.files import atomic_write, check_output
from vidpred.media.render import UNKNOWN, Panel, compose, to_uint8
from vidpred.media.video_writer import encode_h264, exact_rate, h264_stream
from vidpred.streaming.forecasts import Forecast

FULL = (errno.ENOSPC, errno.EDQUOT)  # disks
LEAST_HEIGHT = 120  # pixels; smaller frames are enlarged by a whole factor


def image_of(forecast: Forecast, bare: bool) -> np.ndarray:
    """Draw the newest frame and the last predicted one, or "unavailable" if the forecast is too old to be shown.

    Args:
        forecast: The forecast.
        bare: Only the predicted frame, which is gray if the forecast is too old.

    Returns:
        `(H, W, 3)` uint8 with even H and W.
    """
    predicted = forecast.frames[-1] if forecast.is_in_time else None
    if bare:
        height, width = forecast.newest.shape[-2:]
        image = np.full((height, width, 3), UNKNOWN, np.uint8) if predicted is None else to_uint8(predicted)
        return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    count = len(forecast.frames)
    panels = [Panel("now", forecast.newest, "context"), Panel(f"in {counted(count, 'frame')}", predicted, "prediction")]
    return compose(panels, LEAST_HEIGHT)


class Output(ABC):
    """A place for images, used as a context manager: an error inside the block does not lose what was written."""

    def __init__(self) -> None:
        self._last: int | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, image: np.ndarray, number: int) -> None:
        """Show an image `(H, W, 3)` uint8 with even sides from frame `number` of the stream on. Raises StorageError."""
        if self._last is not None:
            number = max(number, self._last + 1)
        self._write(image, number, 1 if self._last is None else number - self._last)
        self._last = number

    @abstractmethod
    def _write(self, image: np.ndarray, number: int, frames: int) -> None:
        """Write an image that comes `frames` frames after the last one."""

    def close(self) -> None:  # noqa: B027  (most have something to finish)
        """Finish the output: complete the file, and give it its name. Raises StorageError."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StorageError:
            if error is None:
                raise


class VideoFile(Output):
    """An MP4 file, which appears under its name when it is complete. Images keep their times."""

    def __init__(self, path: Path, rate: float, overwrite: bool) -> None:
        """Take the file, and the stream's frames per second. Raises ConfigError or StorageError."""
        super().__init__()
        check_output(path, overwrite, "--output", (".mp4",))
        self._path, self._rate = path, exact_rate(rate)
        self._stack = ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._start = 0

    def _write(self, image: np.ndarray, number: int, frames: int) -> None:
        import av

        try:
            if self._container is None:
                file = self._stack.enter_context(atomic_write(self._path))
                self._container = av.open(str(file), "w", options={"movflags": "faststart"})
                self._stream = h264_stream(self._container, image.shape[:2], self._rate, "veryfast")
                self._start = number
            encode_h264(self._container, self._stream, image, number - self._start, self._rate)
        except (av.FFmpegError, OSError) as error:
            container, self._container = self._container, None
            with suppress(Exception):  # to remove the temporary file
                container.close()
            with suppress(Exception):
                self._stack.__exit__(type(error), error, None)
            raise StorageError(f"cannot write [{self._path}]: {self._reason(error)}") from None

    def _reason(self, error: Any) -> str:
        """Return why it cannot be written, and what to do."""
        if not self._path.parent.is_dir():
            return "its folder was removed; keep the folder while the stream goes on"
        return f"{error.strerror}; {'free space' if error.errno in FULL else 'choose another --output'}"

    def close(self) -> None:
        if self._container is None:
            return
        container, self._container = self._container, None
        with self._stack:  # the file gets its name
            container.mux(self._stream.encode())
            container.close()


class Yuv4MpegPipe(Output):
    """A pipe of frames in YUV4MPEG2, which FFmpeg, ffplay and mpv recognize, at a constant rate."""

    def __init__(self, descriptor: int, rate: float) -> None:
        super().__init__()
        self._descriptor, self._rate = descriptor, exact_rate(rate)
        self._closed = False

    def _write(self, image: np.ndarray, number: int, frames: int) -> None:
        import av

        rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
        planes = rgb.reformat(format="yuv420p", dst_colorspace="ITU601").to_ndarray().tobytes()
        if self._last is None:
            height, width = image.shape[:2]
            rate: Fraction = self._rate
            self._send(f"YUV4MPEG2 W{width} H{height} F{rate.numerator}:{rate.denominator} Ip A1:1 C420jpeg\n".encode())
        for _ in range(frames):  # the images in between are missing: with the new one instead, the reader stays in time
            self._send(b"FRAME\n" + planes)

    def _send(self, content: bytes) -> None:
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self._closed = True
            reason = "its reader ended" if isinstance(error, BrokenPipeError) else error.strerror
            raise StorageError(f"cannot write to standard output: {reason} [--output -]") from None
