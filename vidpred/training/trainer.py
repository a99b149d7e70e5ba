"""The training loop: phases, averages, validation, checkpoints, stopping and resuming."""

from __future__ import annotations

import copy
import json
import signal
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vidpred.checkpoint import (
    CONFIG,
    Checkpoint,
    RunFolder,
    load_weights,
    pack_optimizer,
    read_settings,
    unpack_optimizer,
)
from vidpred.data.batch import Batch
from vidpred.data.sources import StepSampler, TrainingSamples, collate
from vidpred.data.videos.worker_status import WorkerNotes
from vidpred.errors import ConfigError, DivergedError, StoppedError, StorageError
from vidpred.files import write_file
from vidpred.media.render import shown_samples, training_image, write_png
from vidpred.models.base import Discriminator, Generator
from vidpred.models.conditions import Conditions
from vidpred.models.noise import antithetic_noise
from vidpred.models.pyramid import check_pyramid
from vidpred.models.rollout import unroll
from vidpred.training.diagnosis import Diagnosis
from vidpred.training.early_stopping import EarlyStopping
from vidpred.training.monitors import as_table, is_due, measure, measure_samples, summarize
from vidpred.training.objectives import Objective, ObjectiveSettings, Step
from vidpred.training.optimizers import Schedule, build_optimizer
from vidpred.training.settings import CheckpointSettings, OptimizerSettings, TrainingSettings
from vidpred.training.tracking import Tracker, describe_validation
from vidpred.training.workers import closing_workers, prepare_worker, worker_failure

Validate = Callable[[Generator], dict[str, float]]
SMOOTHING = 0.3  # weight of the newest rate in the progress bar


@dataclass
class Network:
    """A trained network, the same wrapped by Accelerate (whose forward training calls), and its optimizer."""

    module: Generator | Discriminator
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    learning_rate: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The network's parameters."""
        return list(self.module.parameters())


class Progress(NamedTuple):
    """What a call of `Trainer.run` did: the steps that it began and ended with, and whether the run stopped early."""

    first_step: int
    last_step: int
    stopped_early: bool = False


@dataclass
class TrainingParts:
    """Everything that a trainer needs, built by `vidpred.run`."""

    seed: int
    training: TrainingSettings
    objective: ObjectiveSettings
    checkpoint: CheckpointSettings
    workers: int
    timeout_seconds: float
    folder: RunFolder
    accelerator: Accelerator
    samples: TrainingSamples
    generator: Generator
    discriminator: Discriminator | None
    validate: Validate | None
    progress: Callable[[], None] = lambda: None  # called at the beginning of every step
    diagnose: Callable[[Sequence[Mapping[str, Any]]], list[Diagnosis]] = lambda lines: []  # for warnings
    unroll: int = 1  # consecutive predictions, each from the generator's own frames
    state: Mapping[str, Any] = field(default_factory=dict)  # extra entries for every checkpoint's state.json


