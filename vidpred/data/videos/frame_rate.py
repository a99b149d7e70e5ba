"""Resampling to a constant frame rate (`data.video.fps`)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from vidpred.data.videos.reader import VideoInfo

LARGEST_DENOMINATOR = 100_000  # recovers rates such as 30000/1001 from their decimals


def kept_frames(video: VideoInfo, rate: float | None) -> Sequence[int]:
    """Return the indices of the frames displayed at times 0, 1/rate, 2/rate, ... after the first frame.

    The frame displayed at time t is the last one that starts at or before t; a frame may occur several times. Start
    times are rounded to whole units of the time base, hence a tolerance of half a unit. Without timestamps, frames are
    assumed to be evenly spaced at the container's rate.

    Args:
        video: The scanned video.
        rate: Frames per second; None keeps every frame.
    """
    if rate is None:
        return range(video.frames)
    wanted = Fraction(rate).limit_denominator(LARGEST_DENOMINATOR)
    if video.pts:
        unit, begins = Fraction(video.time_base), np.array(video.pts) - video.pts[0]
    else:
        unit, begins = 1 / Fraction(video.rate).limit_denominator(LARGEST_DENOMINATOR) / 1000, np.arange(video.frames)
        begins = begins * 1000
    step = 1 / (wanted * unit)  # in units of the time base
    count = (int(begins[-1]) + Fraction(1, 2)) // step + 1
    times = [(2 * k * step.numerator + step.denominator) // (2 * step.denominator) for k in range(int(count))]
    kept: list[int] = (np.searchsorted(begins, times, side="right") - 1).tolist()
    return kept


def kept_positions(frames: Sequence[int], kept: Sequence[int]) -> list[int]:
    """Return the positions in `kept` at which these frames, ascending, or the first ones after them stand."""
    if isinstance(kept, range):
        return list(frames)
    return sorted(set(np.searchsorted(kept, frames, side="left").tolist()))
