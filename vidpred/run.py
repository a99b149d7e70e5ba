"""Building and running a training from a config: the place where all parts are put together."""

from __future__ import annotations

import io
import math
import tempfile
import warnings
from contextlib import ExitStack, redirect_stderr, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin, InitProcessGroupKwargs
from torch import nn

from vidpred.checkpoint import RunFolder, find_checkpoint
from vidpred.config import Config
from vidpred.config.unused_settings import report_unused
from vidpred.data.build import build_source, record_splits
from vidpred.data.files_unchanged import files_unchanged
from vidpred.data.recorded_splits import FILE, RecordedSplits, warn_if_unrecorded, warn_of_files, with_recorded_splits
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, TrainingSamples, training_offsets
from vidpred.errors import ConfigError, DataError, counted, lacks_memory, one_line
from vidpred.inference.predictor import Run, choose_device
from vidpred.models.base import Discriminator, Generator, as_generator
from vidpred.models.build import build_discriminator, build_generator, count_parameters
from vidpred.models.conditions import check_conditions
from vidpred.models.meta_device import meta_device
from vidpred.processes.folder_lock import folder_lock
from vidpred.processes.parent_watch import SAVE_SECONDS, end_with_parent, has_peers, started_by_launcher
from vidpred.processes.streams import protected_streams
from vidpred.processes.temporary import remove_leftovers
from vidpred.resume import check_resumed, init_from, prepare_folder
from vidpred.settings import Reads, flatten, recording
from vidpred.training.accumulation import check_accumulation
from vidpred.training.diagnosis import diagnose
from vidpred.training.direct_fit import Fitting
from vidpred.training.fit_normalizers import check_classes, fit_conditions
from vidpred.training.hardware import choose_precision
from vidpred.training.peers import Peers
from vidpred.training.plan import describe_plan, describe_times, estimate_memory, free_memory, networks_of
from vidpred.training.processes_agree import all_or_none, check_data_of_processes, main_process_first
from vidpred.training.rehearsal import check_world_size, rehearse, rehearse_data
from vidpred.training.settings import TrainingSettings
from vidpred.training.trackers import check_trackers
from vidpred.training.trainer import Trainer
from vidpred.training.updates import TrainingParts
from vidpred.training.validation import VALIDATION, build_validation, held_out_images, validation_settings

MEASURED_SECONDS = 5.0  # of steps, for the estimate of a dry run
BETWEEN_PROCESSES = ("peer_timeout_seconds",)  # settings of the training that a single process does not use


def train(config: Config, generator: nn.Module | None = None) -> Run:
    """Train a model; the same call resumes a stopped run.

    Args:
        config: The settings.
        generator: A custom module instead of the config's `model`: `(B, T, C, H, W)` in [0, 1] -> the future frames
            `(B, K, C, H, W)` in [0, 1], or a list of them coarse to fine, each with half the resolution of the next
            (an adversary needs model.scales of them). T, K and C are the config's.

    Raises:
        VidpredError: One of the errors in `vidpred.errors`.
    """
    if started_by_launcher():  # of a script that calls this function
        end_with_parent(SAVE_SECONDS)
    with (
        protected_streams(),
        Peers(Path(config.run), config.training.peer_timeout_seconds) as peers,
        ExitStack() as held,
    ):
        with recording(config) as reads:
            trainer = build(config, generator, reads, peers, held)
        RunFolder(config.run).remember()  # in every process; the main one created it
        return Run(Path(config.run), *trainer.run())


