"""Animations (WebP) and stacks of pages (TIFF), which FFmpeg does not read as videos, as lossless videos in memory."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

from vidpred.data.images.decode import require_white_level
from vidpred.data.images.stacks import Stack
from vidpred.data.videos.limits import Limits
from vidpred.errors import DataError, printable

RATE = 25  # frames per second of stacks, as FFmpeg assumes for images


def as_video(path: Path, limits: Limits) -> io.BytesIO:
    """Return an animation or a stack as a video: FFV1, each frame a keyframe, in a NUT container.

    Args:
        path: The file.
        limits: Maximum size and length.

    Raises:
        DataError: The file cannot be read, contains a single image, or exceeds the limits.
    """
    import av

    stack = Stack(path)
    if len(stack) == 1:
        raise DataError(f"a single image, not a video [{printable(path)}]")
    height, width = stack.size
    if reason := limits.size_error(width, height) or limits.length_error(len(stack), 0):
        raise DataError(f"{reason} [{printable(path)}]")
    video, peaks, time = io.BytesIO(), [], 0
    with av.open(video, "w", format="nut") as container:
        stream = container.add_stream("ffv1", rate=RATE, options={"g": "1"})
        stream.height, stream.width = stack.read(0).image.shape[:2]  # turned upright, unlike those of the file
        stream.pix_fmt = "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(len(stack)):
            decoded = stack.read(number)
            peaks.append(decoded.peak)
            frame = av.VideoFrame.from_ndarray(decoded.image, "rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            time += round(stack.duration(number) or 1000 / RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    try:
        require_white_level(peaks, path)
    except DataError as error:
        raise DataError(f"{error}; vidpred prepare frames takes it") from None
    video.seek(0)
    return video
