"""Read a video, or a part of it, as one tensor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vidpred.bounds import LEAST_RATE, MOST_RATE
from vidpred.data.videos.frame_rate import kept_frames
from vidpred.data.videos.index import usable
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import read_frames, scaled_size
from vidpred.errors import ConfigError, DataError, warn

REMEDY = "re-encode it (ffmpeg -i IN OUT.mp4) or use another clip"
FRAMES_A_READ = 64  # uint8 frames in memory in addition to the result


def read_video(
    path: str | Path,
    start: int = 0,
    stop: int | None = None,
    fps: float | None = None,
    size: int | tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
) -> Tensor:
    """Read the frames of a video as training does: by time, upright, with square pixels, without damaged frames.

    Args:
        path: Any file that FFmpeg decodes.
        start: First frame, counted after resampling to `fps`; a negative number counts from the end.
        stop: End of the frames, exclusive, as in a slice; None: all that follow.
        fps: Frames per second to resample to (`data.video.fps`); None: every frame of the file.
        size: Length in pixels to scale the short side to (`data.size`), or (height, width); None: the video's.
        channels: 3 for RGB, 1 for gray.

    Returns:
        `(T, C, H, W)` float32 in [0, 1].

    Raises:
        ConfigError: The rate, the size or the number of channels is impossible.
        DataError: The file cannot be read, or has no frame in this range.
    """
    path = Path(path)
    sizes = size if isinstance(size, tuple) else (size,)
    if fps is not None and not LEAST_RATE <= fps <= MOST_RATE:  # also true for NaN
        raise ConfigError(f"[fps={fps}] must be between {LEAST_RATE:g} and {MOST_RATE:g} frames per second")
    if channels not in (1, 3) or any(side is not None and side < 1 for side in sizes):
        raise ConfigError(f"[size={size}, channels={channels}] sizes are 1 or more, channels 1 or 3")
    with remedied():
        info = probe(path)
    if info.notes:
        warn(f"{usable(info)} [{path}]")
    kept = kept_frames(info, fps)
    numbers = kept[start:stop]
    if not len(numbers):
        raise DataError(f"no frames from {start} to {stop} of {len(kept)} [{path}]; choose another range")
    shape = size if isinstance(size, tuple) else scaled_size(info.height, info.width, size)
    frames = torch.empty(len(numbers), channels, *shape)
    for first in range(0, len(numbers), FRAMES_A_READ):
        part = numbers[first : first + FRAMES_A_READ]
        with remedied():
            pixels = read_frames(path, info, part, shape, channels)
        frames[first : first + len(part)] = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    return frames.div_(255)


@contextmanager
def remedied() -> Iterator[None]:
    """Add a remedy to DataErrors of the block that name the clip and have none."""
    try:
        yield
    except DataError as error:
        reason, bracket, rest = str(error).rpartition(" [")
        if ";" in reason or not bracket:
            raise
        remedy = "check its path" if reason.startswith("cannot read the file") else REMEDY
        if "not a video" in reason or "not a regular file" in reason:  # which no encoder turns into one
            remedy = "give a video"
        raise DataError(f"{reason} [{rest}; {remedy}") from None