def build(
    config: Config, generator: nn.Module | None, reads: Reads, peers: Peers, held: ExitStack
) -> Trainer | Fitting:
    """Build everything that a training needs, and write the run's folder. Raises VidpredError.

    Args:
        config: The settings.
        generator: A custom generator; None: the config's `model`.
        reads: The recording of the settings that are read.
        peers: The other processes, which are connected here.
        held: Receives the lock of the run folder, to be held as long as the training runs.
    """
    folder = RunFolder(config.run)
    check_memory(config, generator)
    torch.manual_seed(config.seed)
    network, discriminator = build_networks(config, generator)
    accelerator = build_accelerator(config, (network, discriminator), peers.timeout_seconds)
    peers.connect(accelerator)
    with all_or_none(accelerator), main_process_first(accelerator), files_unchanged():  # one scans, others read
        data = with_recorded_splits(config.data, folder.path) if folder.steps() else config.data
        train_source = build_source(data, "train", training_offsets(data), progress=True)
        check_classes(train_source, config.data, config.objective, config.model, config.discriminator)
        fit_conditions(network, train_source)
        validate = build_validation(data, config.training, accelerator)
        report_unused(config, read_by_run(config, network, discriminator, reads), accelerator.is_main_process)
        if accelerator.is_main_process:
            claim_folder(folder, config, data, reads, held)
        if config.training.init_from and not folder.steps():
            init_from(config.training.init_from, network, discriminator)
    check_data_of_processes(accelerator, train_source, config.data.sharded)
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
        progress=peers.progress,
        diagnose=partial(diagnose, settings=config),
        unroll=config.data.unroll,
        settings=dict(flatten(config.model_dump(mode="json"))),
        state=run_state(generator, accelerator.num_processes, train_source),
    )
    return Fitting(parts, network, held_out_images(config.data)) if network.fits_directly else Trainer(parts)


def run_state(generator: nn.Module | None, processes: int, source: Source) -> dict[str, Any]:
    """Return the entries of every checkpoint's state.json that describe the run.

    Args:
        generator: The custom generator that is trained; None: that of the settings.
        processes: Number of processes.
        source: The training data.
    """
    return {
        "own_generator": None if generator is None else type(generator).__qualname__,
        "processes": processes,
        "classes": list(source.classes),
        "frame_size": source.frame_size,
        "action_bounds": source.action_bounds,
        "action_names": list(source.action_names),
        "torch": torch.__version__,
    }


def claim_folder(folder: RunFolder, config: Config, data: DataSettings, reads: Reads, held: ExitStack) -> None:
    """Lock the run folder and write settings and splits, or check that they continue the same run.

    Args:
        folder: The run's folder.
        config: The settings.
        data: The data that the run uses.
        reads: The recording of the settings that are read.
        held: Receives the lock.

    Raises:
        InUseError: Another training uses the folder.
        ConfigError: See `prepare_folder`.
        StorageError: The folder cannot be written.
    """
    folder.create()
    exclusive = held.enter_context(folder_lock(folder.path, "choose another run="))
    remove_leftovers(folder.checkpoints, exclusive)
    splits = None if folder.steps() or data.sharded else record_splits(data)
    if splits is None and not data.sharded:
        warn_if_unrecorded(data, str(folder.path))
    prepare_folder(folder, config, reads.keys)
    with suppress(OSError):
        (folder.path / "exit.json").unlink(missing_ok=True)  # of the previous training
    if splits is not None:
        splits.write(folder.path / FILE)
        splits.warn_of_duplicates(Path(str(data.root)))
        if config.training.init_from:
            warn_of_inherited(splits, config.training.init_from, Path(str(data.root)))


def warn_of_inherited(splits: RecordedSplits, other: str, root: Path) -> None:
    """Warn about validation and test data that the weights of another run were trained on.

    Args:
        splits: The splits of the new run.
        other: Run or checkpoint folder that the initial weights come from.
        root: Folder of the data.
    """
    folder = find_checkpoint(other).path.parent
    before = RecordedSplits.read(folder.parent / FILE) if folder.name == "checkpoints" else None
    if before is not None:
        names = splits.held_out_of(before.trained_ranges())
        warn_of_files(names, f"in validation or test ({len(names):,}) and in the training data of {other}", root)


def read_by_run(config: Config, network: Generator, discriminator: Discriminator | None, reads: Reads) -> set[str]:
    """Return the keys of all settings that a run reads: those read so far, and those that its loop will read.

    Args:
        config: The settings.
        network: The generator.
        discriminator: The discriminator; None: none.
        reads: The recording so far, which is extended.

    Raises:
        ConfigError: See `check_world_size` and `check_trackers`.
    """
    check_world_size(config.data, config.objective)
    check_trackers(config.training.trackers)
    reads.handed_over(config, ("seed", "run"))
    reads.handed_over(config.training, BETWEEN_PROCESSES if has_peers() else ())
    used = (
        "num_workers",
        *(("timeout_seconds",) if config.data.num_workers else ()),
        *(("sharded",) if has_peers() else ()),
    )
    reads.handed_over(config.data, used)
    if network.fits_directly:
        reads.handed_over(config.training, ("steps", "trackers", "device", "batch_size", "precision"))
        reads.handed_over(config.checkpoint, ("keep",))
    else:
        reads.handed_over(config.checkpoint)
        loop = TrainingSettings.model_fields.keys() - {*VALIDATION, *BETWEEN_PROCESSES}
        reads.handed_over(config.training, loop)
        reads.handed_over(config.training, validation_settings(config.data, config.training))
        rehearse(config.objective, config.training, config.data, config.model.num_scales, discriminator)
    rehearse_data(config.data, config.seed)
    return reads.keys


