"""The networks of a training and their updates: one training step."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vidpred.checkpoint import RunFolder
from vidpred.data.batch import Batch
from vidpred.data.sources import TrainingSamples
from vidpred.errors import ConfigError, DivergedError
from vidpred.models.base import Discriminator, Generator
from vidpred.models.conditions import Conditions
from vidpred.models.noise import antithetic_noise
from vidpred.models.pyramid import check_pyramid
from vidpred.models.rollout import unroll
from vidpred.training.accumulation import mean_losses
from vidpred.training.adversarial_losses import Losses
from vidpred.training.diagnosis import Diagnosis
from vidpred.training.divergence import agree_on_cause, diverged, first_cause, mean_of
from vidpred.training.early_stopping import EarlyStopping
from vidpred.training.monitors import is_due, measure, measure_samples
from vidpred.training.objectives import Objective, ObjectiveSettings, Phase, Step
from vidpred.training.optimizers import Schedule, build_optimizer
from vidpred.training.profile import Profiler
from vidpred.training.settings import CheckpointSettings, OptimizerSettings, TrainingSettings

Validate = Callable[[Generator], dict[str, float]]


@dataclass
class Network:
    """A trained network and its optimizer.

    Attributes:
        module: The network.
        wrapped: The same wrapped by Accelerate, whose forward training calls.
        optimizer: Its optimizer.
        learning_rate: The learning rate before the schedule.
        scaler: Keeps the gradients of its loss in the range of float16; None: another precision.
    """

    module: Generator | Discriminator
    wrapped: nn.Module
    optimizer: torch.optim.Optimizer
    learning_rate: float
    scaler: torch.amp.GradScaler | None

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The network's parameters, in the module's order."""
        return list(self.module.parameters())

    @property
    def scale(self) -> float:
        """The factor of its loss during the backward pass."""
        return 1.0 if self.scaler is None else self.scaler.get_scale()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a scalar loss, scaled for float16, to those of the parameters."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()


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
    settings: Mapping[str, Any] = field(default_factory=dict)  # all settings by dotted key, for experiment trackers
    state: Mapping[str, Any] = field(default_factory=dict)  # extra entries for every checkpoint's state.json


