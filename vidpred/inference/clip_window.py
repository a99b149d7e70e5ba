"""The frames of a clip that a prediction uses: context, predicted frames, and rows of actions and states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidpred.data.videos.reader import VideoInfo
from vidpred.errors import UNREADABLE, ConfigError, DataError, counted, one_line
from vidpred.files import open_regular
from vidpred.inference.predictor import Predictor

CONTEXT_SHOWN = 8  # context frames rendered before the prediction


@dataclass(frozen=True)
class Window:
    """Context and predicted frames, as indices of the frames that data.video.fps keeps.

    Attributes:
        numbers: The context frames.
        stride: Distance between frames.
        first: The first predicted frame.
        frames: Number of frames in the video.
    """

    numbers: list[int]
    stride: int
    first: int
    frames: int

    def truth_number(self, step: int) -> int | None:
        """Return the target frame of prediction `step` (from 0); None beyond the video's end."""
        number = self.first + step * self.stride
        return number if number < self.frames else None


def choose_window(
    info: VideoInfo, frames: int, predictors: Sequence[Predictor], steps: int, start: int | None
) -> Window:
    """Choose the context and predicted frames of a video.

    Args:
        info: The video, for error messages.
        frames: Number of its frames that are kept.
        predictors: The runs.
        steps: Number of frames to predict.
        start: First frame to predict; None: hold out the video's last frames as ground truth, if it is long enough.

    Raises:
        DataError: The video is too short.
        ConfigError: The start is outside the video, or too few frames precede it.
    """
    stride, history = predictors[0].data.frame_skip, max(predictor.history_len for predictor in predictors)
    least = max(predictor.min_history_len for predictor in predictors)
    needed = (least - 1) * stride + 1
    if frames < needed:
        raise DataError(
            f"{counted(frames, 'frame')}, too few: the model needs {needed} as context [{info.path}]; use a longer clip"
        )
    if start is None:
        held_out = frames - steps * stride
        start = held_out if held_out >= needed - 1 + stride else frames - 1 + stride
    if not needed - 1 + stride <= start <= frames - 1 + stride:
        raise ConfigError(
            f"[--start {start}] must lie between {needed - 1 + stride} and {frames - 1 + stride}: "
            f"the video has {counted(frames, 'frame')} and the model needs {least} context frames"
        )
    shown = min(max(history, CONTEXT_SHOWN), (start - stride) // stride + 1)
    return Window([start - k * stride for k in range(shown, 0, -1)], stride, start, frames)


def read_actions(file: Path | None, predictors: Sequence[Predictor], window: Window, steps: int) -> Tensor | None:
    """Read the actions of a window, `(1, context - 1 + num_frames, A)`; None without a file.

    Args:
        file: .npy, `(n, A)`: row i leads from kept frame i of the video to frame i+1; with data.frame_skip n a model's
            action is n consecutive rows.
        predictors: The runs.
        window: The window.
        steps: Number of frames to predict.

    Raises:
        ConfigError: The file is missing or unexpected, or its actions have another size than the runs'.
        DataError: The file cannot be read or is too short.
    """
    moves = len(window.numbers) - 1 + steps
    first, last = window.numbers[0], window.numbers[0] + moves * window.stride
    sizes = {predictor.name: predictor.generator.action_size for predictor in predictors}
    rows = _read_rows(file, "actions", sizes, first, last)
    return None if rows is None else _fitting(rows.reshape(1, moves, -1), file, "actions", sizes)


def read_states(file: Path | None, predictors: Sequence[Predictor], window: Window) -> Tensor | None:
    """Read the states of a window's context frames, `(1, context, S)`; None without a file.

    Args:
        file: .npy, `(n, S)`: row i is the state of kept frame i of the video.
        predictors: The runs.
        window: The window.

    Raises:
        ConfigError, DataError: See `read_actions`.
    """
    first, last = window.numbers[0], window.numbers[-1] + 1
    sizes = {predictor.name: predictor.generator.state_size for predictor in predictors}
    rows = _read_rows(file, "states", sizes, first, last)
    return None if rows is None else _fitting(rows[None, :: window.stride], file, "states", sizes)


def _read_rows(file: Path | None, name: str, sizes: Mapping[str, int], first: int, last: int) -> Tensor | None:
    """Read rows first to last - 1 of a file of actions or states, `(last - first, values)`; `sizes` is by run."""
    takes = {run: size for run, size in sizes.items() if size}
    if file is None:
        for run, size in takes.items():
            raise ConfigError(
                f"{run} is conditioned on {name} of {size} values, and a video has none; add --{name} FILE.npy, one "
                "row a frame, or use vidpred evaluate"
            )
        return None
    try:
        with open_regular(file) as opened:
            rows = np.load(opened, allow_pickle=False)
        if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "biuf":
            raise ValueError("not one array of numbers")
    except UNREADABLE as error:
        raise DataError(f"cannot read an array ({one_line(error)[:80]}) [{file}]; write it with numpy.save") from None
    if not takes:
        raise ConfigError(f"[--{name} {file}] no run takes {name}; leave it out")
    if rows.ndim != 2 or len(rows) < last:
        end = last - (name == "states")
        raise DataError(f"{name} of shape {rows.shape}; frames {first} to {end} need {last} rows of values [{file}]")
    return torch.from_numpy(rows[first:last].astype(np.float32))


def _fitting(rows: Tensor, file: Path | None, name: str, sizes: Mapping[str, int]) -> Tensor:
    for run, size in sizes.items():
        if size not in (0, rows.shape[-1]):
            raise ConfigError(f"{run} takes {name} of {size} values, these have {rows.shape[-1]} [--{name} {file}]")
    return rows
