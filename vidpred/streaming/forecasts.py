"""Forecasts of a stream: `vidpred.stream`.

The rule: no forecast is shown that is older than one period. A forecast's age is the time since its newest context
frame was captured; a period is the time between the newest frames of two forecasts, `every` frames of the model. A
forecast that takes longer is counted and not shown. A forecast begins with the newest frame, and only if it can end in
time, so frames are dropped and nothing queues up. Between forecasts, models that can prepare the next one do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidpred.errors import ConfigError
from vidpred.inference.predict_video import check_memory
from vidpred.inference.predictor import Predictor
from vidpred.models.base import StreamForward
from vidpred.models.rollout import stream_rollout
from vidpred.streaming.capture import Capture, ContextShape, Snapshot
from vidpred.streaming.sources import SourceOptions, open_source
from vidpred.streaming.statistics import StreamStatistics

# A period is this many times the expected duration of a forecast, rounded up to whole frames. In single
# trials of eight frames of 240x320 at 10 frames a second on two cores, 1.25 left out half of the frames, and at 1 more
# forecasts were late.
RESERVE = 1.1
FORGET = 0.3  # share of the last duration in the expected one, which rises at once
WARM_UP = 3  # forecasts before the source plays; the first ones are slow


@dataclass(frozen=True)
class Forecast:
    """A forecast of a stream.

    Attributes:
        frames: The predicted frames, `(num_frames, C, H, W)` float32 in [0, 1], on the CPU.
        newest: The newest context frame, `(C, H, W)`.
        number: Index of the newest frame among those at the model's rate, which counts those that are missing.
        time: When the newest frame was captured, in seconds since the first frame.
        latency: Seconds from then until this forecast was ready.
        period: Seconds that the forecast may take at most, see the module.
        dropped: Number of frames since the last forecast without one.
    """

    frames: Tensor
    newest: Tensor
    number: int
    time: float
    latency: float
    period: float
    dropped: int

    @property
    def is_in_time(self) -> bool:
        """Whether the forecast may be shown: its latency is at most the period."""
        return self.latency <= self.period


class Pace:
    """How often forecasts are made: every n-th frame, n fixed or as the durations of the last forecasts require."""

    def __init__(self, every: int | None, frame_seconds: float) -> None:
        self._fixed, self._frame_seconds = every, frame_seconds
        self.forecast = self.cycle = 0.0  # expected seconds of a forecast, and until the next can begin

    @property
    def every(self) -> int:
        """Number of model frames from one forecast to the next."""
        return self._fixed or max(1, math.ceil(RESERVE * self.cycle / self._frame_seconds))

    @property
    def period(self) -> float:
        """Seconds from one forecast to the next."""
        return self.every * self._frame_seconds

    def update(self, forecast_seconds: float, cycle_seconds: float) -> None:
        """Update the expected durations. A longer one counts at once, a shorter one gradually.

        Args:
            forecast_seconds: Duration of the last forecast.
            cycle_seconds: Time from its start until the next one can begin, at least `forecast_seconds`.
        """
        self.forecast = max(forecast_seconds, self.forecast + FORGET * (forecast_seconds - self.forecast))
        self.cycle = max(cycle_seconds, self.cycle + FORGET * (cycle_seconds - self.cycle))


class ForecastStream:
    """An iterable over the forecasts of a source; it can be iterated once.

    Attributes:
        is_stopped: Whether `stop` was called.
    """

    is_stopped = False

    def __init__(
        self, capture: Capture, predictor: Predictor, num_frames: int = 8, every: int | None = None, seed: int = 0
    ) -> None:
        """See `stream`."""
        if num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, not {num_frames}")
        if every is not None and every < 1:
            raise ValueError(f"every must be at least 1, not {every}")
        generator = predictor.generator
        predictor.check_predicts_frames()
        if generator.action_size or generator.state_size:
            raise ConfigError(f"{predictor.name} takes actions or states, which a stream has not; use predict")
        if generator.channels > 3:
            raise ConfigError(f"{predictor.name} takes several cameras [data.channels={generator.channels}], and a "
                              "stream has one; use Predictor.predict")  # fmt: skip
        self._capture, self._predictor, self._num_frames, self._every = capture, predictor, num_frames, every
        self._noise = predictor.noise(1, None, seed)
        self._forward = generator.stream_forward(num_frames)
        self._counts = StreamStatistics()
        self._began = 0.0

    @property
    def statistics(self) -> StreamStatistics:
        """The counts so far."""
        counts, capture = self._counts, self._capture
        counts.frames, counts.restarts, counts.delayed = capture.frames, capture.restarts, capture.delayed
        counts.rate = capture.clock.rate
        return counts

    def stop(self) -> None:
        """End the iteration after the current forecast; for handlers of signals and other threads."""
        self.is_stopped = True
        self._capture.stop()

    def open(self) -> float:
        """Open the source and warm up; return the frames per second of the model.

        Raises:
            ConfigError, DataError: The source cannot be opened, or its frames do not fit into memory.
        """
        self._capture.open()
        shape = self._capture.shape
        check_memory(self._capture.size, shape.length + WARM_UP, shape.channels)
        self.warm_up()
        return self._capture.clock.rate

    def __iter__(self) -> Iterator[Forecast]:
        return (forecast for forecast in self.outcomes() if forecast.is_in_time)

    def outcomes(self) -> Iterator[Forecast]:
        """Yield all forecasts, also those that are late and must not be shown.

        Once when the source stalls, the last one is yielded again, which is too old by then.
        """
        capture, counts, shown, due = self._capture, self._counts, -1, 0
        forecast: Forecast | None = None
        if capture.ident is None:  # not alive after its end either
            self.open()
        self._began = time.monotonic()
        capture.begin()
        try:
            while True:
                try:
                    snapshot = self._next(due)
                except TimeoutError:
                    if forecast is not None and forecast.is_in_time:
                        forecast = self._aged(forecast)
                        yield forecast
                    continue
                if snapshot is None:
                    break
                period, begin = self._pace.period, time.monotonic()
                frames = self._predict(snapshot.frames)
                ready = time.monotonic()
                forecast = Forecast(
                    frames, snapshot.frames[-1], snapshot.number, snapshot.time, ready - snapshot.captured, period,
                    snapshot.number - shown - 1,
                )  # fmt: skip
                if forecast.is_in_time:
                    shown = snapshot.number
                    counts.forecasts += 1
                    counts.latency.add(forecast.latency)
                else:
                    counts.late += 1
                yield forecast
                end = time.monotonic()
                counts.seconds = end - self._began
                self._pace.update(ready - begin, end - begin)
                due = snapshot.number + self._pace.every
        finally:
            counts.seconds = time.monotonic() - self._began
            capture.stop()

    def _aged(self, forecast: Forecast) -> Forecast:
        """Return a forecast as it is now, at the current frame."""
        age = time.monotonic() - self._began - forecast.time
        number = forecast.number + math.floor(age * self._capture.clock.rate)
        return replace(forecast, latency=max(age, 2 * forecast.period), number=number)

    def _next(self, due: int) -> Snapshot | None:
        """Wait for the newest frame from number `due` on from which a forecast can end in time."""
        pace, least = self._pace, due
        while (snapshot := self._wait(least)) is not None:
            in_time = time.monotonic() + pace.forecast <= snapshot.captured + pace.period
            if in_time or snapshot.number >= due + pace.every:  # else it would never try
                break
            least = snapshot.number + 1
        return snapshot

    def _wait(self, least: int) -> Snapshot | None:
        """Wait for a frame with at least this number, and prepare its forecast with the frames before it."""
        capture, min_length = self._capture, self._predictor.min_history_len
        if not isinstance(self._forward, StreamForward):
            return capture.newest(least, min_length)
        next_number = 0
        while (snapshot := capture.newest(next_number, min_length)) is not None and snapshot.number < least:
            self._prepare(self._forward, snapshot.frames, least - snapshot.number)
            next_number = snapshot.number + 1
        return snapshot

    @torch.inference_mode()
    def _prepare(self, forward: StreamForward, context: list[Tensor], ahead: int) -> None:
        """Prepare the forecast whose newest frame comes `ahead` frames after those of a context `(C, H, W)`."""
        inputs = context[: len(context) - self._predictor.generator.lead + 1]
        if inputs:
            forward.prepare(self._batch(inputs), ahead)

    def _batch(self, context: list[Tensor]) -> Tensor:
        return torch.stack(context)[None].to(self._predictor.device)

    @torch.inference_mode()
    def _predict(self, context: list[Tensor]) -> Tensor:
        """Predict from context frames `(C, H, W)`; return `(num_frames, C, H, W)`."""
        batch = self._batch(context)
        steps = stream_rollout(
            self._predictor.generator, batch, self._num_frames, self._noise, forward=self._forward
        )  # fmt: skip
        return torch.cat(list(steps)).cpu()

    def warm_up(self) -> float:
        """Return the seconds of a forecast, measured before the source plays."""
        shape = self._capture.shape
        generator = torch.Generator().manual_seed(0)
        clip = torch.rand(shape.length + WARM_UP, shape.channels, *self._capture.size, generator=generator)
        for first in range(WARM_UP):
            begin = time.monotonic()
            self._predict(list(clip[first : first + shape.length]))
            seconds = time.monotonic() - begin
        self._pace = Pace(self._every, self._capture.clock.period)
        self._pace.update(seconds, seconds)
        return seconds

    def tune_threads(self) -> int:
        """Let this process compute with one thread if that is faster, as next to busy processes; return the number.

        It changes the threads of the whole process, so programs call it, after `open`.
        """
        threads = torch.get_num_threads()
        if threads > 1 and self._predictor.device.type == "cpu":
            seconds = self.warm_up()
            torch.set_num_threads(1)
            if self.warm_up() > seconds:
                torch.set_num_threads(threads)
                self.warm_up()
        return torch.get_num_threads()


def stream(
    source: str | Path | Iterable[np.ndarray],
    run: str | Path | Predictor = "pretrained",
    num_frames: int = 8,
    every: int | None = None,
    size: int | None = None,
    rate: float | None = None,
    video_size: tuple[int, int] | None = None,
    device: str = "auto",
) -> ForecastStream:
    """Predict what a camera, a pipe or a playing file shows next, while it goes on.

    The iterable yields a `Forecast` for the newest frame whenever one is ready, and none that is older than its period:
    `every` frames. A loop body that takes long costs forecasts, not time: they are always about the newest frame.

    Args:
        source: A video file or a folder of images (played at its rate), a camera (device or number), "-" for standard
            input, a named pipe, or an iterable of frames `(H, W, 3)` RGB uint8, taken as they come.
        run: A run folder, "pretrained", or a predictor.
        num_frames: Number of frames to predict.
        every: Make a forecast at every n-th frame; None: as often as this machine sustains.
        size: Short side in pixels of the frames; 0: the source's; None: the run's `data.size`.
        rate: Frames per second of the source; None: as it states. Raw frames and an iterable need it.
        video_size: (width, height) of the raw RGB frames of a pipe, or of a camera.
        device: "auto", "cpu" or "cuda", for a run that is loaded here.

    Returns:
        The stream, which reads its source from the first iteration on; `statistics` counts, `stop()` ends it.

    Raises:
        ConfigError: The model predicts no frames, or takes actions or states.
        StorageError: The run cannot be loaded.
        DataError: While iterating: the source cannot be opened, or it broke.
    """
    predictor = run if isinstance(run, Predictor) else Predictor.load(run, device=device)
    return forecast_stream(source, predictor, num_frames, every, size, SourceOptions(rate, video_size))


def forecast_stream(
    source: str | Path | Iterable[np.ndarray], predictor: Predictor, num_frames: int, every: int | None,
    size: int | None, options: SourceOptions,
) -> ForecastStream:  # fmt: skip
    """Return the stream of a source and a model, see `stream`."""
    data = predictor.data
    shape = ContextShape(
        predictor.history_len, predictor.generator.channels, data.size if size is None else (size or None),
        data.video_settings.fps, data.frame_skip,
    )  # fmt: skip
    return ForecastStream(Capture(lambda: open_source(source, options), shape), predictor, num_frames, every)