def build_networks(config: Config, generator: nn.Module | None = None) -> tuple[Generator, Discriminator | None]:
    """Build the generator, unless one is given, and the discriminator, if the objective has one. Raises ConfigError."""
    if generator is not None and not generator.training:  # such as that of a Predictor
        generator.train()
    network = build_generator(config.model, config.data) if generator is None else as_generator(generator, config.data)
    if config.objective.num_samples > 1 and not network.noise_channels:
        raise ConfigError(
            f"[objective.num_samples={config.objective.num_samples}] the generator has no attribute noise_channels, so "
            "all samples would be equal; set objective.num_samples=1, or add it"
        )
    discriminator = None
    if config.objective.has_discriminator:
        discriminator = build_discriminator(config.discriminator, config.model.num_scales, config.data)
    check_accumulation(config.training, config.objective, config.data, discriminator)
    return network, discriminator


def check_memory(config: Config, generator: nn.Module | None = None) -> None:
    """Check that the weights fit into memory, before any are made, unless there are some. Raises ConfigError."""
    if generator is not None:
        return
    try:
        with meta_device():
            networks = networks_of(*build_networks(config))
    except (RuntimeError, OverflowError) as error:
        if not (
            isinstance(error, OverflowError) or lacks_memory(error)
        ):  # a network of another package that cannot be built without memory
            return
        raise ConfigError(f"[model] the networks cannot be built ({one_line(error)[:80]}); use smaller ones") from None
    needed = 4 * sum(map(count_parameters, networks.values()))
    free = free_memory(torch.device("cpu"))  # where they are made
    if free is not None and needed > free:
        raise ConfigError(
            f"[model] the weights need {needed >> 20:,} MB, and {free >> 20:,} MB are free; use smaller networks"
        )


def build_accelerator(
    config: Config, networks: tuple[Generator, Discriminator | None], peer_timeout_seconds: float
) -> Accelerator:
    """Build the accelerator.

    Args:
        config: The settings.
        networks: The generator, and the discriminator; None: none.
        peer_timeout_seconds: The setting, which only several processes use.

    Raises:
        ConfigError: The device does not exist, or the batch cannot be divided among the processes.
    """
    device = choose_device(config.training.device, "training.device=")
    precision = choose_precision(config.training.precision, device)
    # Otherwise Accelerate keeps the precision and the device of this process's first run; processes stay connected.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    accelerator = Accelerator(
        cpu=device.type == "cpu",
        mixed_precision={"bfloat16": "bf16", "float16": "fp16"}.get(precision, "no"),
        # Gradients are accumulated by `Updates`; without this, Accelerate's launcher could divide losses once more.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[
            DistributedDataParallelKwargs(
                broadcast_buffers=False,  # early steps of growing networks leave parameters unused
                find_unused_parameters=any(network is not None and network.growing for network in networks),
            ),
            InitProcessGroupKwargs(timeout=timedelta(seconds=peer_timeout_seconds)),
        ],
    )
    if config.training.batch_size % accelerator.num_processes:
        raise ConfigError(
            f"[training.batch_size] {config.training.batch_size} samples cannot be divided equally among "
            f"{accelerator.num_processes} processes; choose a multiple"
        )
    if config.objective.adversary.wrong_pairs and config.training.batch_size < 2 * accelerator.num_processes:
        raise ConfigError(
            f"[objective.adversarial.wrong_pairs] needs two samples on each of {accelerator.num_processes} processes; "
            f"set training.batch_size={2 * accelerator.num_processes} or more"
        )
    return accelerator


def plan(config: Config) -> str:
    """Return a summary of the run that `train` would start: sizes, parameters, steps, memory."""
    with recording(config) as reads:
        return _plan(config, reads)


