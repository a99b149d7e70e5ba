"""The main entry point of the library: load a run, predict frames."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from vidpred.checkpoint import Checkpoint, check_weights, find_checkpoint, load_weights, read_config
from vidpred.data.batch import to_float
from vidpred.data.recorded_splits import with_recorded_splits
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, StorageError, counted
from vidpred.inference.hub import SharedModel
from vidpred.models.base import as_generator
from vidpred.models.build import AnyModel, build_generator, names_with
from vidpred.models.conditions import Conditions
from vidpred.models.meta_device import meta_device
from vidpred.models.noise import draw_noise, seeded_noise
from vidpred.models.pyramid import as_pyramid
from vidpred.models.rollout import rollout
from vidpred.models.settings import ModelSettings


class Predictor(SharedModel):
    """A trained generator with its settings, for predicting frames, with the averaged weights of training."""

    def __init__(
        self, generator: nn.Module, data: DataSettings, name: str = "model", step: int = 0,
        classes: Sequence[str] = (), checkpoint: Checkpoint | None = None,
    ) -> None:  # fmt: skip
        """Wrap a generator.

        Args:
            generator: The generator.
            data: The run's data settings (sizes and splits).
            name: The run's name.
            step: The step of the checkpoint.
            classes: Names of the classes.
            checkpoint: The checkpoint of the weights, if any.
        """
        self.generator = as_generator(generator, data).eval()
        self.data, self.name, self.step, self.classes = data, name, step, list(classes)
        self.checkpoint = checkpoint

    @classmethod
    def load(
        cls,
        path: str | Path,
        checkpoint: str = "best",
        device: str = "auto",
        generator: nn.Module | None = None,
    ) -> Self:
        """Load a run.

        Args:
            path: "pretrained" (the shipped weights; "pretrained:NAME" for block_push or pusht), a run folder, or a
                checkpoint folder.
            checkpoint: The run folder's checkpoint: "best", "last" or "step-500".
            device: "cpu", "cuda" or "cuda:1"; "auto" is the GPU if there is one.
            generator: The module that the run was trained with, if it was not built from settings.

        Raises:
            StorageError: The checkpoint is absent, damaged or of another model.
            ConfigError: The device is unknown or absent.
        """
        place = choose_device(device)
        found = find_checkpoint(path, checkpoint)
        data, model = read_sections(found)
        if found.path.parent.name == "checkpoints":
            data = with_recorded_splits(data, found.path.parent.parent)
        if generator is None:
            if found.state.get("own_generator"):
                raise StorageError(
                    f"trained with a custom generator, {found.state['own_generator']} [{path}]; "
                    "add --generator package.module:NAME"
                )
            with meta_device():  # no memory for a network of another size than the weights
                check_weights(as_generator(build_generator(model, data), data), found.tensors("ema"), str(found.path))
            generator = build_generator(model, data)
        own = as_generator(generator, data)
        load_weights(own, found.tensors("ema"), str(found.path))
        classes = found.state.get("classes") or ()
        return cls(own.to(place), data, Path(path).name, found.step, classes, found)

    def __repr__(self) -> str:
        """Return the name, step, minimum number of context frames and device."""
        return (
            f"Predictor({self.name!r}, step={self.step}, min_history_len={self.min_history_len}, "
            f"device={str(self.device)!r})"
        )

    @property
    def device(self) -> torch.device:
        """The generator's device; the CPU for one without parameters."""
        return next((parameter.device for parameter in self.generator.parameters()), torch.device("cpu"))

    @contextmanager
    def on_cpu(self) -> Iterator[None]:
        """Move the generator to the CPU within a block."""
        device = self.device
        self.generator.cpu()
        try:
            yield
        finally:
            self.generator.to(device)

    @property
    def run_folder(self) -> Path | None:
        """The folder of the run; None for a generator that was not loaded from one."""
        folder = None if self.checkpoint is None else self.checkpoint.path.parent
        return folder.parent if folder is not None and folder.name == "checkpoints" else None

    @property
    def history_len(self) -> int:
        """Number of context frames that a prediction uses."""
        return self.generator.history_len

    @property
    def min_history_len(self) -> int:
        """Minimum number of context frames; most models need all."""
        return self.generator.min_history_len

    def predict(
        self,
        frames: Tensor | np.ndarray,
        num_frames: int,
        num_samples: int | None = None,
        seed: int | None = None,
        actions: Tensor | np.ndarray | None = None,
        states: Tensor | np.ndarray | None = None,
        sharpness: float | None = None,
    ) -> Tensor:
        """Predict the next `num_frames` frames, recursively beyond what the generator predicts at once.

        Args:
            frames: `(T, C, H, W)` or `(B, T, C, H, W)`, uint8 or float in [0, 1], any H and W;
                T >= min_history_len, of which the newest are used.
            num_frames: Number of future frames.
            num_samples: Number of futures to draw, each with its own noise, kept through all its frames. None: one,
                without noise where that is optional.
            seed: Makes sample i a function of (seed, i), however many are drawn. None: torch's random stream.
            actions: For a model that takes actions, `(T-1+num_frames, A)` or `(B, T-1+num_frames, A)` in the
                units of its data: row i leads from frame i to frame i+1, context first.
            states: For a model that takes states, `(T, S)` or `(B, T, S)`, those of the context frames; the model
                predicts the later ones.
            sharpness: For a model with an adjustable sharpness, from 0 (a blend of the possible futures: highest
                PSNR, blurred) to 1 (one sharp image). None: as `set_sharpness` or the model's settings left it.

        Returns:
            `(num_frames, C, H, W)` or `(B, num_frames, C, H, W)`, float32 in [0, 1] on the CPU; with num_samples
            `(num_samples, num_frames, C, H, W)` or `(B, num_samples, num_frames, C, H, W)`.

        Raises:
            ValueError, TypeError: A tensor has the wrong shape, type or range.
            ConfigError: num_samples is given and the model takes no noise.
        """
        if num_samples is not None:
            self.check_samples(num_samples)
        tensor = check_frames(frames, self.generator.channels, self.min_history_len)
        batched = to_float((tensor if tensor.dim() == 5 else tensor[None]).to(self.device))
        actions, states = (self._rows(values, tensor.dim() == 4) for values in (actions, states))
        # Samples share what does not depend on noise, such as the optical flow of the context.
        samples = [None] if num_samples is None else range(num_samples)
        forward = None if num_samples is None else self.generator.stream_forward(num_frames)
        with self._dialed(sharpness):
            futures = [
                rollout(self.generator, batched, num_frames, noise, actions, states, forward).cpu()
                for noise in (self.noise(len(batched), sample, seed) for sample in samples)
            ]
        future = futures[0] if num_samples is None else torch.stack(futures, 1)
        return future if tensor.dim() == 5 else future[0]

    def set_sharpness(self, sharpness: float) -> None:
        """Set the sharpness of all later predictions, see `predict`.

        Args:
            sharpness: In [0, 1].

        Raises:
            ValueError: The value is outside [0, 1].
            ConfigError: The model takes no sharpness.
        """
        if not 0 <= sharpness <= 1:
            raise ValueError(f"sharpness must lie in [0, 1], not {sharpness:g}")
        if self.generator.sharpness is None:
            raise ConfigError(
                f"{self.name} takes no sharpness [--sharpness {sharpness:g}]; leave it out, or use a run with "
                f"model.name={names_with('sharpness')} and no network that blends pixel values"
            )
        self.generator.sharpness = sharpness

    @contextmanager
    def _dialed(self, sharpness: float | None) -> Iterator[None]:
        before = self.generator.sharpness
        if sharpness is not None:
            self.set_sharpness(sharpness)
        try:
            yield
        finally:
            if sharpness is not None:
                self.generator.sharpness = before

    def _rows(self, values: Tensor | np.ndarray | None, one: bool) -> Tensor | None:
        """Convert actions or states to a batch on the model's device; `one` means that they are of a single clip."""
        if values is None:
            return None
        rows = torch.as_tensor(values, dtype=torch.float32, device=self.device)
        return rows[None] if one else rows

    def draw(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generate images from noise.

        Args:
            noise: `(B, noise_channels)`.
            labels: Classes `(B,)`, for a generator that takes labels.

        Returns:
            `(B, C, H, W)` float32 in [0, 1], on the CPU.

        Raises:
            ValueError: A shape does not match.
            ConfigError: The generator predicts frames.
        """
        if self.history_len:
            raise ConfigError(f"{self.name} predicts frames from context frames; use predict")
        conditions = Conditions(noise.to(self.device), labels=None if labels is None else labels.to(self.device))
        conditions.check(self.generator)
        context = self.generator.empty_context(len(noise), self.device)
        with torch.inference_mode():
            images = as_pyramid(self.generator(context, **conditions.generator_kwargs(self.generator, 0, 0)))[-1]
        return images[:, 0].float().clamp(0, 1).cpu()

    def noise(self, count: int, sample: int | None = None, seed: int | None = None) -> Tensor | None:
        """Return the noise `(count, noise_channels)` of a sample for `count` clips.

        None for a model without noise, for a single prediction where noise is optional, and otherwise without a seed
        (the rollout then draws it).

        Args:
            count: Number of clips.
            sample: The sample's number; None: a single prediction.
            seed: Makes noise a function of seed and sample. None: torch's random stream.
        """
        generator = self.generator
        if not generator.noise_channels or (sample is None and generator.noise_optional):
            return None
        if seed is None:
            return draw_noise(generator, count) if generator.noise_optional else None
        return seeded_noise(generator, count, seed, sample or 0)

    def check_predicts_frames(self) -> None:
        """Check that the generator predicts frames. Raises ConfigError for a generator of images."""
        if not self.history_len:
            raise ConfigError(
                f"{self.name} generates images from noise and predicts no frames [data.context_frames=0]; "
                "use vidpred sample --run RUN"
            )

    @property
    def draws_samples(self) -> bool:
        """Whether the model takes noise and uses it, so that its predictions of one context can differ.

        It is False at sharpness 0, whose blend does not depend on the noise.
        """
        return self.generator.noise_channels > 0 and self.generator.sharpness != 0

    def check_samples(self, num_samples: int) -> None:
        """Check a number of samples. Raises ValueError below 1, ConfigError if the model predicts only one future."""
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, not {num_samples}")
        if not self.generator.noise_channels:
            raise ConfigError(
                f"{self.name} takes no noise and predicts one future only [--samples {num_samples}]; leave it out, or "
                "use a run with model.noise_channels above 0"
            )
        if self.generator.sharpness == 0:
            raise ConfigError(
                f"at sharpness 0 {self.name} blends all futures into one [--samples {num_samples}]; raise the sharpness"
            )


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: The run folder.
        first_step: The step it resumed from; 0: from scratch.
        steps: Its last step.
        stopped_early: Whether early stopping ended it before `training.steps`.
    """

    folder: Path
    first_step: int
    steps: int
    stopped_early: bool = False

    def predictor(self, checkpoint: str = "best", generator: nn.Module | None = None) -> Predictor:
        """Load a predictor; for arguments see `Predictor.load`."""
        return Predictor.load(self.folder, checkpoint, generator=generator)


def read_sections(checkpoint: Checkpoint) -> tuple[DataSettings, ModelSettings]:
    """Read the data and model sections of a checkpoint's config. Raises StorageError."""

    def parse(tree: dict[str, Any]) -> tuple[DataSettings, ModelSettings]:
        return DataSettings.model_validate(tree["data"]), TypeAdapter(AnyModel).validate_python(tree["model"])

    return read_config(checkpoint.path, parse, "copy the run's config.yaml there")


def check_frames(frames: Tensor | np.ndarray, channels: int, needed: int) -> Tensor:
    """Convert frames for `predict` to a tensor with the same values. Raises ValueError or TypeError."""
    kind = "frames.transpose(0, 3, 1, 2)" if isinstance(frames, np.ndarray) else "frames.permute(0, 3, 1, 2)"
    if frames.ndim not in (4, 5):
        raise ValueError(f"frames must be (T, C, H, W) or (B, T, C, H, W), not {tuple(frames.shape)}")
    if 0 in (*frames.shape[:-4], *frames.shape[-2:]):
        raise ValueError(f"frames {tuple(frames.shape)} are empty; height and width must be 1 or more")
    if frames.shape[-3] != channels:
        if frames.shape[-1] == channels:
            swap = kind if frames.ndim == 4 else kind.replace("0, 3, 1, 2", "0, 1, 4, 2, 3")
            raise ValueError(f"frames {tuple(frames.shape)} are channels-last; pass {swap}")
        raise ValueError(f"frames {tuple(frames.shape)} have {frames.shape[-3]} channels; the model takes {channels}")
    if frames.shape[-4] < needed:
        raise ValueError(f"{counted(frames.shape[-4], 'frame')} given; the model needs at least {needed} to predict")
    tensor = torch.from_numpy(np.ascontiguousarray(frames)) if isinstance(frames, np.ndarray) else frames
    if tensor.is_floating_point():
        low, high = float(tensor.min()), float(tensor.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"float frames must lie in [0, 1], these in [{low:g}, {high:g}]; divide by 255?")
    elif tensor.dtype != torch.uint8:
        raise TypeError(f"frames must be uint8 in [0, 255] or float in [0, 1], not {tensor.dtype}")
    return tensor


def choose_device(name: str, setting: str = "device=") -> torch.device:
    """Return the torch device of a name.

    Args:
        name: "cpu", "cuda" or "cuda:1"; "auto" is the GPU if there is one.
        setting: Name of the setting in errors.

    Raises:
        ConfigError: The name is unknown or the GPU is absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"no such device [{setting}{name}]; choose from auto, cpu, cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"no GPU is available here [{setting}{name}]; use auto or cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"{torch.cuda.device_count()} GPUs are available, numbered from 0 [{setting}{name}]")
    return device
