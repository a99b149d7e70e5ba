"""Limits on the size and length of videos."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Maximum size and length of a video; see `data.video.max_pixels`, `max_frames` and `max_hours`."""

    pixels: int = 8192 * 4320
    frames: int = 2_000_000
    hours: float = 24.0

    def size_error(self, width: int, height: int) -> str | None:
        """Return why frames of a width and height in pixels are rejected, for a message; None if they are accepted."""
        if width * height <= self.pixels:
            return None
        return f"too large: frames of {width}x{height} exceed data.video.max_pixels={self.pixels}"

    def length_error(self, frames: int, seconds: float) -> str | None:
        """Return why a video of this length is rejected, for a message; None if it is accepted. 0: unknown."""
        if frames > self.frames:
            return f"too long: {frames} frames exceed data.video.max_frames={self.frames}"
        if seconds > self.hours * 3600 * (1 + 1e-9):
            return f"too long: {seconds / 3600:.4g} hours exceed data.video.max_hours={self.hours:g}"
        return None