class Trainer:
    """The training loop of one set of networks."""

    def __init__(self, parts: TrainingParts) -> None:
        self.parts, self.settings, self.accelerator = parts, parts.training, parts.accelerator
        training = parts.training
        self.networks = {"generator": self._network(parts.generator, training.generator)}
        if parts.discriminator is not None:
            self.networks["discriminator"] = self._network(parts.discriminator, training.discriminator)
        self.schedule, self.early_stopping = Schedule(training), EarlyStopping(training)
        if parts.objective.adversary.balanced and parts.generator.last_weight is None:
            raise ConfigError(
                "[objective.adversarial.balanced] this model has no last layer to balance gradients at; set it to false"
            )
        self.average = copy.deepcopy(parts.generator).requires_grad_(False).eval()
        discriminator = self.networks.get("discriminator")
        self.objective = Objective(
            parts.objective,
            discriminator.wrapped if discriminator else None,
            # Unwrapped from data parallelism, but still with Accelerate's mixed precision.
            self.accelerator.unwrap_model(discriminator.wrapped) if discriminator else None,
            parts.generator,
        )
        self.measured: dict[str, Tensor] = {}  # measurements of the current step, if it is a measured one
        self._reported: set[str] = set()
        self._stop_signal: int | None = None

    def _network(self, module: Generator | Discriminator, settings: OptimizerSettings) -> Network:
        module = module.to(self.accelerator.device)
        for parameter in module.parameters():
            if parameter.dim() == 4:  # `module.to(memory_format=...)` rejects the 5-D weights of 3-D convolutions
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        wrapped = self.accelerator.prepare(module)
        return Network(module, wrapped, build_optimizer(settings, module), settings.learning_rate)

    def run(self) -> Progress:
        """Train to the last step or to early stopping, starting from the folder's newest checkpoint if there is one.

        Returns:
            The steps that the run started from and ended with.

        Raises:
            ConfigError: The generator's images differ in shape from the true ones.
            DataError: A data worker died or timed out.
            StoppedError: SIGTERM or SIGINT arrived; a checkpoint was saved.
            DivergedError: A loss or gradient is not finite.
            StorageError: A checkpoint cannot be written.
        """
        first_step, note = self._resume()
        last_step, early = first_step, self.early_stopping
        main = self.accelerator.is_main_process
        self.tracker = Tracker(self.parts.folder.path, self.settings.steps, first_step, main, self.settings.tensorboard)
        previous = {number: signal.signal(number, self._note_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            if first_step < self.settings.steps and not early.exhausted:
                if first_step:
                    at = f"resuming at step {first_step} of {self.settings.steps}"
                    self.tracker.print(f"{at}; {note}" if note else at)
                last_step = self._loop(first_step)
            if early.exhausted and last_step < self.settings.steps:
                self.tracker.print(f"vidpred: stopped early after step {last_step}: {early.describe()}")
        finally:
            self.tracker.close()
            for number, handler in previous.items():
                signal.signal(number, handler)
        return Progress(first_step, last_step, last_step < self.settings.steps)

    def _loop(self, first_step: int) -> int:
        """Train; return the last step."""
        with WorkerNotes() as notes, closing_workers(self._loader(first_step, notes)) as batches:
            try:
                return self._steps(first_step, batches)
            except (RuntimeError, OSError, EOFError) as error:  # at any point of the training when a worker dies
                failure = worker_failure(error, batches, notes, self.parts.timeout_seconds)
                if failure is None:
                    raise
                raise failure from error

    def _steps(self, first_step: int, batches: Iterator[Batch]) -> int:
        clock = time.monotonic()
        since, smooth = first_step, None
        for step, batch in enumerate(batches, first_step):
            self.parts.progress()
            log_now = (step + 1) % self.settings.log_every == 0 or step + 1 == self.settings.steps
            checksum = self._checksum(batch) if log_now else None
            batch = batch.to(self.accelerator.device)
            parts = self.train_step(step, batch)
            if self.measured:
                self._monitor(step + 1)
            shown: dict[str, float] = {}
            if log_now:
                shown = self._mean(parts)
                rate = (step + 1 - since) * self.settings.batch_size / (time.monotonic() - clock)
                clock, since = time.monotonic(), step + 1
                factor = self.schedule.factor("generator", step)
                extra = {"learning_rate_factor": factor, "samples_per_second": rate, "data_checksum": checksum}
                self.tracker.log(step + 1, {**shown, **extra})
                shown["samples/s"] = smooth = rate if smooth is None else smooth + SMOOTHING * (rate - smooth)
            self.tracker.advance(shown)
            self._after_step(step + 1, batch)
            if self.early_stopping.exhausted:
                return step + 1
        return self.settings.steps

    def train_step(self, number: int, batch: Batch) -> dict[str, Tensor]:
        """Update every network that is scheduled for this step.

        Randomness is a function of (seed, step, process), so resuming is exact.

        Args:
            number: The step, from 0.
            batch: The batch, on the device.

        Returns:
            The losses as "network/name".
        """
        torch.manual_seed(hash((self.parts.seed, number, self.accelerator.process_index)) % 2**63)
        for network in self.networks.values():
            network.module.grow(self.schedule.growth(number))  # a function of the step: resuming is exact
        phases = self.objective.phases(number)
        # One forward of the generator serves all phases; its graph is needed only if the generator is updated.
        with torch.set_grad_enabled(any(phase.network == "generator" for phase in phases)):
            predictions = self._predict(batch)
            step = Step(batch, predictions, number, self.parts.objective.num_samples, self.parts.generator.latent_cost)
        parts: dict[str, Tensor] = {}
        for phase in phases:
            network = self.networks[phase.network]
            with frozen([other.module for other in self.networks.values() if other is not network]):
                losses = phase.losses(step)
                if phase.network == "generator" and self._is_measured(number):
                    self.measured = measure(step, losses, network.parameters)
                    self.measured |= measure_samples(self.parts.generator, batch, self.parts.unroll)
                self.accelerator.backward(losses.total)
            self._update(network, phase.network, losses.parts, losses.total, step)
            phase.after_update()
            parts |= {f"{phase.network}/{name}": value.detach() for name, value in losses.parts.items()}
        self._average(number)
        return parts

    def _is_measured(self, number: int) -> bool:
        objective, settings = self.parts.objective, self.settings
        generator_every = objective.adversary.discriminator_steps if objective.has_discriminator else 1
        return is_due(number, settings.monitor_every, settings.steps, generator_every)

    def _monitor(self, done: int) -> None:
        """Log the measurements, and report every serious finding once."""
        names, values = as_table(self.measured)
        self.tracker.log(done, summarize(names, self.accelerator.gather(values)))
        self.measured = {}
        for finding in self.parts.diagnose(list(self.tracker.lines)):
            if finding.severity == "serious" and finding.title not in self._reported:
                self._reported.add(finding.title)
                self.tracker.print(
                    f"vidpred: warning: step {done}: {finding.title}: {finding.observed}; {finding.remedy}"
                )

    def _predict(self, batch: Batch) -> list[Tensor]:
        """Return the generator's images, with the samples ordered as in `Step`.

        Raises:
            ConfigError: Their shapes differ from those of the true frames.
        """
        generator, num_samples = self.parts.generator, self.parts.objective.num_samples
        context, future = batch.context, batch.future
        conditions = replace(Conditions.from_batch(batch), target=batch.future)
        if num_samples > 1:
            noise = antithetic_noise(generator, len(context), num_samples).flatten(0, 1).to(context)
            conditions = replace(conditions, noise=noise).repeat(num_samples)
            context, future = (frames.repeat(num_samples, 1, 1, 1, 1) for frames in (context, future))
        predictions = unroll(self.networks["generator"].wrapped, generator, context, conditions, self.parts.unroll)
        discriminator = self.parts.discriminator
        try:
            check_pyramid(predictions, future, discriminator.num_scales if discriminator else None)
        except ValueError as error:
            keys = "data.pred_frames, model.scales" if discriminator else "data.pred_frames"
            raise ConfigError(f"{error} [{keys}]; correct the setting or the generator") from None
        return predictions

    def _update(self, network: Network, name: str, parts: Mapping[str, Tensor], total: Tensor, step: Step) -> None:
        gradients = [parameter.grad for parameter in network.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not self._everywhere(bool(torch.isfinite(total.detach()) & torch.isfinite(norm))):
            self._diverged(name, parts, float(norm), step)
        if self.settings.grad_clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(network.parameters, self.settings.grad_clip_norm, norm)
        factor = self.schedule.factor(name, step.number)
        for group in network.optimizer.param_groups:
            group["lr"] = network.learning_rate * factor
        network.optimizer.step()
        network.optimizer.zero_grad()

    def _average(self, number: int) -> None:
        """Update the moving average of the generator; the decay warms up so that early weights are forgotten."""
        decay = min(self.settings.ema_decay, (1 + number) / (10 + number))
        averages: list[Tensor] = list(self.average.parameters())
        weights: list[Tensor] = list(self.networks["generator"].parameters)
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 1 - decay)
            for mean, value in zip(self.average.buffers(), self.networks["generator"].module.buffers(), strict=True):
                mean.copy_(value)

    def _everywhere(self, good: bool) -> bool:
        """Return whether a condition holds on all processes, so that all decide alike."""
        if self.accelerator.num_processes == 1:
            return good
        bad = torch.tensor(float(not good), device=self.accelerator.device)
        return float(self.accelerator.reduce(bad, "sum")) == 0

    def _diverged(self, name: str, parts: Mapping[str, Tensor], norm: float, step: Step) -> None:
        record = {
            "step": step.number + 1,
            "network": name,
            "gradient_norm": str(norm),
            "losses": {key: str(float(value.detach())) for key, value in parts.items()},
            "positions": step.batch.positions.tolist(),
        }
        folder = self.parts.folder.path
        file = folder / f"diverged-step-{step.number + 1}-process-{self.accelerator.process_index}.json"
        write_file(file, json.dumps(record, indent=1), "free space or choose another run=")
        losses = ", ".join(f"{key}={float(value.detach()):.3g}" for key, value in parts.items())
        raise DivergedError(
            f"{name}'s loss or gradient is not finite at step {step.number + 1} [{losses}, gradient norm {norm:.3g}]; "
            f"lower training.{name}.learning_rate or set training.grad_clip_norm=1 (see {file.name})"
        )

    def _after_step(self, done: int, batch: Batch) -> None:
        """Validate, draw an image, save a checkpoint or stop, as scheduled after `done` steps."""
        settings, last = self.settings, done == self.settings.steps
        stopping = not self._everywhere(self._stop_signal is None)
        value: float | None = None
        if self.parts.validate and settings.validate_every and (last or done % settings.validate_every == 0):
            value = self._validate(done)
            if value is not None:
                self.early_stopping.update(done, value)
        last = last or self.early_stopping.exhausted
        if settings.image_every and (last or done % settings.image_every == 0):
            self._image(done, batch)
        best = self.parts.folder.best()
        better = value is not None and (best is None or value > best["value"])
        if last or stopping or better or done % self.parts.checkpoint.every == 0:
            self._save(done)
            if better and value is not None and self.accelerator.is_main_process:
                self.parts.folder.mark_best(done, settings.best_by, value)
        if stopping:
            raise StoppedError(
                f"stopped after step {done} and saved [{self.parts.folder.path}]; the same command resumes the run"
            )

    def _validate(self, done: int) -> float | None:
        """Validate the averaged weights; return the metric that selects the best checkpoint."""
        assert self.parts.validate is not None
        value = torch.full((), float("nan"), dtype=torch.float64, device=self.accelerator.device)
        if self.accelerator.is_main_process:
            with torch.inference_mode():
                numbers = self.parts.validate(self.average)
            self.tracker.log(done, {f"validation/{name}": number for name, number in numbers.items()})
            self.tracker.print(f"step {done}: validation {describe_validation(numbers)}")
            value.fill_(numbers.get(self.settings.best_by, float("nan")))
            if self.settings.early_stopping_patience and bool(value.isnan()):
                self.tracker.warn(
                    f"[training.early_stopping_patience] {self.settings.best_by} is undefined for these validation "
                    "windows, which do not count; choose another training.best_by"
                )
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast(value, 0)
        return None if self.settings.best_by == "last" or bool(value.isnan()) else float(value)

    def _image(self, done: int, batch: Batch) -> None:
        if not self.accelerator.is_main_process:
            return
        count = shown_samples(batch.context)
        context, future = batch.context[:count], batch.future[:count]
        with torch.inference_mode():
            conditions = Conditions.from_batch(batch, count)
            prediction = unroll(self.average, self.average, context, conditions, self.parts.unroll)[-1]
        image = training_image(context.cpu(), future.cpu(), prediction.float().cpu())
        try:
            write_png(self.parts.folder.path / "images" / f"step-{done:06d}.png", image)
        except StorageError as error:
            self.tracker.warn(str(error))

    def _save(self, done: int) -> None:
        if self.accelerator.is_main_process:
            files: dict[str, Mapping[str, Tensor]] = {"ema": self.average.state_dict()}
            for name, network in self.networks.items():
                files[name] = network.module.state_dict()
                files[f"optimizer_{name}"] = pack_optimizer(network.optimizer)
            files |= {f"memory_{name}": memory.state_dict() for name, memory in self.objective.memory.items()}
            loop = {"schedule": self.schedule.state(), "early_stopping": self.early_stopping.state()}
            self.parts.folder.save(done, files, {**self.parts.state, **loop}, self.parts.checkpoint.keep)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> tuple[int, str]:
        """Load the newest complete checkpoint, the same on every process.

        Returns:
            Its step, 0 without one, and what another number of steps does to the learning rate.
        """
        step = torch.zeros((), dtype=torch.int64, device=self.accelerator.device)
        if self.accelerator.is_main_process:
            found = self.parts.folder.newest()
            step.fill_(found.step if found else 0)
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast(step, 0)
        if int(step) == 0:
            return 0, ""
        checkpoint = Checkpoint(self.parts.folder.folder(int(step)))
        where = str(checkpoint.path)
        load_weights(self.average, checkpoint.tensors("ema"), where)
        for name, network in self.networks.items():
            load_weights(network.module, checkpoint.tensors(name), where)
            unpack_optimizer(network.optimizer, checkpoint.tensors(f"optimizer_{name}"))
        for name, memory in self.objective.memory.items():
            load_weights(memory, checkpoint.tensors(f"memory_{name}"), where)
        self.early_stopping.load_state(checkpoint.state.get("early_stopping", {}))
        return checkpoint.step, self.schedule.load_state(schedule_of(checkpoint), checkpoint.step)

    def _loader(self, first_step: int, notes: WorkerNotes) -> DataLoader[Batch]:
        sampler = StepSampler(
            first_step, self.settings.steps, self.settings.batch_size,
            self.accelerator.process_index, self.accelerator.num_processes,
        )  # fmt: skip
        return DataLoader(
            self.parts.samples,
            batch_sampler=sampler,
            num_workers=self.parts.workers,
            collate_fn=collate,
            pin_memory=self.accelerator.device.type == "cuda",
            worker_init_fn=partial(prepare_worker, notes.folder),
            timeout=self.parts.timeout_seconds if self.parts.workers else 0,
            # A separate generator: the loader must not draw its base seed from the global one.
            generator=torch.Generator().manual_seed(self.parts.seed),
        )

    def _checksum(self, batch: Batch) -> int:
        """Return a checksum that depends neither on the order of samples nor on the number of processes."""
        total = sum(
            zlib.crc32(context.numpy().tobytes(), zlib.crc32(future.numpy().tobytes()))
            for context, future in zip(batch.context, batch.future, strict=True)
        )
        if self.accelerator.num_processes == 1:
            return total
        return int(self.accelerator.reduce(torch.tensor(total, device=self.accelerator.device), "sum"))

    def _mean(self, parts: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the losses' mean over processes."""
        values = torch.stack([value.float() for value in parts.values()])
        if self.accelerator.num_processes > 1:
            values = self.accelerator.reduce(values, "mean")
        return dict(zip(parts, values.tolist(), strict=True))

    def _note_signal(self, number: int, frame: object) -> None:
        if self._stop_signal == signal.SIGINT == number:
            raise KeyboardInterrupt  # the second Ctrl-C stops at once
        self._stop_signal = number


def schedule_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the state of a checkpoint's schedule; one of an earlier version has its number of steps only."""
    found: dict[str, Any] = checkpoint.state.get("schedule", {})
    if not found and (checkpoint.path / CONFIG).is_file():
        return {"steps": read_settings(checkpoint.path)["training.steps"]}
    return found


@contextmanager
def frozen(modules: list[nn.Module]) -> Iterator[None]:
    """Let gradients flow through networks but not into their weights (detaching would cut off the generator)."""
    learning = [parameter for module in modules for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
