"""The library's front door: load a run, predict frames."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from vidpred.checkpoint import Checkpoint, find_checkpoint, load_weights, read_config
from vidpred.data.batch import to_float
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, StorageError
from vidpred.models.base import as_generator
from vidpred.models.build import AnyModel, build_generator
from vidpred.models.conditions import Conditions
from vidpred.models.noise import seeded_noise
from vidpred.models.pyramid import as_pyramid
from vidpred.models.rollout import rollout
from vidpred.models.settings import ModelSettings


class Predictor:
    """A trained generator with its settings, for predicting frames. Weights are the moving average of training."""

    def __init__(
        self, generator: nn.Module, data: DataSettings, name: str = "model", step: int = 0,
        classes: Sequence[str] = (), checkpoint: Checkpoint | None = None,
    ) -> None:  # fmt: skip
        """data: the run's data settings (its sizes and splits); classes: their names; checkpoint: where its weights are
        from, if from one, and step: that one's."""
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
        """Load a run folder's checkpoint ("best", "last" or "step-500"), or a checkpoint folder itself.

        device: "auto" takes the GPU where there is one. generator: the module that the run was trained with, where it
        was not built from settings. Raises StorageError (absent, damaged, another model's) and ConfigError.
        """
        place = choose_device(device)
        found = find_checkpoint(path, checkpoint)
        data, model = read_sections(found)
        if generator is None:
            if found.state.get("own_generator"):
                raise StorageError(
                    f"trained with a generator of your own, {found.state['own_generator']} [{path}]; "
                    "pass it: Predictor.load(run, generator=my_module)"
                )
            generator = build_generator(model, data)
        own = as_generator(generator, data)
        load_weights(own, found.tensors("ema"), str(found.path))
        classes = found.state.get("classes") or ()
        return cls(own.to(place), data, Path(path).name, found.step, classes, found)

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def history_len(self) -> int:
        """How many known frames a prediction is made from."""
        return self.generator.history_len

    @property
    def min_history_len(self) -> int:
        """How many it needs at least; most models need all."""
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
            num_samples: Number of futures to draw, each with its own noise, kept through all its frames. None: one.
            seed: Makes sample i a function of (seed, i), however many are drawn. None: torch's random stream.
            actions: For a model that takes actions, `(T-1+num_frames, A)` or `(B, T-1+num_frames, A)` in the
                units of its data: row i leads from frame i to frame i+1, context first.
            states: For a model that takes states, `(T, S)` or `(B, T, S)`, those of the context frames; the model
                predicts the later ones.
            sharpness: For a model with this dial, from 0 (a blend of pixel values: highest PSNR, blurred) to 1 (one
                warp along a blended path: sharp). None: as `set_sharpness` or the model's settings left it.

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
        moves, known = (self._rows(values, tensor.dim() == 4) for values in (actions, states))
        with self._dialed(sharpness):
            futures = [
                rollout(self.generator, batched, num_frames, self.noise(len(batched), sample, seed), moves, known).cpu()
                for sample in range(num_samples or 1)
            ]
        future = futures[0] if num_samples is None else torch.stack(futures, 1)
        return future if tensor.dim() == 5 else future[0]

    def set_sharpness(self, sharpness: float, setting: str = "sharpness=") -> None:
        """Turn the dial of a model that has one, for all predictions from here on: see `predict`.

        Raises ValueError outside [0, 1], ConfigError where the model has none.
        """
        if not 0 <= sharpness <= 1:
            raise ValueError(f"sharpness must lie in [0, 1], not {sharpness:g}")
        if self.generator.sharpness is None:
            raise ConfigError(
                f"{self.name} has no dial for sharpness [{setting}{sharpness:g}]; leave it out, or use a run with "
                "model.name=motion and model.refine=false"
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
        """Actions or states as a batch on the model's device; one: they are of a single clip."""
        if values is None:
            return None
        rows = torch.as_tensor(values, dtype=torch.float32, device=self.device)
        return rows[None] if one else rows

    def draw(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images of a generator that knows no frames: noise `(B, noise_channels)`, labels `(B,)` -> `(B, C, H, W)`
        float32 in [0, 1], on the CPU. Raises ValueError for other shapes, ConfigError for a generator of frames."""
        if self.history_len:
            raise ConfigError(f"{self.name} predicts frames from known ones; use predict")
        conditions = Conditions(noise.to(self.device), labels=None if labels is None else labels.to(self.device))
        conditions.check(self.generator)
        context = self.generator.empty_context(len(noise), self.device)
        with torch.inference_mode():
            images = as_pyramid(self.generator(context, **conditions.generator_kwargs(self.generator, 0, 0)))[-1]
        return images[:, 0].float().clamp(0, 1).cpu()

    def noise(self, count: int, sample: int = 0, seed: int | None = None) -> Tensor | None:
        """The noise of sample number `sample`, for `count` clips: `(count, noise_channels)`; None for a model that
        takes none, and without a seed (it is then drawn in the rollout)."""
        if seed is None or not self.generator.noise_channels:
            return None
        return seeded_noise(self.generator, count, seed, sample)

    def check_predicts_frames(self) -> None:
        """Raises ConfigError for a generator of images, which predicts no frames."""
        if not self.history_len:
            raise ConfigError(
                f"{self.name} makes images from noise and predicts no frames [data.context_frames=0]; "
                "use vidpred sample --run RUN"
            )

    def check_samples(self, num_samples: int, setting: str = "samples=") -> None:
        """Raises ValueError below 1, ConfigError where the model can only predict one future."""
        if num_samples < 1:
            raise ValueError(f"samples must be at least 1, not {num_samples}")
        if not self.generator.noise_channels:
            raise ConfigError(
                f"{self.name} takes no noise and predicts one future only [{setting}{num_samples}]; leave it out, or "
                "use a run with model.noise_channels above 0 (forking_ball_samples.yaml)"
            )


def load_predictors(
    runs: Sequence[Path], checkpoint: str = "best", device: str = "auto", sharpness: float | None = None
) -> list[Predictor]:
    """Load several runs onto one device; see `Predictor.load` and `set_sharpness`. Errors name the options."""
    choose_device(device, "--device ")
    predictors = [Predictor.load(run, checkpoint, device) for run in runs]
    for predictor in predictors:
        if sharpness is not None:
            predictor.set_sharpness(sharpness, "--sharpness ")
    return predictors


def check_same_frames(predictors: Sequence[Predictor], mend: str) -> None:
    """Check that several runs take the same frames of a video. Raises ConfigError that ends with `mend`."""
    for key in ("channels", "frame_skip", "video.fps"):
        read = attrgetter(key.replace("video.", "video_settings."))
        found = sorted({read(predictor.data) for predictor in predictors}, key=str)
        if len(found) > 1:
            raise ConfigError(f"the runs differ in their frames [data.{key}: {found}]; {mend}")


def read_sections(checkpoint: Checkpoint) -> tuple[DataSettings, ModelSettings]:
    """The data and model sections of a checkpoint's config. Raises StorageError."""

    def parse(tree: dict[str, Any]) -> tuple[DataSettings, ModelSettings]:
        return DataSettings.model_validate(tree["data"]), TypeAdapter(AnyModel).validate_python(tree["model"])

    return read_config(checkpoint.path, parse, "copy the run's config.yaml there")


def check_frames(frames: Tensor | np.ndarray, channels: int, needed: int) -> Tensor:
    """`predict`'s frames as a tensor, unchanged in values. Raises ValueError or TypeError."""
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
        raise ValueError(f"{frames.shape[-4]} frames given; the model needs at least {needed} to predict")
    tensor = torch.from_numpy(np.ascontiguousarray(frames)) if isinstance(frames, np.ndarray) else frames
    if tensor.is_floating_point():
        low, high = float(tensor.min()), float(tensor.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"float frames must lie in [0, 1], these in [{low:g}, {high:g}]; divide by 255?")
    elif tensor.dtype != torch.uint8:
        raise TypeError(f"frames must be uint8 in [0, 255] or float in [0, 1], not {tensor.dtype}")
    return tensor


def choose_device(name: str, setting: str = "device=") -> torch.device:
    """The torch device: "cpu", "cuda", "cuda:1"; "auto" is the GPU where there is one. setting: what errors name.

    Raises ConfigError for another name and for a GPU that is absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ConfigError(f"no such device [{setting}{name}]; choose from auto, cpu, cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"no GPU is available here [{setting}{name}]; use auto or cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"there are {torch.cuda.device_count()} GPUs here, numbered from 0 [{setting}{name}]")
    return device
