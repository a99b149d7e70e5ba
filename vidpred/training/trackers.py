"""Experiment trackers: TensorBoard, Weights & Biases and Trackio, through Accelerate's classes."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from vidpred.errors import ConfigError, StorageError, install_extra, one_line
from vidpred.files import read_bytes, write_file
from vidpred.media.video_writer import write_video

PROJECT = "vidpred"  # in Weights & Biases and Trackio, unless WANDB_PROJECT or TRACKIO_PROJECT is set
ID_FILE = "tracker-id.txt"  # in the run folder: resumed runs continue the same curves
VIDEO_RATE = 4.0  # images per second


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError unless the packages of all trackers are installed."""
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(f"[training.trackers={name}] {name} is not installed; {install_extra(name)}")


class Trackers:
    """The trackers of a run. One that fails is left out, with one warning: no training ends because of it."""

    def __init__(
        self, names: Sequence[str], folder: Path, first_step: int, settings: Mapping[str, Any],
        warn: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Start the trackers.

        Args:
            names: Keys of `START`.
            folder: The run folder.
            first_step: Number of steps that are done already.
            settings: The run's settings by dotted key.
            warn: Prints a warning.
        """
        self._warn = warn
        self._open: dict[str, GeneralTracker] = {}
        for name in names:
            self._try(name, lambda name=name: self._start(name, folder, first_step, settings))  # type: ignore[misc]

    def _start(self, name: str, folder: Path, first_step: int, settings: Mapping[str, Any]) -> None:
        tracker = START[name](LOGGER_TYPE_TO_CLASS[name], folder, first_step)
        tracker.start()
        if name != "tensorboard":  # whose form for settings needs a separate log
            tracker.store_init_configuration(dict(settings))
        self._open[name] = tracker

    def _try(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._open.pop(name, None)
            self._warn(f"[training.trackers] {name} failed ({one_line(error)[:200]}); training continues without it")

    def _each(self, action: Callable[[str, GeneralTracker], None]) -> None:
        for name, tracker in list(self._open.items()):
            self._try(name, lambda name=name, tracker=tracker: action(name, tracker))  # type: ignore[misc]

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Log the values of a step that are floats, by name; others are left out."""
        numbers = {key: value for key, value in values.items() if isinstance(value, float)}
        self._each(lambda name, tracker: tracker.log(numbers, step=step))

    def log_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Log an image `(H, W, 3)` uint8 of a step under a name."""
        self._each(lambda kind, tracker: IMAGE[kind](tracker, name, image, step))

    def log_video(self, step: int, name: str, images: np.ndarray) -> None:
        """Log images `(T, H, W, 3)` uint8 of a step as a video under a name."""
        if not self._open:
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "video.gif"
            write_video(file, list(images), VIDEO_RATE)
            self._each(lambda kind, tracker: VIDEO[kind](tracker, name, file, step))

    def close(self) -> None:
        """Finish all trackers."""
        self._each(lambda name, tracker: tracker.finish())


def run_id(folder: Path) -> str:
    """Return the run's identifier in trackers, which the run folder stores."""
    file = folder / ID_FILE
    try:
        return read_bytes(file, 1 << 10).decode().strip()
    except (OSError, ValueError):
        found = secrets.token_hex(4)
        with suppress(StorageError):  # a resumed run then begins new curves
            write_file(file, f"{found}\n", "training goes on")
        return found


def _start_tensorboard(kind: Any, folder: Path, first_step: int) -> GeneralTracker:
    return kind("tensorboard", logging_dir=folder, purge_step=first_step + 1)


def _start_wandb(kind: Any, folder: Path, first_step: int) -> GeneralTracker:
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    return kind(project, name=folder.name, dir=str(folder), id=run_id(folder), resume="allow")


def _start_trackio(kind: Any, folder: Path, first_step: int) -> GeneralTracker:
    return kind(os.environ.get("TRACKIO_PROJECT", PROJECT), name=f"{folder.name}-{run_id(folder)}", resume="allow")


def _tensorboard_image(tracker: Any, name: str, image: np.ndarray, step: int) -> None:
    tracker.log_images({name: image[None]}, step=step, dataformats="NHWC")


def _wandb_image(tracker: Any, name: str, image: np.ndarray, step: int) -> None:
    tracker.log_images({name: [image]}, step=step)


def _trackio_image(tracker: Any, name: str, image: np.ndarray, step: int) -> None:
    import trackio

    tracker.log({name: trackio.Image(image)}, step=step)


def _tensorboard_video(tracker: Any, name: str, file: Path, step: int) -> None:
    """Log an animated image, as `add_video` does, which needs moviepy to encode it."""
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    with Image.open(file) as opened:
        width, height = opened.size
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=file.read_bytes())
    tracker.tracker._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)


def _wandb_video(tracker: Any, name: str, file: Path, step: int) -> None:
    import wandb

    tracker.log({name: wandb.Video(str(file), format="gif")}, step=step)


def _trackio_video(tracker: Any, name: str, file: Path, step: int) -> None:
    import trackio

    tracker.log({name: trackio.Video(str(file))}, step=step)


START = {"tensorboard": _start_tensorboard, "wandb": _start_wandb, "trackio": _start_trackio}
IMAGE = {"tensorboard": _tensorboard_image, "wandb": _wandb_image, "trackio": _trackio_image}
VIDEO = {"tensorboard": _tensorboard_video, "wandb": _wandb_video, "trackio": _trackio_video}
