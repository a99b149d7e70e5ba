"""Test videos made with PyAV, with the frame number drawn into every frame."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 8


def numbered_frames(count: int, height: int, width: int, first: int = 0) -> np.ndarray:
    """Return `(count, H, W, 3)` uint8: the number as eight black or white bars above a moving texture."""
    rows, columns = np.ogrid[:height, :width]
    frames = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        number = first + index
        wave = 110 + 60 * np.sin((columns + 2 * number) / 5) + 40 * np.cos((rows - number) / 7)
        frames[index] = np.clip(wave, 0, 255)[..., None].astype(np.uint8)
        for bit in range(BITS):
            left, right = bit * width // BITS, (bit + 1) * width // BITS
            frames[index, : height // 3, left:right] = 235 if number >> bit & 1 else 20
    return frames


def read_number(frame: np.ndarray) -> int:
    """Return the number drawn into a decoded frame `(H, W, C)`."""
    height, width = frame.shape[:2]
    number = 0
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        inner = frame[height // 12 : height // 4, left + (right - left) // 4 : right - (right - left) // 4]
        number |= int(inner.mean() > 127) << bit
    return number


BITEXACT = {"fflags": "bitexact"}  # the same bytes every time: no random identifiers


@contextmanager
def usual_priority() -> Iterator[None]:
    """Undo what SVT-AV1 does to the process that encodes as root: real-time priority, which its children inherit."""
    try:
        yield
    finally:
        if hasattr(os, "sched_setscheduler") and os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def write_video(
    path: Path,
    frames: np.ndarray,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    rate: int = 25,
    pixel_format: str = "yuv420p",
    pts: list[int] | None = None,
    time_base: Fraction | None = None,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """Encode `(n, H, W, 3)` uint8 frames; `pts`, in units of `time_base`, default to the frame numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options_of_container = BITEXACT | (container_options or {})
    with usual_priority(), av.open(str(path), "w", format=container_format, options=options_of_container) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        stream.codec_context.thread_count = 1
        if time_base is not None:
            stream.time_base = stream.codec_context.time_base = time_base
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index if pts is None else pts[index]
            frame.time_base = time_base or Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def turn(path: Path, degrees: int, height: int, width: int) -> None:
    """Write a display matrix into an MP4 file, by which players rotate its images clockwise."""
    content = path.read_bytes()
    one, minus = 1 << 16, (1 << 32) - (1 << 16)
    matrices = {
        0: [one, 0, 0, 0, one, 0, 0, 0, 1 << 30],
        90: [0, one, 0, minus, 0, 0, height << 16, 0, 1 << 30],
        180: [minus, 0, 0, 0, minus, 0, width << 16, height << 16, 1 << 30],
        270: [0, minus, 0, one, 0, 0, 0, width << 16, 1 << 30],
    }
    identity, turned = (b"".join(n.to_bytes(4, "big") for n in matrices[key]) for key in (0, degrees))
    place = content.index(identity, content.index(b"tkhd"))
    path.write_bytes(content[:place] + turned + content[place + 36 :])
