"""The training loop: phases, averages, validation, checkpoints, stopping and resuming."""

from __future__ import annotations

import math
import signal
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from vidpred.checkpoint import (
    Checkpoint,
    load_weights,
    pack_optimizer,
    read_settings,
    unpack_optimizer,
)
from vidpred.data.batch import Batch
from vidpred.data.sources import StepSampler, collate
from vidpred.data.videos.worker_status import WorkerNotes
from vidpred.errors import StoppedError, StorageError
from vidpred.media.render import prediction_video, shown_samples, training_image, write_png
from vidpred.models.conditions import Conditions
from vidpred.models.rollout import unroll
from vidpred.processes.interrupts import STOP_SIGNALS, arm, handling_signals, interrupt
from vidpred.training.divergence import mean_of
from vidpred.training.monitors import as_table, summarize
from vidpred.training.profile import PROFILE_FILE, WAITING, Pace
from vidpred.training.tracking import Tracker, describe_validation
from vidpred.training.updates import TrainingParts, Updates
from vidpred.training.workers import closing_workers, prepare_worker, worker_failure

TIMED_STEPS = 64  # at most, for an estimate of a run's duration


class Progress(NamedTuple):
    """What a call of `Trainer.run` did: the steps that it began and ended with, and whether the run stopped early."""

    first_step: int
    last_step: int
    stopped_early: bool = False