class Updates:
    """The networks of a training, their averages, and the updates of one step."""

    def __init__(self, parts: TrainingParts) -> None:
        self.parts, self.settings, self.accelerator = parts, parts.training, parts.accelerator
        training, main = parts.training, parts.accelerator.is_main_process
        self.profiler = Profiler(parts.folder.path, parts.accelerator.device, training.profile and main)
        self.networks = {"generator": self._network(parts.generator, training.generator)}
        if parts.discriminator is not None:
            self.networks["discriminator"] = self._network(parts.discriminator, training.discriminator)
        self.schedule, self.early_stopping = Schedule(training), EarlyStopping(training)
        adversary = parts.objective.adversary
        if adversary.weight and adversary.balanced and parts.generator.last_weight is None:
            raise ConfigError(
                "[objective.adversarial.balanced] this model has no last layer to balance gradients at; set it to false"
            )
        self.average = copy.deepcopy(parts.generator).requires_grad_(False).eval()
        discriminator = self.networks.get("discriminator")
        self.objective = Objective(
            parts.objective,
            discriminator.wrapped if discriminator else None,
            parts.discriminator,  # not wrapped for data parallelism, but with the mixed precision of Accelerate
            parts.generator,
        )
        self.measured: dict[str, Tensor] = {}  # measurements of the current step, if it is a measured one

    def _network(self, module: Generator | Discriminator, settings: OptimizerSettings) -> Network:
        module = module.to(self.accelerator.device)
        for parameter in module.parameters():
            if parameter.dim() == 4:  # `module.to(memory_format=...)` rejects the 5-D weights of 3-D convolutions
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        with warnings.catch_warnings():  # Accelerate has no other name for it yet
            warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
            wrapped = self.accelerator.prepare_model(module, device_placement=False)  # done, and looking takes a second
        return Network(
            module, wrapped, build_optimizer(settings, module), settings.learning_rate, build_scaler(self.accelerator)
        )

    def train_step(self, number: int, *batches: Batch) -> dict[str, Tensor]:
        """Update every network that is scheduled for this step.

        Randomness is a function of (seed, step, process), so resuming is exact. The gradients of several batches are
        averaged. Then every phase repeats the generator's forward passes, because one network is updated before the
        next one's losses are computed, and keeping all graphs would need the memory of one large batch.

        Args:
            number: The step, from 0.
            batches: The batches, on the device.

        Returns:
            The losses as "network/name", means over the batches.
        """
        self._seed(number)
        for network in self.networks.values():
            network.module.grow(self.schedule.growth(number))  # a function of the step: resuming is exact
        phases = self.objective.phases(number)
        # One forward of the generator serves all phases; its graph is needed only if the generator is updated.
        trained = any(phase.network == "generator" for phase in phases)
        shared = self._forward(number, batches[0], trained) if len(batches) == 1 else None
        buffers = [] if shared else [buffer.clone() for buffer in self.parts.generator.buffers()]
        parts: dict[str, Tensor] = {}
        for phase in phases:
            network = self.networks[phase.network]
            for buffer, before in zip(self.parts.generator.buffers() if buffers else (), buffers, strict=True):
                buffer.data.copy_(before)
            with frozen([other.module for other in self.networks.values() if other is not network]):
                found = [
                    self._accumulate(phase, number, index, batches, shared).detach() for index in range(len(batches))
                ]
            losses = mean_losses(found)
            self._update(network, phase.network, losses, number, batches)
            phase.after_update()
            parts |= {f"{phase.network}/{name}": value for name, value in losses.parts.items()}
        with self.profiler.stages("averaged weights"):
            self._average(number)
        return parts

    def _seed(self, number: int, *of_batch: int) -> None:
        torch.manual_seed(hash((self.parts.seed, number, self.accelerator.process_index, *of_batch)) % 2**63)

    def _forward(self, number: int, batch: Batch, with_graph: bool) -> Step:
        """Run the generator on a batch."""
        with torch.set_grad_enabled(with_graph):
            predictions, losses = self._predict(batch)
            return Step(batch, predictions, number, self.parts.objective.num_samples, *losses)

    def _accumulate(
        self, phase: Phase, number: int, index: int, batches: Sequence[Batch], shared: Step | None
    ) -> Losses:
        """Add the gradients of one batch of a step; processes exchange them with the last batch.

        Args:
            phase: The phase.
            number: The step.
            index: The batch's index.
            batches: The batches of the step.
            shared: The generator's pass, if all phases share it.
        """
        network, trained = self.networks[phase.network], phase.network == "generator"
        last = index == len(batches) - 1
        with nullcontext() if last else self.accelerator.no_sync(network.wrapped):
            step = shared
            if step is None:
                self._seed(number, index)  # every phase draws the same noise
                step = self._forward(number, batches[index], trained)
            step = replace(step, loss_scale=network.scale)
            losses = phase.losses(step)
            if trained and index == 0 and self._is_measured(number):
                self.measured = measure(step, losses, network.parameters)
                self.measured |= measure_samples(self.parts.generator, step.batch, self.parts.unroll)
            network.backward(losses.total / len(batches))
        return losses

    def _is_measured(self, number: int) -> bool:
        objective, settings = self.parts.objective, self.settings
        generator_every = objective.adversary.discriminator_steps if objective.has_discriminator else 1
        return is_due(number, settings.monitor_every, settings.steps, generator_every)

    def _predict(self, batch: Batch) -> tuple[list[Tensor], tuple[Tensor | None, dict[str, Tensor]]]:
        """Predict a batch.

        Returns:
            The generator's images, with the samples ordered as in `Step`; and its `latent_cost` and `extra_losses`,
            means over its consecutive predictions.

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
        costs: list[Tensor] = []
        extra: dict[str, list[Tensor]] = defaultdict(list)

        def forward(*frames: Tensor, **given: Tensor) -> list[Tensor] | Tensor:
            images: list[Tensor] | Tensor = self.networks["generator"].wrapped(*frames, **given)
            costs.extend(() if generator.latent_cost is None else (generator.latent_cost,))
            for name, loss in generator.extra_losses.items():
                extra[name].append(loss)
            return images

        predictions = unroll(forward, generator, context, conditions, self.parts.unroll)
        discriminator = self.parts.discriminator
        try:
            check_pyramid(predictions, future, discriminator.num_scales if discriminator else None)
        except ValueError as error:
            keys = "data.pred_frames, model.scales" if discriminator else "data.pred_frames"
            raise ConfigError(f"{error} [{keys}]; correct the setting or the generator") from None
        means = {name: torch.stack(losses).mean() for name, losses in extra.items()}
        return predictions, (torch.stack(costs).mean(0) if costs else None, means)

    def _update(self, network: Network, name: str, losses: Losses, number: int, batches: Sequence[Batch]) -> None:
        """Update a network, unless its gradients overflow float16: then the next step scales its loss less."""
        if network.scaler is not None:
            network.scaler.unscale_(network.optimizer)
        gradients = [parameter.grad for parameter in network.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        finite = bool(norm.isfinite())  # the same on all processes, which have the same gradients
        if not self._everywhere(bool(losses.total.isfinite()) and (finite or network.scale > 1)):
            raise self._diverged(name, losses.parts, norm, number, batches)
        if self.settings.grad_clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(network.parameters, self.settings.grad_clip_norm, norm)
        factor = self.schedule.factor(name, number)
        for group in network.optimizer.param_groups:
            group["lr"] = network.learning_rate * factor
        if finite:
            network.optimizer.step()
        if network.scaler is not None:
            network.scaler.update()
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

    def _diverged(
        self, name: str, parts: Mapping[str, Tensor], norm: Tensor, number: int, batches: Sequence[Batch]
    ) -> DivergedError:
        with torch.no_grad():
            images = [image for batch in batches for image in self._predict(batch)[0]]
        modules = {key: network.module for key, network in self.networks.items()}
        positions = [position for batch in batches for position in batch.positions.tolist()]
        numbers = {**parts, "gradient norm": norm}
        cause = agree_on_cause(first_cause(name, modules, numbers, images), name, list(modules), self.accelerator)
        return diverged(cause, number + 1, mean_of(numbers, self.accelerator), positions, self._divergence_file(number))

    def _divergence_file(self, number: int) -> Path:
        name = f"diverged-step-{number + 1}-process-{self.accelerator.process_index}.json"
        return self.parts.folder.path / name


def build_scaler(accelerator: Accelerator) -> torch.amp.GradScaler | None:
    """Return a new scaler for the gradients of one network, if the run computes in float16."""
    return torch.amp.GradScaler(accelerator.device.type) if accelerator.mixed_precision == "fp16" else None


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
