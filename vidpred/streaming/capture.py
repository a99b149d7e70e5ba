"""The thread that reads a source and keeps the newest context, so that a slow model never makes it lag.

The source is opened in the thread, which alone uses PyAV's objects. It takes every frame, in time, at the rate of the
model; only the forecasts leave some out.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vidpred.data.videos.reader import scaled_size
from vidpred.streaming.sources import FrameSource, TimedFrame

LONGEST_STEP = 1.0  # seconds; a longer time between frames of a playing source is cut to one frame's
STALLED = 1.0  # seconds without a frame after which the context begins anew
# Frames of a pipe or a file are taken this much faster than they play, so that a camera behind a pipe whose clock is a
# little faster than ours never fills the pipe.
HURRY = 0.99
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class ContextShape:
    """The frames that a model takes.

    Attributes:
        length: Number of frames.
        channels: 1 or 3.
        short_side: Pixels to scale to; None: the source's.
        fps: Frames per second of the model's data (`data.video.fps`); None: those of the source.
        frame_skip: Every n-th of these frames is taken (`data.frame_skip`).
    """

    length: int
    channels: int
    short_side: int | None = None
    fps: float | None = None
    frame_skip: int = 1


class Snapshot(NamedTuple):
    """The newest context.

    Attributes:
        number: Index of its newest frame among the frames at the model's rate, which counts those that are missing.
        captured: When the newest frame was captured, in seconds of `time.monotonic`.
        time: The same, since the first frame.
        frames: Up to `length` frames `(C, H, W)` in [0, 1], the newest last.
    """

    number: int
    captured: float
    time: float
    frames: list[Tensor]


class ModelRate:
    """Selection of the source's frames at the rate of the model's data."""

    def __init__(self, shape: ContextShape, source_rate: float) -> None:
        self._skip, own = shape.frame_skip, shape.fps is None or shape.fps >= source_rate
        self.rate = (source_rate if own else float(shape.fps or 0)) / self._skip
        self._interval = None if own else 1 / self.rate  # None: by number
        self._tolerance = 0.5 / source_rate
        self._count, self._next = 0, 0.0

    @property
    def period(self) -> float:
        """Seconds between two consecutive frames of the model."""
        return 1 / self.rate

    def takes(self, captured: float) -> bool:
        """Return whether the next frame of the source, captured at a time in seconds, is one of the model's."""
        self._count += 1
        if self._interval is None:
            return (self._count - 1) % self._skip == 0
        if self._count > 1 and captured < self._next - self._tolerance:
            return False
        late = self._count == 1 or captured > self._next + self._interval
        self._next = (captured if late else self._next) + self._interval
        return True


class Player:
    """The times at which frames were captured: files and pipes are played, live frames carry their times.

    A source that cannot be read as fast as it plays is played slower, without a loss of frames.
    """

    def __init__(self, source: FrameSource, wait: Callable[[float], object]) -> None:
        self._live, self._wait = source.is_live, wait
        self._period = HURRY / source.rate
        self._last: float | None = None  # on the source's clock
        self._due: float | None = None
        self._offset = float("inf")
        self.delayed = 0.0  # seconds by which the source plays too slowly

    def captured(self, frame: TimedFrame) -> float:
        """Wait until it is time for a frame, and return when it was captured, in seconds of `time.monotonic`."""
        now = time.monotonic()
        if self._live and frame.time is None:
            return now
        if self._live:
            assert frame.time is not None
            self._offset = min(self._offset, now - frame.time)  # frames that waited in a queue came later
            return frame.time + self._offset
        step = self._period
        if frame.time is not None and self._last is not None and 0 < frame.time - self._last <= LONGEST_STEP:
            step = HURRY * (frame.time - self._last)
        self._last = frame.time
        due = now if self._due is None else self._due + step
        if now > due + self._period:
            self.delayed += now - due
            due = now
        self._due = due
        if due > now:
            self._wait(due - now)
        return due


class Capture(threading.Thread):
    """A thread that reads a source from `begin` on; see the module."""

    def __init__(self, opener: Callable[[], FrameSource], shape: ContextShape) -> None:
        super().__init__(name="vidpred-capture", daemon=True)  # it may wait for a frame for ever
        self._opener, self.shape = opener, shape
        self._condition = threading.Condition()
        self._opened, self._begun, self._stopping = threading.Event(), threading.Event(), threading.Event()
        self._context: deque[Tensor] = deque(maxlen=shape.length)
        self._error: BaseException | None = None
        self._ended = False
        self._captured = self._first = 0.0
        self.size = (0, 0)
        self.clock = ModelRate(shape, 1.0)
        self.frames = 0  # at the model's rate
        self._number = -1
        self.restarts = 0  # how often frames were missing, and the context began anew
        self.delayed = 0.0

    def open(self) -> None:
        """Start the thread and wait until the source is open.

        Raises:
            ConfigError, DataError: It cannot be opened.
            KeyboardInterrupt: `stop` was called, as when no program writes to a pipe.
        """
        self.start()
        while not self._opened.wait(POLL_SECONDS):
            if self._stopping.is_set():
                raise KeyboardInterrupt
        self._raise()

    def begin(self) -> None:
        """Let the source play."""
        self._begun.set()

    def stop(self) -> None:
        """Make `newest` return None, and the thread end with its next frame."""
        self._stopping.set()
        self._begun.set()

    def newest(self, least: int, min_length: int = 1) -> Snapshot | None:
        """Wait for a frame with at least this number, after at least `min_length` - 1 others; return the context.

        Returns:
            The newest context; None once the source has ended, or after `stop`.

        Raises:
            DataError: The source broke.
            TimeoutError: The source has stalled.
        """
        begin = time.monotonic()
        with self._condition:
            while not self._stopping.is_set():
                if self._number >= least and len(self._context) >= min_length:
                    return Snapshot(self._number, self._captured, self._captured - self._first, list(self._context))
                if time.monotonic() > max(begin, self._captured) + STALLED + self.clock.period:
                    raise TimeoutError
                if self._ended:
                    self._raise()
                    return None
                self._condition.wait(POLL_SECONDS)
        return None

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        """Read the source to its end."""
        try:
            source = self._opener()
            try:
                self.size = scaled_size(*source.size, self.shape.short_side)
                self.clock = ModelRate(self.shape, source.rate)
                self._opened.set()
                self._begun.wait()
                self._read(source)
            finally:
                source.close()
        except BaseException as error:  # which the main thread raises
            self._error = error
        finally:
            with self._condition:
                self._ended = True
                self._condition.notify_all()
            self._opened.set()

    def _read(self, source: FrameSource) -> None:
        player, follows_gap = Player(source, self._stopping.wait), False
        for timed, image in source.frames(self.size, self.shape.channels):
            captured = player.captured(timed)
            if self._stopping.is_set():
                return
            self.delayed = player.delayed
            follows_gap = follows_gap or timed.follows_gap
            if self.clock.takes(captured):
                self._add(captured, image, follows_gap)
                follows_gap = False

    def _add(self, captured: float, image: np.ndarray, follows_gap: bool) -> None:
        values = torch.from_numpy(image).permute(2, 0, 1).float().div_(255)
        step = captured - self._captured if self.frames else 0.0
        with self._condition:
            self._number += 1
            if follows_gap or step > STALLED + self.clock.period:
                self._context.clear()
                self.restarts += self.frames > 0
                self._number += max(0, round(step * self.clock.rate) - 1)
            self._first = self._first if self.frames else captured
            self._context.append(values)
            self._captured = captured
            self.frames += 1
            self._condition.notify_all()