class Trainer(Updates):
    """The training loop of one set of networks."""

    def __init__(self, parts: TrainingParts) -> None:
        super().__init__(parts)
        self._reported: set[str] = set()
        self._stop_signal: int | None = None

    def run(self) -> Progress:
        """Train to the last step or to early stopping, starting from the folder's newest checkpoint if there is one.

        Returns:
            The steps that the run started from and ended with.

        Raises:
            ConfigError: The generator's images differ in shape from the true ones.
            DataError: A data worker died or timed out.
            StoppedError: Ctrl-C, SIGTERM or SIGHUP arrived; a checkpoint was saved.
            DivergedError: A loss or gradient is not finite.
            StorageError: A checkpoint cannot be written.
        """
        first_step, note = self._resume()
        last_step, early = first_step, self.early_stopping
        main = self.accelerator.is_main_process
        self.tracker = Tracker(
            self.parts.folder.path, self.settings.steps, first_step, main, self.settings.trackers, self.parts.settings
        )
        arm()
        with closing(self.tracker), handling_signals(self._note_signal, STOP_SIGNALS):
            if first_step < self.settings.steps and not early.exhausted:
                if first_step:
                    at = f"resuming at step {first_step} of {self.settings.steps}"
                    self.tracker.print(f"{at}; {note}" if note else at)
                with self._batches(first_step) as batches, self._profiled():
                    last_step = self._steps(first_step, batches)
            if early.exhausted and last_step < self.settings.steps:
                self.tracker.print(f"vidpred: stopped early after step {last_step}: {early.describe()}")
        return Progress(first_step, last_step, last_step < self.settings.steps)

    @contextmanager
    def _batches(self, first_step: int) -> Iterator[Iterator[Batch]]:
        """Yield the batches of all steps from `first_step` on. Raises DataError if a data worker fails."""
        notes = WorkerNotes(self.parts.workers)
        with closing_workers(self._loader(first_step, notes)) as batches:
            try:
                yield batches
            except (RuntimeError, OSError, EOFError) as error:  # at any point of the training when a worker dies
                failure = worker_failure(error, batches, notes, self.parts.timeout_seconds)
                if failure is None:
                    raise
                raise failure from error

    @contextmanager
    def _profiled(self) -> Iterator[None]:
        """Write the profile of the steps in the context, also when the run is stopped; see `training.profile`."""
        try:
            with self.profiler.running():
                yield
        finally:
            if self.accelerator.is_main_process and (summary := self.profiler.write()):
                self.tracker.print(f"profile: {summary} [{self.parts.folder.path / PROFILE_FILE}]")

    def _steps(self, first_step: int, batches: Iterator[Batch]) -> int:
        stage = self.profiler.stages
        pace = Pace(stage, first_step, self.settings.batch_size * self.settings.gradient_accumulation_steps)
        for step in range(first_step, self.settings.steps):
            with stage(WAITING):
                group = list(islice(batches, self.settings.gradient_accumulation_steps))
            self.parts.progress()
            log_now = (step + 1) % self.settings.log_every == 0 or step + 1 == self.settings.steps
            with stage("logs"):
                checksum = self._checksum(group) if log_now else None
            with stage("updates"):
                group = [batch.to(self.accelerator.device) for batch in group]
                parts = self.train_step(step, *group)
                losses = mean_of(parts, self.accelerator) if log_now else {}
            with stage("logs"):
                if self.measured:
                    self._monitor(step + 1)
                if log_now:
                    factor = self.schedule.factor("generator", step)
                    extra = {"learning_rate_factor": factor, **pace.values(step + 1), "data_checksum": checksum}
                    self.tracker.log(step + 1, {**losses, **extra})
                    losses["samples/s"] = pace.smooth_rate
                self.tracker.advance(losses)
            self._after_step(step + 1, group[0])
            self.profiler.step()
            if self.early_stopping.exhausted:
                return step + 1
        return self.settings.steps

    def time_steps(self, seconds: float) -> list[float]:
        """Train the last steps of the run, in which all losses are computed, without saving anything.

        Args:
            seconds: Time after which no other step is begun.

        Returns:
            The seconds of each step, with the wait for its data.
        """
        times: list[float] = []
        first = max(0, self.settings.steps - TIMED_STEPS)
        with self._batches(first) as batches:
            for step in range(first, self.settings.steps):
                began = time.monotonic()
                group = list(islice(batches, self.settings.gradient_accumulation_steps))
                losses = self.train_step(step, *(batch.to(self.accelerator.device) for batch in group))
                mean_of(losses, self.accelerator)  # waits for the device
                times.append(time.monotonic() - began)
                if not self._everywhere(sum(times) < seconds):
                    break
        return times

    def time_saving(self) -> tuple[float, float]:
        """Return the seconds of a validation (0 without any) and of a checkpoint, which is written."""
        began, validation = time.monotonic(), 0.0
        if self.parts.validate and self.settings.validate_every and self.accelerator.is_main_process:
            with torch.inference_mode():
                self.parts.validate(self.average)
            validation = time.monotonic() - began
        began = time.monotonic()
        self._save(self.settings.steps)
        return validation, time.monotonic() - began

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

    def _after_step(self, done: int, batch: Batch) -> None:
        """Validate, draw an image, save a checkpoint or stop, as scheduled after `done` steps."""
        settings, last = self.settings, done == self.settings.steps
        if self.accelerator.is_main_process:
            self.parts.folder.check_in_place()
        stopping = not self._everywhere(self._stop_signal is None)
        mark: tuple[str, float] | None = None
        stage = self.profiler.stages
        if self.parts.validate and settings.validate_every and (last or done % settings.validate_every == 0):
            with stage("validation"):
                value, better = self._validate(done)
            if value is not None:
                self.early_stopping.update(done, value)
                mark = (settings.best_by, value) if better else None
        last = last or self.early_stopping.exhausted
        if settings.image_every and (last or done % settings.image_every == 0):
            with stage("images"):
                self._image(done, batch)
        if last or stopping or mark or done % self.parts.checkpoint.every == 0:
            with stage("checkpoints"):
                self._save(done, mark)
        if stopping:
            raise StoppedError(
                f"stopped after step {done} and saved [{self.parts.folder.path}]; the same command resumes the run"
            )

    def _validate(self, done: int) -> tuple[float | None, bool]:
        """Validate the averaged weights.

        Returns:
            The metric that selects checkpoints, and whether it is the best so far: the main process decides for all.
        """
        assert self.parts.validate is not None
        value = torch.tensor([float("nan"), 0], dtype=torch.float64, device=self.accelerator.device)
        if self.accelerator.is_main_process:
            with torch.inference_mode():
                numbers = self.parts.validate(self.average)
            self.tracker.log(done, {f"validation/{name}": number for name, number in numbers.items()})
            self.tracker.print(f"step {done}: validation {describe_validation(numbers)}")
            found, best = numbers.get(self.settings.best_by, float("nan")), self.parts.folder.best()
            value[0], value[1] = found, best is None or found > best["value"]
            if self.settings.early_stopping_patience and math.isnan(found):
                self.tracker.warn(
                    f"[training.early_stopping_patience] {self.settings.best_by} is undefined for these validation "
                    "windows, which do not count; choose another training.best_by"
                )
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast(value, 0)
        number, better = value.tolist()
        return (None, False) if math.isnan(number) else (number, bool(better))

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
            self.tracker.warn(str(error), "images")
        if self.settings.trackers:
            self.tracker.show(done, image, prediction_video(context, future, prediction) if len(context[0]) else None)

    def _save(self, done: int, mark: tuple[str, float] | None = None) -> None:
        if self.accelerator.is_main_process:
            files: dict[str, Mapping[str, Tensor]] = {"ema": self.average.state_dict()}
            for name, network in self.networks.items():
                files[name] = network.module.state_dict()
                files[f"optimizer_{name}"] = pack_optimizer(network.optimizer)
            files |= {f"memory_{name}": memory.state_dict() for name, memory in self.objective.memory.items()}
            scalers = {name: network.scaler for name, network in self.networks.items() if network.scaler is not None}
            loop: dict[str, Any] = {
                "schedule": self.schedule.state(),
                "early_stopping": self.early_stopping.state(),
                **({"scalers": {name: scaler.state_dict() for name, scaler in scalers.items()}} if scalers else {}),
            }
            self.parts.folder.save(done, files, {**self.parts.state, **loop}, self.parts.checkpoint.keep, mark)
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
            state = f"optimizer_{name}"
            unpack_optimizer(network.optimizer, checkpoint.tensors(state), f"{where}/{state}")
            if network.scaler is not None and (scaler := checkpoint.state.get("scalers", {}).get(name)):
                network.scaler.load_state_dict(scaler)
        for name, memory in self.objective.memory.items():
            load_weights(memory, checkpoint.tensors(f"memory_{name}"), where)
        self.early_stopping.load_state(checkpoint.state.get("early_stopping", {}))
        notes = [
            self._processes_changed(checkpoint),
            self.schedule.load_state(schedule_of(checkpoint), checkpoint.step),
        ]
        return checkpoint.step, "; ".join(filter(None, notes))

    def _processes_changed(self, checkpoint: Checkpoint) -> str:
        """Return a note about another number of processes than the checkpoint's; "" if it is the same."""
        before, now = checkpoint.state.get("processes"), self.accelerator.num_processes
        if before in (None, now):
            return ""
        processes = "1 process" if now == 1 else f"{now} processes"
        return (
            f"with {processes} instead of {before}: the samples "
            "are the same, and the weights differ by rounding (docs/guide/reliability.md)"
        )

    def _loader(self, first_step: int, notes: WorkerNotes) -> DataLoader[Batch]:
        batches = self.settings.gradient_accumulation_steps
        sampler = StepSampler(
            first_step * batches, self.settings.steps * batches, self.settings.batch_size,
            self.accelerator.process_index, self.accelerator.num_processes,
        )  # fmt: skip
        return DataLoader(
            self.parts.samples,
            batch_sampler=sampler,
            num_workers=self.parts.workers,
            collate_fn=collate,
            pin_memory=self.accelerator.device.type == "cuda",
            worker_init_fn=partial(prepare_worker, notes.pages),
            timeout=self.parts.timeout_seconds if self.parts.workers else 0,
            # A separate generator: the loader must not draw its base seed from the global one.
            generator=torch.Generator().manual_seed(self.parts.seed),
        )

    def _checksum(self, batches: Sequence[Batch]) -> int:
        """Return a checksum that depends neither on the order of samples nor on the number of processes."""
        total = sum(
            zlib.crc32(context.numpy().tobytes(), zlib.crc32(future.numpy().tobytes()))
            for batch in batches
            for context, future in zip(batch.context, batch.future, strict=True)
        )
        if self.accelerator.num_processes == 1:
            return total
        return int(self.accelerator.reduce(torch.tensor(total, device=self.accelerator.device), "sum"))

    def _note_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop_signal == signal.SIGINT == number:
            interrupt(number, frame)  # the second Ctrl-C stops at once
            return
        self._stop_signal = number


def schedule_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the state of a checkpoint's schedule; one of an earlier version has its number of steps only."""
    found: dict[str, Any] = checkpoint.state.get("schedule", {})
    if not found and checkpoint.has_config:
        steps = read_settings(checkpoint.path).get("training.steps")
        return {"steps": steps} if isinstance(steps, int) and steps > 0 else {}
    return found
