"""The one visible place that builds everything and injects it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import nn

from vidpred.checkpoint import RunFolder
from vidpred.config import Config
from vidpred.config.unused_settings import refuse_ignored
from vidpred.data.build import build_source
from vidpred.data.sources import Source, TrainingSamples, evaluation_offsets, training_offsets
from vidpred.data.worlds.points import POINTS
from vidpred.errors import ConfigError, DataError, PeerError, VidpredError
from vidpred.evaluation.modes import coverage, draw_points
from vidpred.evaluation.protocols import (
    validation_numbers,
)
from vidpred.inference.predictor import Predictor, choose_device
from vidpred.models.base import as_generator
from vidpred.models.build import build_discriminator, build_generator
from vidpred.models.conditions import check_conditions
from vidpred.models.settings import JudgeSettings, ModelSettings
from vidpred.resume import prepare_folder, start_from
from vidpred.training.conditions import fit_conditions
from vidpred.training.fitting import Fitting
from vidpred.training.hardware import choose_precision
from vidpred.training.plan import describe_plan
from vidpred.training.trainer import Trainer, TrainingParts, Validate

PEER_TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True)
class Run:
    """A finished training: its folder, the step that it resumed from (0: from scratch) and its last step."""

    folder: Path
    first_step: int
    steps: int

    def predictor(self, checkpoint: str = "best", generator: nn.Module | None = None) -> Predictor:
        return Predictor.load(self.folder, checkpoint, generator=generator)


def train(config: Config, generator: nn.Module | None = None) -> Run:
    """Train, or resume where the run's folder left off; the same call again resumes.

    generator: a module of your own instead of the config's `model`: `(B, T, C, H, W)` in [0, 1] -> the coming frames
    `(B, K, C, H, W)` in [0, 1], or a list of them coarse to fine, each with half the resolution of the next (an
    adversary needs as many as model.scales). T, K and C are the config's.
    Raises the errors of `vidpred.errors`.
    """
    refuse_ignored(config)
    folder = RunFolder(config.run)
    own = None if generator is None else type(generator).__qualname__
    torch.manual_seed(config.seed)
    network = build_generator(config.model, config.data) if generator is None else as_generator(generator, config.data)
    if config.objective.num_samples > 1 and not network.noise_channels:
        raise ConfigError(
            f"[objective.num_samples={config.objective.num_samples}] the generator says no noise_channels, so all "
            "samples would be the same; give it that attribute and a second argument of forward, or set "
            "objective.num_samples=1"
        )
    discriminator = None
    if config.objective.has_discriminator:
        discriminator = build_discriminator(config.discriminator, config.model.num_scales, config.data)
    accelerator = build_accelerator(config, network.growing or (discriminator is not None and discriminator.growing))
    with all_or_none(accelerator), main_process_first(accelerator):  # one scans the videos, the others read its index
        train_source = build_source(config.data, "train", training_offsets(config.data), progress=True)
        check_classes(config, train_source)
        fit_conditions(network, train_source)
        validate = build_validation(config, accelerator)
        if accelerator.is_main_process:
            prepare_folder(folder, config)
        if config.training.init_from and not folder.steps():
            start_from(config.training.init_from, network, discriminator)
    parts = TrainingParts(
        seed=config.seed,
        training=config.training,
        objective=config.objective,
        checkpoint=config.checkpoint,
        workers=config.data.num_workers,
        timeout_seconds=config.data.timeout_seconds,
        folder=folder,
        accelerator=accelerator,
        samples=TrainingSamples(train_source, config.seed),
        generator=network,
        discriminator=discriminator,
        validate=validate,
        unroll=config.data.unroll,
        state={
            "own_generator": own,
            "processes": accelerator.num_processes,
            "classes": list(train_source.classes),
            "torch": torch.__version__,
        },
    )
    if network.fits_directly:
        first_step = Fitting(parts, network, held_out_pictures(config)).run()
    else:
        first_step = Trainer(parts).run()
    return Run(folder.path, first_step, config.training.steps)


def held_out_pictures(config: Config) -> Source | None:
    """The validation split; None where there is none."""
    try:
        return build_source(config.data, "validation", training_offsets(config.data))
    except DataError:
        return None


def build_accelerator(config: Config, growing: bool) -> Accelerator:
    """growing: whether early steps leave parameters of the networks unused. Raises ConfigError where a GPU is asked for
    and absent, or the batch cannot be shared out."""
    device = choose_device(config.training.device, "training.device=")
    precision = choose_precision(config.training.precision, device)
    # Accelerate refuses another precision than that of this process's first run; processes stay connected.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision="bf16" if precision == "bfloat16" else "no",
        kwargs_handlers=[
            DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=growing),
            InitProcessGroupKwargs(timeout=PEER_TIMEOUT),
        ],
    )
    if config.training.batch_size % accelerator.num_processes:
        raise ConfigError(
            f"[training.batch_size] {config.training.batch_size} samples cannot be shared equally by "
            f"{accelerator.num_processes} processes; choose a multiple"
        )
    return accelerator


@contextmanager
def main_process_first(accelerator: Accelerator) -> Iterator[None]:
    """Within, the main process goes first and the others wait for it; its failure does not leave them waiting."""
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
    try:
        yield
    finally:
        if accelerator.is_main_process:
            accelerator.wait_for_everyone()


@contextmanager
def all_or_none(accelerator: Accelerator) -> Iterator[None]:
    """Where the block fails on one process, it fails on all of them: none is left waiting for the others."""
    failure: VidpredError | None = None
    try:
        yield
    except VidpredError as error:
        failure = error
    code = torch.tensor(failure.exit_code if failure else 0, device=accelerator.device)
    if accelerator.num_processes > 1:
        code = accelerator.gather(code[None]).max()
    if failure is not None:
        raise failure
    if int(code):
        raise PeerError(int(code))


def check_classes(config: Config, source: Source) -> None:
    """Raises ConfigError where a network is told of classes that the data does not have."""
    classes = len(source.classes)
    networks: dict[str, ModelSettings | JudgeSettings] = {"model": config.model}
    if config.objective.has_discriminator:
        networks["discriminator"] = config.discriminator
    for section, network in networks.items():
        if network.num_labels and network.num_labels != classes:
            raise ConfigError(
                f"[{section}.num_labels={network.num_labels}] the data has {classes or 'no'} classes [{source.name}]; "
                f"set {section}.num_labels={classes}"
            )
        if network.num_labels and config.data.labelled is not None:
            raise ConfigError(
                f"[data.labelled={config.data.labelled}] hides classes that {section}.num_labels tells the network; "
                f"leave it out or set {section}.num_labels=0"
            )
    known = config.discriminator.num_classes
    if config.objective.adversary.class_weight and not 0 < classes <= known:
        raise ConfigError(
            f"[discriminator.classes={known}] the data has {classes or 'no'} classes [{source.name}]; "
            + (
                f"set discriminator.classes={classes}"
                if classes
                else "set objective.adversarial.class_weight=0, or use labelled data"
            )
        )


def build_validation(config: Config, accelerator: Accelerator) -> Validate | None:
    """What measures the averaged weights on the validation split; None where that split has no window, or there are no
    known frames to predict from."""
    if not config.data.context_frames:
        world = POINTS.get(config.data.world_settings.name) if config.data.root is None else None
        return None if world is None else lambda generator: asdict(coverage(draw_points(generator), world))
    steps = config.data.lead - 1 + config.data.future_frames
    try:
        source = build_source(config.data, "validation", evaluation_offsets(config.data, steps))
    except DataError as error:
        if accelerator.is_main_process:
            print(f"vidpred: warning: training without validation: {error}", file=sys.stderr)
        return None
    windows = config.training.validation_windows
    return lambda generator: validation_numbers(generator, source, windows, accelerator.device)


def plan(config: Config) -> str:
    """What `train` would do, without doing it: sizes, parameters, steps, memory."""
    refuse_ignored(config)
    device = choose_device(config.training.device, "training.device=")
    source = build_source(config.data, "train", training_offsets(config.data), progress=True)
    with torch.device("meta"):
        generator = build_generator(config.model, config.data)
        discriminator = (
            build_discriminator(config.discriminator, config.model.num_scales, config.data)
            if config.objective.has_discriminator
            else None
        )
    check_conditions(generator, source)
    sample = source.window(0).shape
    side = None if config.data.has_points else config.data.crop_size
    height, width = (side, side) if side else sample[1:3]
    return "\n".join(
        [
            f"data        {source.name}: {len(source)} training windows, whole frames {sample[2]}x{sample[1]}",
            *describe_plan(
                generator, discriminator, config.training, config.data, (height, width), device,
                choose_precision(config.training.precision, device), config.objective.num_samples,
            ),
            f"run folder  {config.run}, a checkpoint every {config.checkpoint.every} steps",
        ]
    )  # fmt: skip