def _plan(config: Config, reads: Reads) -> str:
    device = choose_device(config.training.device, "training.device=")
    source = build_source(config.data, "train", training_offsets(config.data), progress=True)
    with meta_device():
        generator, discriminator = build_networks(config)
    check_conditions(generator, source)
    if config.training.init_from and not RunFolder(config.run).steps():
        with warnings.catch_warnings(action="ignore"):  # on the meta device loading only checks names and shapes
            init_from(config.training.init_from, generator, discriminator)
    report_unused(config, read_by_run(config, generator, discriminator, reads))
    check_resumed(RunFolder(config.run), config, reads.keys)
    sample = source.window(0).shape
    return "\n".join(
        [
            f"data        {source.name}: {describe_source(config.data, len(source), sample)}",
            f"held out    {describe_splits(config.data)}",
            *describe_plan(
                generator, discriminator, config.training, config.data, frame_size(config.data, source), device,
                choose_precision(config.training.precision, device), config.objective.num_samples,
            ),
            f"run folder  {config.run}, a checkpoint every {config.checkpoint.every} steps",
        ]
    )  # fmt: skip


def measure(config: Config, seconds: float = MEASURED_SECONDS) -> list[str]:
    """Train some steps of a run on its data, keep nothing, and return lines on its speed and estimated duration.

    Args:
        config: The settings.
        seconds: Time after which no other step is begun.

    Raises:
        VidpredError: The steps fail as they would in the run.
    """
    done = RunFolder(config.run).steps()
    if config.training.steps <= (done[-1] if done else 0):
        return ["duration    nothing left to do"]
    quiet = config.training.model_copy(update={"trackers": (), **({"init_from": None} if done else {})})
    with (
        tempfile.TemporaryDirectory() as folder,
        Peers(Path(folder), config.training.peer_timeout_seconds) as peers,
        ExitStack() as held,
    ):
        trial = config.model_copy(update={"run": str(Path(folder) / "run"), "training": quiet})
        with recording(trial) as reads, redirect_stderr(io.StringIO()):  # the plan has shown the warnings
            trainer = build(trial, None, reads, peers, held)
        if not isinstance(trainer, Trainer):
            return []
        if lacking := _lacking_memory(config, trainer.parts):
            return [lacking]
        adversary = config.objective.adversary
        cycle = math.lcm(
            adversary.discriminator_steps if config.objective.has_discriminator else 1,
            adversary.r1_every if adversary.r1_weight or adversary.r2_weight else 1,
        )
        times = trainer.time_steps(seconds)
        saving = trainer.time_saving()
    return describe_times(times, saving, config.training, done[-1] if done else 0, config.checkpoint.every, cycle)


def _lacking_memory(config: Config, parts: TrainingParts) -> str | None:
    """Return a line if the steps of a run would need more memory than is free."""
    device = parts.accelerator.device
    with meta_device():
        networks = build_networks(config)
    needed = estimate_memory(
        *networks, config.training, config.data, frame_size(config.data, parts.samples.source),
        choose_precision(config.training.precision, device), config.objective.num_samples,
    )  # fmt: skip
    free = free_memory(device)
    if free is None or needed < free:
        return None
    return f"speed       not measured: {needed >> 20:,} MB are needed, {free >> 20:,} MB are free on this machine"


def frame_size(data: DataSettings, source: Source) -> tuple[int, int]:
    """Return height and width of the frames that a run trains on."""
    shape = source.window(0).shape
    side = None if data.has_points else data.crop_size
    return (side, side) if side else (shape[1], shape[2])


def describe_source(data: DataSettings, count: int, shape: tuple[int, ...]) -> str:
    """Return the number and the size of training samples in words that fit the data."""
    noun = noun_of(data)
    size = "" if data.has_points else f", whole {'frames' if data.context_frames else 'images'} {shape[2]}x{shape[1]}"
    return f"{counted(count, f'training {noun}')}{size}"


def describe_splits(data: DataSettings) -> str:
    """Return the number of samples of the other splits; training works without them."""
    found = []
    for split in ("validation", "test"):
        try:
            count = len(build_source(data, split, training_offsets(data)))
        except DataError:
            count = 0
        found.append(counted(count, f"{split} {noun_of(data)}"))
    return ", ".join(found)


def noun_of(data: DataSettings) -> str:
    """Return what one sample of the data is."""
    return "point" if data.has_points else "window" if data.context_frames else "image"
