"""Predict the continuation of a video file and render it, one image at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vidpred.data.videos.frame_rate import kept_frames
from vidpred.data.videos.index import usable
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import VideoInfo, read_frames, scaled_size
from vidpred.errors import ConfigError, DataError
from vidpred.inference.clip_window import Window, choose_window, read_actions, read_states
from vidpred.inference.predictor import Predictor, check_same_frames
from vidpred.media.render import Panel, compose, error_map, stack
from vidpred.media.video_writer import write_video
from vidpred.models.rollout import stream_rollout

FRAMES_A_READ = 16  # a read starts at a keyframe, so reading single frames would decode the same frames repeatedly
REMEDY = "re-encode it (ffmpeg -i IN OUT.mp4) or use another clip"
PANELS_A_ROW = 5  # with samples


@contextmanager
def remedied() -> Iterator[None]:
    """Add a remedy to errors about the clip that have none."""
    try:
        yield
    except DataError as error:
        reason, bracket, rest = str(error).rpartition(" [")
        if ";" in reason or not bracket:
            raise
        remedy = "check its path" if reason.startswith("cannot read the file") else REMEDY
        raise DataError(f"{reason} [{rest}; {remedy}") from None


def check_agreement(request: PredictRequest, predictors: Sequence[Predictor]) -> None:
    """Check that all predictors take the same frames, and support samples if requested. Raises ConfigError."""
    for predictor in predictors:
        predictor.check_predicts_frames()
        if request.num_samples is not None:
            predictor.check_samples(request.num_samples, "--samples ")
    check_same_frames(predictors, "render them one by one")
    if request.size is None and len({predictor.data.size for predictor in predictors}) > 1:
        raise ConfigError("the runs differ in data.size; give --size, or render them one by one")


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


@dataclass(frozen=True)
class VideoPrediction:
    """The rendered images of one prediction: context frames, then ground truth, predictions and errors."""

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
        """Scan the clip and choose the frames to predict. Raises vidpred's errors."""
        check_agreement(request, predictors)
        data = predictors[0].data
        with remedied():
            info = probe(request.clip, limits=data.limits)
        if info.notes:
            print(f"vidpred: warning: {usable(info)} [{request.clip}]", file=sys.stderr)
        kept = kept_frames(info, data.video_settings.fps)
        short_side = data.size if request.size is None else (request.size or None)
        start = len(kept) - 1 + data.frame_skip if request.after_end else request.start
        window = choose_window(info, len(kept), predictors, request.num_frames, start)
        return cls(
            request, predictors, info, kept, scaled_size(info.height, info.width, short_side), window,
            read_actions(request.actions, predictors, window, request.num_frames),
            read_states(request.states, predictors, window),
        )  # fmt: skip

    def describe(self) -> str:
        """Return a line about the chosen frames."""
        window, last = self.window, self.window.first + (self.request.num_frames - 1) * self.window.stride
        held_out = window.truth_number(self.request.num_frames - 1) is not None
        return (
            f"{len(self.kept)} frames, context {window.numbers[0]}-{window.numbers[-1]}, "
            f"predicted {window.first}-{last} at {self.size[1]}x{self.size[0]}, "
            f"{'with ground truth' if held_out else 'no ground truth beyond the end of the clip'}"
        )

    def _read(self, numbers: Sequence[int]) -> Tensor:
        kept = [self.kept[number] for number in numbers]
        with remedied():
            frames = read_frames(self.request.clip, self.info, kept, self.size, self.predictors[0].data.channels)
        return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255

    def images(self) -> Iterator[np.ndarray]:
        """Render the images, uint8 `(H, W, 3)`, with only the context frames and one step in memory."""
        context = self._read(self.window.numbers)
        names = [predictor.name for predictor in self.predictors]
        maps = [f"{'error' if self.request.num_samples is None else 'spread'} {name}" for name in names]
        for index, frame in enumerate(context):
            ago = len(context) - 1 - index
            panels = [Panel("context", frame, "context"), *(Panel(name, frame, "context") for name in self._labels())]
            panels += [Panel(name, torch.zeros(3, *self.size), "error") for name in maps]
            yield self._compose(panels, "context, frame t" + (f"-{ago}" if ago else ""))
        yield from self._predicted(context, names)

    def _labels(self) -> list[str]:
        """Return the labels of the predictions: the run's name, with the number of the sample if there are several."""
        names = [predictor.name for predictor in self.predictors]
        if self.request.num_samples is None:
            return names
        return [f"{name} #{sample}" for name in names for sample in range(1, self.request.num_samples + 1)]

    def _compose(self, panels: list[Panel], caption: str) -> np.ndarray:
        """Compose panels in one row, or several rows with samples."""
        if self.request.num_samples is None:
            return compose(panels, caption=caption)
        rows = [panels[first : first + PANELS_A_ROW] for first in range(0, len(panels), PANELS_A_ROW)]
        return stack([*(compose(row) for row in rows[:-1]), compose(rows[-1], caption=caption)])

    def _truths(self) -> Iterator[Tensor | None]:
        """Yield the true frame of every step, None beyond the end, reading a few at a time."""
        for first in range(0, self.request.num_frames, FRAMES_A_READ):
            steps = range(first, min(first + FRAMES_A_READ, self.request.num_frames))
            numbers = [number for step in steps if (number := self.window.truth_number(step)) is not None]
            yield from self._read(numbers) if numbers else ()
            yield from [None] * (len(steps) - len(numbers))

    @torch.inference_mode()
    def _predicted(self, context: Tensor, names: Sequence[str]) -> Iterator[np.ndarray]:
        streams = [
            stream_rollout(
                predictor.generator,
                context[None].to(predictor.device),
                self.request.num_frames,
                noise,
                self.actions,
                self.states,
            )
            for predictor in self.predictors
            for noise in (
                predictor.noise(1, sample, self.request.seed) for sample in range(self.request.num_samples or 1)
            )
        ]
        truths, labels = self._truths(), self._labels()
        for step in range(self.request.num_frames):
            truth = next(truths)
            predictions = [next(stream)[0].cpu() for stream in streams]
            panels = [Panel("truth", truth, "truth")]
            panels += [Panel(name, frame, "prediction") for name, frame in zip(labels, predictions, strict=True)]
            for name, frames in zip(names, torch.stack(predictions).chunk(len(names)), strict=True):
                panels.append(self._map(name, frames, truth))
            yield self._compose(panels, f"predicted, frame t+{step + 1}")

    def _map(self, name: str, predictions: Tensor, truth: Tensor | None) -> Panel:
        """Map the error of a run's prediction, or the standard deviation of its samples `(N, C, H, W)`."""
        if self.request.num_samples is not None:
            std = predictions.std(0, correction=0)
            return Panel(f"spread {name}", error_map(std, torch.zeros_like(std)), "error")
        return Panel(f"error {name}", None if truth is None else error_map(predictions[0], truth), "error")


def predict_video(
    prediction: VideoPrediction, output: Path, rate: float, overwrite: bool = False, progress: bool = False
) -> int:
    """Write the prediction as .mp4, .gif or .png (a strip); return the number of images. Raises vidpred's errors."""
    total = len(prediction.window.numbers) + prediction.request.num_frames
    images = tqdm(prediction.images(), desc="predict", total=total, unit="frame", disable=not progress)
    return write_video(output, images, rate, overwrite)
