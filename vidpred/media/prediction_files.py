"""Write a prediction as a folder of frames, a video, an image or an array: `vidpred.render`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from vidpred.data.batch import to_float
from vidpred.devices import is_null
from vidpred.errors import ConfigError, StorageError, counted
from vidpred.files import atomic_write, check_output, must_be_new, naming, publish
from vidpred.media.prediction_images import Step, bare_frames, composites, strip
from vidpred.media.render import image_grid, to_uint8, write_png
from vidpred.media.video_writer import exact_rate, write_video
from vidpred.processes.folder_lock import folder_lock
from vidpred.processes.temporary import temporary_path

Format = Literal["frames", "mp4", "gif", "png", "npy", "npz"]
FORMATS: tuple[str, ...] = get_args(Format)
SUFFIXES = tuple(f".{name}" for name in FORMATS[1:])
FRAME_FILE = re.compile(r"\d{4,}\.png")
UNUSUAL = re.compile(r"[^-.\w]+")  # in names of folders
GRID_COLUMNS = 10


@dataclass(frozen=True)
class Output:
    """Where and how to write a prediction.

    Attributes:
        path: The file, or the folder of frames.
        format: Folder of frames, or kind of file.
        bare: Whether a video or image shows only the predicted frames. Frames in a folder and arrays always do.
        rate: Frames per second of a video.
        overwrite: Whether to replace existing files.
    """

    path: Path
    format: Format
    bare: bool = False
    rate: float = 5.0
    overwrite: bool = False

    @classmethod
    def of(cls, path: str | Path, bare: bool = False, rate: float = 5.0, overwrite: bool = False) -> Output:
        """Choose the format by the name: a suffix of `SUFFIXES`, or a folder (an existing one, or without a suffix).

        Raises:
            ConfigError: The suffix is another, or the rate is out of range.
        """
        exact_rate(rate)
        if is_null(Path(path)):
            return cls(Path(path), "npz", bare, rate, overwrite)
        text, suffix = str(path), Path(path).suffix.lower()
        if text.endswith(("/", os.sep)) or not suffix or Path(path).is_dir():
            return cls(Path(path), "frames", bare, rate, overwrite)
        if suffix not in SUFFIXES:
            raise ConfigError(
                f"[--output {path}] unsupported suffix; choose one of {', '.join(SUFFIXES)}, or a folder: {path}/"
            )
        chosen: Any = suffix[1:]
        return cls(Path(path), chosen, bare, rate, overwrite)

    def check(self) -> None:
        """Check that the output can be written, before any long work. Raises ConfigError or StorageError."""
        if self.format != "frames":
            check_output(self.path, self.overwrite, "--output", (f".{self.format}",) if is_null(self.path) else None)
            return
        if self.path.exists() and not self.path.is_dir():
            raise StorageError(f"the output is a file, not a folder [{self.path}]; choose another --output")
        if self.path.is_dir() and not self.overwrite and _frame_files(self.path):
            raise _holds_frames(self.path)
        if self.path.is_dir():
            check_output(self.path / "0001.png", self.overwrite, "--output")
        else:
            check_output(self.path, self.overwrite, "--output")


def render(
    path: str | Path,
    prediction: Tensor | Mapping[str, Tensor],
    context: Tensor | None = None,
    future: Tensor | None = None,
    rate: float = 5.0,
    bare: bool = False,
    overwrite: bool = False,
) -> Path:
    """Render a prediction next to its ground truth.

    Args:
        path: What to write: a video (.mp4, .gif), a strip with a row of context, of ground truth and of each prediction
            (.png), an array (.npy, .npz), or a folder of the predicted frames.
        prediction: `(K, C, H, W)`, samples `(N, K, C, H, W)`, or several of these by name.
        context: `(T, C, H, W)`; None: not shown.
        future: The true frames, `(K, C, H, W)` or fewer; None: not known.
        rate: Frames per second of a video.
        bare: Show only the predicted frames.
        overwrite: Whether to replace existing files.

    Returns:
        The path.

    Raises:
        ValueError, TypeError: Frames are of different sizes, or not float in [0, 1] or uint8.
        ConfigError: The suffix is not known, or the format holds one prediction only.
        StorageError: The output exists or cannot be written.
    """
    named = prediction if isinstance(prediction, Mapping) else {"prediction": prediction}
    samples = {name: _frames(name, frames[None] if frames.ndim == 4 else frames, 5) for name, frames in named.items()}
    count, *shape = next(iter(samples.values())).shape[1:]
    past = torch.empty(0, *shape) if context is None else _frames("context", context, 4)
    true = torch.empty(0, *shape) if future is None else _frames("future", future, 4)
    sizes = {tuple(frames.shape[-3:]) for frames in (past, true, *samples.values())}
    counts = {frames.shape[1] for frames in samples.values()}
    if len(sizes) > 1 or len(counts) > 1 or len(true) > count:
        raise ValueError(f"frames (C, H, W) = {sorted(sizes)}, {sorted(counts)} predicted and {len(true)} true: all "
                         "must have one size, and all predictions one number of frames")  # fmt: skip
    steps = [
        Step(true[step] if step < len(true) else None, {name: frames[:, step] for name, frames in samples.items()})
        for step in range(count)
    ]
    output = Output.of(path, bare, rate, overwrite)
    write_prediction(output, past, steps, count)
    return output.path


def _frames(name: str, frames: Tensor, axes: int) -> Tensor:
    """Return frames as float32 in [0, 1] on the CPU. Raises ValueError or TypeError."""
    frames = torch.as_tensor(frames)
    if frames.ndim != axes or 0 in frames.shape[-4:] or frames.shape[-3] not in (1, 3):
        wanted = "(K, C, H, W)" if axes == 4 else "(K, C, H, W) or (N, K, C, H, W)"
        raise ValueError(f"{name} must be {wanted} with C = 1 or 3, not {tuple(frames.shape)}")
    values = to_float(frames).detach().cpu()
    if not (float(values.min()) >= -1e-3 and float(values.max()) <= 1.001):
        raise ValueError(f"{name} must lie in [0, 1], not [{values.min():g}, {values.max():g}]; divide by 255?")
    return values


def write_prediction(output: Output, context: Tensor, steps: Iterable[Step], num_frames: int) -> str:
    """Write a prediction; existing outputs stay as they are until it is complete.

    Args:
        output: Where and how.
        context: `(T, C, H, W)` in [0, 1]; T may be 0.
        steps: The predicted frames.
        num_frames: Their number.

    Returns:
        What was written, for people.

    Raises:
        ConfigError: The format holds one prediction only, and there are several.
        StorageError: The output exists or cannot be written.
    """
    output.check()
    writers: Mapping[str, Callable[[Output, Tensor, Iterable[Step], int], str]] = {
        "frames": _write_frames, "mp4": _write_video, "gif": _write_video, "png": _write_image, "npy": _write_array,
        "npz": _write_arrays,
    }  # fmt: skip
    return f"{output.path}: {writers[output.format](output, context, steps, num_frames)}"


def _only(output: Output, steps: Iterable[Step]) -> Iterator[Step]:
    """Return the steps of a single prediction. Raises ConfigError if there are several."""
    steps = iter(steps)
    first = next(steps)
    if len(first.labeled()) > 1:
        what = "--bare" if output.bare else f".{output.format}"
        raise ConfigError(
            f"{what} holds one prediction, here are {len(first.labeled())} [--output {output.path}]; write a folder or "
            ".npz, or predict with one run and without --samples"
        )
    return chain([first], steps)


LEGEND = "(context blue, true frames green, predictions orange)"


def _write_video(output: Output, context: Tensor, steps: Iterable[Step], num_frames: int) -> str:
    images = bare_frames(_only(output, steps)) if output.bare else composites(context, steps)
    count = write_video(output.path, images, output.rate, output.overwrite)
    return counted(count, "predicted frame") if output.bare else f"{counted(count, 'image')} {LEGEND}"


def _write_image(output: Output, context: Tensor, steps: Iterable[Step], num_frames: int) -> str:
    if output.bare:
        frames = torch.stack([frame for step in _only(output, steps) for _, frame in step.labeled()])
        write_png(output.path, image_grid(frames, min(num_frames, GRID_COLUMNS), 0))
        return f"{num_frames} predicted frames"
    image, left_out = strip(context, steps, num_frames)
    write_png(output.path, image)
    return f"{num_frames} predicted frames {LEGEND}" if not left_out else f"{left_out} {LEGEND}"


def _write_frames(output: Output, context: Tensor, steps: Iterable[Step], num_frames: int) -> str:
    """Write 0001.png, 0002.png, ...; several models or samples have one subfolder each."""
    steps = iter(steps)
    first = next(steps)
    labels = [label for label, _ in first.labeled()]
    folders = dict.fromkeys(labels, "")
    if len(labels) > 1:
        folders = {label: f"{number}-{UNUSUAL.sub('-', label)}/" for number, label in enumerate(labels, 1)}
    old = [file for place in folders.values() for file in _frame_files(output.path / place)]
    if old and not output.overwrite:
        raise _holds_frames(output.path)
    with _filled_folder(output.path, old, output.overwrite) as temporary:
        for number, step in enumerate(chain([first], steps), 1):
            for label, frame in step.labeled():
                write_png(temporary / f"{folders[label]}{number:04}.png", to_uint8(frame))
    return counted(num_frames, "predicted frame") + (f" in each of {len(folders)} folders" if len(folders) > 1 else "")


@contextmanager
def _filled_folder(folder: Path, old: Iterable[Path], overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder whose files replace the `old` ones of `folder` when the block succeeds.

    No other process may fill the folder meanwhile, or files that it writes would be mixed with these.
    """
    if not folder.is_dir():
        with atomic_write(folder) as temporary:
            yield temporary
        return
    temporary = temporary_path(folder / "frames")
    try:
        with folder_lock(folder, "choose another --output"), naming(temporary, folder):
            temporary.mkdir()
            yield temporary
            for file in old:
                file.unlink(missing_ok=True)
            for file in sorted(temporary.rglob("*.png")):
                target = folder / file.relative_to(temporary)
                target.parent.mkdir(exist_ok=True)
                if not overwrite:
                    must_be_new(target)
                publish(file, target)
    except OSError as error:
        raise StorageError(f"cannot write [{folder}]: {error.strerror or error}; choose another --output") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _frame_files(folder: Path) -> list[Path]:
    """Return the files of a folder that are named as `_write_frames` names them."""
    return [file for file in folder.glob("*.png") if FRAME_FILE.fullmatch(file.name)]


