"""What the parts of `benchmarks.gpu` share: the time left, the results, and small trainers with random batches."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from vidpred.checkpoint import RunFolder
from vidpred.config import Config, load_config
from vidpred.data.batch import Batch
from vidpred.data.build import build_source
from vidpred.data.sources import TrainingSamples, training_offsets
from vidpred.data.worlds.forking_ball import WorldWindows
from vidpred.files import write_file
from vidpred.models.build import build_discriminator, build_generator
from vidpred.training.trainer import Trainer
from vidpred.training.updates import TrainingParts

SMALL_MODELS: dict[str, dict[str, Any]] = {
    "multiscale": {"preset": "ucf101.yaml", "data.root": None, "model.size": "release",
                   "discriminator.size": "release"},
    "dcgan": {"preset": "dcgan_faces.yaml", "model.width": 32, "discriminator.width": 32},
    "film_unet": {"preset": "block_push.yaml"},
    "motion": {"preset": "motion.yaml", "data.root": None, "data.world.name": "moving_shapes", "data.size": 64,
               "data.crop_size": 64, "data.world.synthetic_share": 0},
}  # fmt: skip


class Clock:
    """The time limit of the whole run."""

    def __init__(self, minutes: float) -> None:
        self.begin, self.seconds = time.monotonic(), 60 * minutes

    @property
    def left(self) -> float:
        return self.begin + self.seconds - time.monotonic()

    def within(self, share: float) -> bool:
        """Return whether less than this share of the time is used."""
        return self.left > (1 - share) * self.seconds


class Results:
    """Figures as rows (name, value, unit), printed and written at once."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.about = folder / "gpu.json", about
        self.rows: list[dict[str, Any]] = []
        self._write()

    def add(self, name: str, value: float | str | bool, unit: str = "") -> None:
        self.rows.append({"name": name, "value": value, "unit": unit})
        shown = f"{value:,.4g}" if isinstance(value, float) else str(value)
        print(f"{name:<78} {shown:>12} {unit}", flush=True)
        self._write()

    def _write(self) -> None:
        write_file(self.file, json.dumps({**self.about, "rows": self.rows}, indent=1))


def choose_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def small_config(name: str) -> Config:
    """Return the config of a small model (a key of `SMALL_MODELS`), trained by plain SGD."""
    changes = dict(SMALL_MODELS[name])
    preset = changes.pop("preset")
    sgd = {"name": "sgd", "learning_rate": 1e-3}
    changes |= {"training.generator": sgd, "training.grad_clip_norm": None, "training.monitor_every": 0}
    config = load_config(preset, {"data.root": "-", **changes})
    if config.objective.has_discriminator:
        config = load_config(preset, {"data.root": "-", **changes, "training.discriminator": sgd})
    return config


def build_trainer(config: Config, device: torch.device, precision: str) -> Trainer:
    """Build a trainer of this config that reads no data; weights depend only on the seed."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if precision == "bfloat16" else "no")
    torch.manual_seed(0)
    generator = build_generator(config.model, config.data)
    discriminator = None
    if config.objective.has_discriminator:
        discriminator = build_discriminator(config.discriminator, config.model.num_scales, config.data)
    never_read = WorldWindows(config.data.model_copy(update={"context_frames": 4}), range(5), 100, 0)
    return Trainer(
        TrainingParts(
            seed=0, training=config.training, objective=config.objective, checkpoint=config.checkpoint, workers=0,
            timeout_seconds=0, folder=RunFolder("unused"), accelerator=accelerator,
            samples=TrainingSamples(never_read, 0), generator=generator, discriminator=discriminator, validate=None,
            unroll=config.data.unroll,
        )
    )  # fmt: skip


def random_batch(config: Config, count: int, side: int, device: torch.device) -> Batch:
    """Return uniform noise of the shapes that this config trains on; it depends only on the shapes."""
    random = torch.Generator().manual_seed(1)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random).to(device)

    data = config.data
    context = uniform(count, data.context_frames, data.channels, side, side)
    future = uniform(count, data.future_frames, data.channels, side, side)
    size = config.model.action_size
    actions = uniform(count, data.context_frames + data.future_frames - 1, size) * 2 - 1 if size else None
    return Batch(context, future, torch.arange(count, device=device), actions)


def check_batch(config: Config, count: int = 4) -> Batch:
    """Return clips of the embedded world for models of motion, else noise; on the CPU."""
    if config.data.world_settings.name == "moving_shapes":
        source = build_source(config.data, "train", training_offsets(config.data))
        return source.draw(list(range(count)), list(range(count)), 0).to(torch.device("cpu"))
    return random_batch(config, count, config.data.crop_size or 32, torch.device("cpu"))


def attempt(results: Results, name: str, call: Callable[[], object]) -> None:
    """Run a part; record its failure in the results and continue."""
    try:
        call()
    except Exception as error:
        traceback.print_exc()
        results.add(f"{name}: FAILED", f"{type(error).__name__}: {error}"[:200])
