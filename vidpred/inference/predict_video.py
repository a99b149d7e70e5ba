"""Predict the continuation of a video file, one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from tqdm import tqdm

from vidpred.data.sources import to_frames
from vidpred.data.videos.frame_rate import kept_frames
from vidpred.data.videos.index import INTERLACED, usable
from vidpred.data.videos.probe import probe
from vidpred.data.videos.read_video import remedied
from vidpred.data.videos.reader import VideoInfo, read_frames, scaled_size
from vidpred.errors import ConfigError, counted, warn
from vidpred.inference.clip_window import Window, choose_window, read_actions, read_states
from vidpred.inference.load_models import by_name, check_same_data
from vidpred.inference.predictor import Predictor
from vidpred.media.prediction_files import Output, write_prediction
from vidpred.media.prediction_images import Step
from vidpred.models.rollout import stream_rollout
from vidpred.processes.memory import free_memory_bytes

FRAMES_A_READ = 16  # a read starts at a keyframe, so reading single frames would decode the same frames repeatedly


def check_agreement(request: PredictRequest, predictors: Sequence[Predictor]) -> None:
    """Check that all predictors take the same frames, and support samples if requested. Raises ConfigError."""
    for predictor in predictors:
        predictor.check_predicts_frames()
        if request.num_samples is not None:
            predictor.check_samples(request.num_samples)
    check_same_data(predictors, "render them one by one")
    if request.size is None:
        check_same_data(predictors, "give --size, or render them one by one", ["size"])


@dataclass(frozen=True)
class PredictRequest:
    """A request to predict frames of a video.

    Attributes:
        clip: The video's file.
        num_frames: Number of frames to predict.
        start: First frame to predict; None: hold out the clip's last frames as ground truth.
        size: Short side to predict at; None: the runs' data.size, 0: the video's.
        after_end: Whether to predict the continuation of the clip, instead of `start`.
        num_samples: Futures to draw from each run; None: one of each, with a map of its error.
        seed: Noise seed; a future's noise is a function of (seed, sample).
        actions: An .npy file for runs that take actions, see `read_actions`.
        states: An .npy file for runs that take states, see `read_states`.
    """

    clip: Path
    num_frames: int = 8
    start: int | None = None
    size: int | None = None
    after_end: bool = False
    num_samples: int | None = None
    seed: int = 0
    actions: Path | None = None
    states: Path | None = None


def check_memory(size: tuple[int, int], frames: int, channels: int) -> None:
    """Check that frames of a size (height, width) fit into memory, as bytes and two floats. Raises ConfigError."""
    needed, free = 9 * size[0] * size[1] * frames * channels, free_memory_bytes()
    if free is not None and needed > free:
        raise ConfigError(
            f"[--size] {counted(frames, 'frame')} of {size[1]}x{size[0]} pixels need {needed >> 20:,} MB of memory, "
            f"and {free >> 20:,} MB are free; lower the size"
        )


def _warn_of_cut(request: PredictRequest, info: VideoInfo, kept: Sequence[int], window: Window) -> None:
    """Warn on stderr if the shot changes between the first context frame and the last true frame."""
    numbers = [window.truth_number(step) for step in range(request.num_frames)]
    last = max((number for number in numbers if number is not None), default=window.numbers[-1])
    cuts = [cut for cut in info.cuts if kept[window.numbers[0]] < cut <= kept[last]]
    if cuts:
        reason = f"the shot changes at frame {cuts[0]}, which no model can predict; choose another --start"
        warn(f"{reason} [{request.clip}]")


@dataclass(frozen=True)
class VideoPrediction:
    """One prediction: its context frames, then the predicted frames with their ground truth."""

    request: PredictRequest
    predictors: Sequence[Predictor]
    info: VideoInfo
    kept: Sequence[int]  # the video's frames that data.video.fps keeps
    size: tuple[int, int]  # (height, width) to predict at
    window: Window
    actions: Tensor | None
    states: Tensor | None

    @classmethod
    def open(cls, request: PredictRequest, predictors: Sequence[Predictor]) -> Self:
        """Scan the request's clip and choose the frames to predict. Raises vidpred's errors."""
        check_agreement(request, predictors)
        data = predictors[0].data
        if data.channels > 3:
            raise ConfigError(
                f"the run takes {data.channels // 3} cameras [data.channels={data.channels}], and a clip has one "
                f"[{request.clip}]; predict in Python: Predictor.predict"
            )
        with remedied():
            info = probe(request.clip, limits=data.limits)
        if info.notes:
            warn(f"{usable(info)} [{request.clip}]")
        if info.interlaced:
            warn(f"its frames {INTERLACED} [{request.clip}]")
        kept = kept_frames(info, data.video_settings.fps)
        short_side = data.size if request.size is None else (request.size or None)
        start = len(kept) - 1 + data.frame_skip if request.after_end else request.start
        window = choose_window(info, len(kept), predictors, request.num_frames, start)
        _warn_of_cut(request, info, kept, window)
        size = scaled_size(info.height, info.width, short_side)
        check_memory(size, len(window.numbers) + 1, data.channels)
        return cls(
            request, predictors, info, kept, size, window,
            read_actions(request.actions, predictors, window, request.num_frames),
            read_states(request.states, predictors, window),
        )  # fmt: skip

    def describe(self) -> str:
        """Return a line about the chosen frames."""
        window, last = self.window, self.window.first + (self.request.num_frames - 1) * self.window.stride
        return (
            f"{counted(len(self.kept), 'frame')}, context {window.numbers[0]}-{window.numbers[-1]}, "
            f"predicted {window.first}-{last} at {self.size[1]}x{self.size[0]}, "
            f"{self._ground_truth()}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the size and the indices of the frames, as plain values."""
        window, count = self.window, self.request.num_frames
        return {
            "size": list(self.size),
            "context": window.numbers,
            "predicted": [window.first + step * window.stride for step in range(count)],
            "samples": self.request.num_samples or 1,
            "seed": self.request.seed,
        }

    def _ground_truth(self) -> str:
        count = self.request.num_frames
        known = sum(self.window.truth_number(step) is not None for step in range(count))
        if known == count:
            return "with ground truth"
        return f"ground truth of the first {known} only" if known else "no ground truth beyond the end of the clip"

    def _read(self, numbers: Sequence[int]) -> Tensor:
        kept = [self.kept[number] for number in numbers]
        with remedied():
            frames = read_frames(self.request.clip, self.info, kept, self.size, self.predictors[0].data.channels)
        return to_frames(frames)

    def context(self) -> Tensor:
        """Return the context frames to show, `(T, C, H, W)` in [0, 1]."""
        return self._read(self.window.numbers)

    def _targets(self) -> Iterator[Tensor | None]:
        """Yield the true frame of every step, None beyond the end, reading a few at a time."""
        for first in range(0, self.request.num_frames, FRAMES_A_READ):
            steps = range(first, min(first + FRAMES_A_READ, self.request.num_frames))
            numbers = [number for step in steps if (number := self.window.truth_number(step)) is not None]
            yield from self._read(numbers) if numbers else ()
            yield from [None] * (len(steps) - len(numbers))

    @torch.inference_mode()
    def steps(self, context: Tensor) -> Iterator[Step]:
        """Predict frame by frame from `context()`, with only one step in memory."""
        samples = [None] if self.request.num_samples is None else range(self.request.num_samples)
        shared = {
            predictor: None if self.request.num_samples is None
            else predictor.generator.stream_forward(self.request.num_frames)
            for predictor in self.predictors
        }  # fmt: skip
        streams = {
            name: [
                stream_rollout(
                    predictor.generator, context[None].to(predictor.device), self.request.num_frames,
                    predictor.noise(1, sample, self.request.seed), self.actions, self.states, shared[predictor],
                )
                for sample in samples
            ]
            for name, predictor in by_name(self.predictors).items()
        }  # fmt: skip
        for target in self._targets():
            yield Step(target, {name: torch.cat([next(one).cpu() for one in of]) for name, of in streams.items()})


def predict_video(
    prediction: VideoPrediction,
    output: Output,
    progress: bool = False,
    observe: Callable[[Iterable[Step]], Iterable[Step]] = iter,
) -> str:
    """Write a prediction.

    Args:
        prediction: The prediction.
        output: Where and how to write it.
        progress: Show a progress bar.
        observe: Passes on every predicted frame, for example to measure it.

    Returns:
        What was written, for people.

    Raises:
        VidpredError: The clip cannot be read, or the output cannot be written.
    """
    context = prediction.context()
    count = prediction.request.num_frames
    steps = tqdm(prediction.steps(context), desc="predict", total=count, unit="frame", disable=not progress)
    return write_prediction(output, context, observe(steps), count)
