"""How large a video may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The largest video that is read; see `data.video` for max_pixels, max_frames and max_hours."""

    pixels: int = 8192 * 4320
    frames: int = 2_000_000
    hours: float = 24.0

    def of_size(self, width: int, height: int) -> str | None:
        """Why frames of this size are refused, if they are."""
        if width * height <= self.pixels:
            return None
        return f"too large: frames of {width}x{height} are over data.video.max_pixels={self.pixels}"

    def of_length(self, frames: int, seconds: float) -> str | None:
        """Why a video of this length is refused, if it is; 0 where a length is not known."""
        if frames > self.frames:
            return f"too long: {frames} frames are over data.video.max_frames={self.frames}"
        if seconds > self.hours * 3600 * (1 + 1e-9):
            return f"too long: {seconds / 3600:.4g} hours are over data.video.max_hours={self.hours:g}"
        return None