def _holds_frames(folder: Path) -> StorageError:
    return StorageError(f"the folder holds frames [{folder}]; add --overwrite or choose another --output")


def _write_array(output: Output, context: Tensor, steps: Iterable[Step], num_frames: int) -> str:
    frames = np.stack([frame.numpy() for step in _only(output, steps) for _, frame in step.labeled()])
    with atomic_write(output.path) as temporary:
        np.save(temporary, frames)
    return f"float32 {frames.shape} in [0, 1]"


def _write_arrays(output: Output, context: Tensor, steps: Iterable[Step], num_frames: int) -> str:
    """Write the arrays context, future (the true frames, where they exist) and the predictions, by model if several."""
    future: list[Tensor] = []
    frames: dict[str, list[Tensor]] = {}
    for step in steps:
        future += [] if step.target is None else [step.target]
        for name, samples in step.predictions.items():
            frames.setdefault(name, []).append(samples)
    arrays = {"context": context, **({"future": torch.stack(future)} if future else {})}
    for name, found in frames.items():
        stacked = torch.stack(found, 1)
        key = "prediction" if len(frames) == 1 else f"prediction {name}"
        arrays[key] = stacked[0] if len(stacked) == 1 else stacked
    with atomic_write(output.path) as temporary:
        np.savez_compressed(temporary, **{key: array.numpy() for key, array in arrays.items()})  # type: ignore[arg-type]
    return "float32 " + ", ".join(f"{key} {tuple(array.shape)}" for key, array in arrays.items())
