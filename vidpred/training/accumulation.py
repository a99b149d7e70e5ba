"""Gradient accumulation: the means over the batches of a step, and what needs the whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Discriminator
from vidpred.training.adversarial_losses import Losses
from vidpred.training.objectives import ObjectiveSettings
from vidpred.training.settings import TrainingSettings


def check_accumulation(
    training: TrainingSettings, objective: ObjectiveSettings, data: DataSettings, discriminator: Discriminator | None
) -> None:
    """Check that the gradients of several batches add up to those of one large batch.

    Raises:
        ConfigError: The objective or the discriminator needs all samples of a step at once.
    """
    batches, adversary = training.gradient_accumulation_steps, objective.adversary
    if batches == 1:
        return
    reasons = {
        "objective.adversarial.balanced compares gradients of the whole batch; set it to false": adversary.balanced,
        "objective.adversarial.feature_matching_weight matches means over the whole batch; set it to 0": (
            adversary.feature_matching_weight > 0
        ),
        "objective.adversarial.class_weight averages over the labeled images, whose number differs between batches; "
        "label all images (data.labeled=null)": adversary.class_weight > 0 and data.labeled is not None,
        "the discriminator compares the samples of the whole batch; set discriminator.minibatch_kernels=0 (or "
        "minibatch_std_group=0)": discriminator is not None and discriminator.compares_samples,
    }
    for reason, applies in reasons.items():
        if applies:
            raise ConfigError(
                f"[training.gradient_accumulation_steps={batches}] {reason}, or use "
                f"training.batch_size={batches * training.batch_size} without accumulation"
            )


def mean_losses(losses: Sequence[Losses]) -> Losses:
    """Return the mean of the losses of batches of equal size; a part that some lack is averaged over the others."""
    if len(losses) == 1:
        return losses[0]
    names = dict.fromkeys(name for found in losses for name in found.parts)
    parts = {name: torch.stack([found.parts[name] for found in losses if name in found.parts]).mean() for name in names}
    return Losses(torch.stack([found.total for found in losses]).mean(), parts)
