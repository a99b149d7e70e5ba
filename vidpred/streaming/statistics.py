"""What a stream did: frames, forecasts, latency; in constant memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from vidpred.errors import counted

SHORTEST, LONGEST, BINS_PER_DECADE = 1e-4, 1e3, 200  # seconds; bins 1.2 % apart


class LatencyHistogram:
    """Counts of seconds in bins that are 1.2 % apart, for percentiles in constant memory."""

    def __init__(self) -> None:
        self.counts = [0] * (round(math.log10(LONGEST / SHORTEST)) * BINS_PER_DECADE + 1)
        self.total, self.largest = 0, 0.0

    def add(self, seconds: float) -> None:
        """Count a latency in seconds."""
        place = round(math.log10(min(max(seconds, SHORTEST), LONGEST) / SHORTEST) * BINS_PER_DECADE)
        self.counts[place] += 1
        self.total, self.largest = self.total + 1, max(self.largest, seconds)

    def percentile(self, share: float) -> float:
        """Return the value in seconds that a share in (0, 1] of the values does not exceed; NaN without values."""
        wanted, seen = math.ceil(share * self.total), 0
        for place, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(float(SHORTEST * 10 ** (place / BINS_PER_DECADE)), self.largest)
        return math.nan


@dataclass
class StreamStatistics:
    """Counts of a stream.

    Attributes:
        frames: Frames captured, at the model's rate.
        forecasts: Forecasts shown.
        late: Forecasts that took longer than a period, and were not shown.
        restarts: How often frames of the source were missing and the context began anew.
        seconds: Time from the first forecast's context to the end.
        delayed: Seconds by which the source was played too slowly, because it could not be read faster.
        rate: Frames per second of the model.
        latency: From the capture of the newest context frame to the end of the forecast.
    """

    frames: int = 0
    forecasts: int = 0
    late: int = 0
    restarts: int = 0
    seconds: float = 0.0
    delayed: float = 0.0
    rate: float = 0.0
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)

    @property
    def dropped(self) -> int:
        """Number of frames that are not the newest of any forecast that was shown."""
        return self.frames - self.forecasts

    def to_json(self) -> dict[str, Any]:
        """Return all counts as plain values, times in milliseconds."""
        shares = {"p50": 0.5, "p95": 0.95}
        latency = {name: round(1000 * self.latency.percentile(share), 1) for name, share in shares.items()}
        return {
            "frames": self.frames, "frames_per_second": round(self.rate, 3), "forecasts": self.forecasts,
            "forecasts_per_second": round(self.forecasts / self.seconds, 2) if self.seconds else 0.0,
            "dropped": self.dropped, "late": self.late, "restarts": self.restarts,
            "latency_ms": {**latency, "max": round(1000 * self.latency.largest, 1)} if self.forecasts else None,
            "seconds": round(self.seconds, 2), "delayed_seconds": round(self.delayed, 2),
        }  # fmt: skip

    def summary(self) -> str:
        """Return one line with the counts and latencies for the terminal."""
        values = self.to_json()
        parts = [
            f"{counted(self.forecasts, 'forecast')} of {counted(self.frames, 'frame')} "
            f"({self.dropped} dropped, {self.late} late)",
            f"{values['forecasts_per_second']} forecasts/s",
        ]
        if self.forecasts:
            parts.append("latency p50 {p50} ms, p95 {p95} ms, max {max} ms".format(**values["latency_ms"]))
        if self.restarts:
            parts.append(f"{self.restarts} times frames were missing")
        if self.delayed > 1:
            parts.append(f"the source was read {self.delayed:.1f} s too slowly")
        return ", ".join(parts)
