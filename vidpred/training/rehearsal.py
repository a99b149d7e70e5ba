"""One training step with stand-ins for the networks, which records the settings that the losses read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vidpred.data.batch import Batch
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import WrappedSource, training_offsets
from vidpred.errors import ConfigError
from vidpred.models.base import AdaptedGenerator, Discriminator
from vidpred.training.objectives import Objective, ObjectiveSettings, Step
from vidpred.training.optimizers import build_optimizer, schedule_factor
from vidpred.training.settings import TrainingSettings

SAMPLES = 2
MIN_SIDE = 8  # pixels of the coarsest scale


class StandIn(Discriminator):
    """A discriminator with one weight, and the inputs and outputs of another discriminator."""

    def __init__(self, other: Discriminator) -> None:
        super().__init__()
        self.num_scales, self.classes = other.num_scales, other.classes
        self.weight = nn.Parameter(torch.ones(1))

    def forward(
        self, context: Tensor, images: list[Tensor], with_features: bool = False, with_classes: bool = False
    ) -> Any:
        logits = torch.stack([(image * self.weight).mean((1, 2, 3, 4)) for image in images], 1)
        if with_classes:
            return logits, logits[:, :1].expand(-1, self.classes)
        return (logits, [logits] * self.num_scales) if with_features else logits


def rehearse_data(data: DataSettings, seed: int) -> None:
    """Draw one training sample from every source behind the data.

    The sources are built anew because the run's own ones open their files in its workers.
    """
    source = build_source(data, "train", training_offsets(data))
    source.draw([0], [0], seed)
    while isinstance(source, WrappedSource):
        source = source.source
        source.draw([0], [0], seed)


def check_world_size(data: DataSettings, objective: ObjectiveSettings) -> None:
    """Raise ConfigError if an adversary's crops differ in size from an embedded world's frames."""
    if data.root is None and objective.has_discriminator and not data.has_points:
        side = data.crop_size or data.size if data.world_settings.name == "moving_shapes" else data.size
        if side not in (None, data.crop_size):
            raise ConfigError(
                f"[data.crop_size={data.crop_size}] an embedded world is not cropped, and an adversary takes one size; "
                f"set data.crop_size={side} or data.root"
            )


def rehearse(
    objective: ObjectiveSettings,
    training: TrainingSettings,
    data: DataSettings,
    num_scales: int,
    discriminator: Discriminator | None,
) -> None:
    """Build the optimizers and compute every loss of a step once, on noise and with stand-ins for the networks.

    Args:
        objective: Settings of the losses.
        training: Settings of the training.
        data: Settings of the data.
        num_scales: Number of scales of the generator's images.
        discriminator: The discriminator to replace; None: none.
    """
    stand_in = None if discriminator is None else StandIn(discriminator)
    generator = AdaptedGenerator(nn.Linear(1, 1), data)
    networks: dict[str, nn.Module] = {"generator": generator}
    if stand_in is not None:
        networks["discriminator"] = stand_in
    for name, network in networks.items():
        build_optimizer(getattr(training, name), network)
        own = training.discriminator_schedule if name == "discriminator" else None
        schedule_factor(own or training.schedule, training.steps - 1, training.steps)
    with torch.random.fork_rng(devices=[]):
        built = Objective(objective, stand_in, stand_in, generator)
        side = MIN_SIDE << (num_scales - 1)
        context, future = (
            torch.rand(SAMPLES, count, data.channels, side, side) for count in (data.context_frames, data.future_frames)
        )
        labels = torch.zeros(SAMPLES, dtype=torch.int64)
        num_samples = objective.num_samples
        predictions = [
            torch.rand(SAMPLES * num_samples, data.future_frames, data.channels, side >> scale, side >> scale)
            for scale in reversed(range(num_scales))
        ]
        batch = Batch(context, future, torch.arange(SAMPLES), labels=labels)
        for number in {0, objective.adversary.discriminator_steps - 1 if stand_in else 0}:
            step = Step(batch, predictions, number, num_samples, torch.zeros(SAMPLES * num_samples))
            for phase in built.phases(number):
                phase.losses(step)
                phase.after_update()
