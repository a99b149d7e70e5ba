"""Remedies of a diagnosis: pieces of advice, each with the condition under which a run's settings can follow it.

Settings are written KEY=VALUE; a test applies each to the configs that receive the advice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vidpred.losses.gan_losses import ADVERSARIAL_LOSSES
from vidpred.training.checks import History

Condition = Callable[[History], bool]


@dataclass(frozen=True)
class Remedy:
    """A piece of advice and the condition under which it is given; by default always."""

    text: str
    condition: Condition = lambda history: True


def for_frames(history: History) -> bool:
    """Return whether the run predicts frames."""
    return not history.makes_images


def for_images(history: History) -> bool:
    """Return whether the run makes images from noise; points are not images."""
    return history.makes_images and not history.settings.data.has_points


def for_points(history: History) -> bool:
    """Return whether the run makes points."""
    return history.settings.data.has_points


def of_videos(history: History) -> bool:
    """Return whether frames are predicted from files, of which windows can be chosen."""
    return for_frames(history) and history.settings.data.root is not None


def reads_in_turn(history: History) -> bool:
    """Return whether the training process itself reads the data."""
    return not history.settings.data.num_workers


def reads_ahead(history: History) -> bool:
    """Return whether worker processes read the data."""
    return not reads_in_turn(history)


def has_adversary(history: History) -> bool:
    """Return whether there is a discriminator."""
    return history.objective.has_discriminator


def can_smooth_labels(history: History) -> bool:
    """Return whether one-sided label smoothing is possible and not yet used."""
    adversary = history.objective.adversary
    return has_adversary(history) and adversary.real_label == 1 and ADVERSARIAL_LOSSES[adversary.loss].smoothable


def is_minimax(history: History) -> bool:
    """Return whether the generator's loss vanishes where the discriminator is confident."""
    return history.objective.adversary.loss == "minimax"


def lacks_penalty(history: History) -> bool:
    """Return whether nothing bounds the discriminator's slope yet, and its loss does not require a certain bound."""
    adversary = history.objective.adversary
    bounded = adversary.r1_weight or adversary.r2_weight or adversary.gradient_penalty_weight or adversary.weight_clip
    return has_adversary(history) and not bounded and adversary.loss != "wasserstein"


def lacks_history(history: History) -> bool:
    """Return whether an adversary is used without historical averaging."""
    return has_adversary(history) and not history.objective.history_weight


def lacks_clipping(history: History) -> bool:
    """Return whether gradients are not clipped."""
    return history.training.grad_clip_norm is None


def lacks_matching(history: History) -> bool:
    """Return whether an adversary is used without feature matching."""
    return has_adversary(history) and not history.objective.adversary.feature_matching_weight


def lacks(name: str) -> Condition:
    """Return the condition that the discriminator has a setting, which is off."""

    def condition(history: History) -> bool:
        settings = history.settings.discriminator
        return has_adversary(history) and name in type(settings).model_fields and not getattr(settings, name)

    return condition


def uses_adam(history: History) -> bool:
    """Return whether both optimizers are Adam with more than the usual momentum of GANs."""
    optimizers = (history.training.generator, history.training.discriminator)
    return has_adversary(history) and all(
        optimizer.name in ("adam", "adamw") and optimizer.betas[0] > 0.5 for optimizer in optimizers
    )


def can_use_patches(history: History) -> bool:
    """Return whether another discriminator can replace the present one, whose other settings are at their defaults."""
    settings = history.settings.discriminator
    changed = [name for name, field in type(settings).model_fields.items() if getattr(settings, name) != field.default]
    return for_frames(history) and has_adversary(history) and settings.name != "patch" and changed in ([], ["name"])


def can_sample(history: History) -> bool:
    """Return whether a frame predictor with noise is trained on a single sample per clip."""
    has_losses = any((history.objective.lp_weight, history.objective.gdl_weight, history.objective.log_weight))
    noisy = bool(history.settings.model.noise_channels)
    return for_frames(history) and noisy and has_losses and history.objective.num_samples == 1


def lacks_adversary(history: History) -> bool:
    """Return whether frames are predicted in crops without an adversary."""
    return for_frames(history) and not has_adversary(history) and history.settings.data.crop_size is not None


def lacks_gdl(history: History) -> bool:
    """Return whether frames are predicted without the gradient difference loss."""
    return for_frames(history) and not history.objective.gdl_weight


def uses_squares(history: History) -> bool:
    """Return whether the l_p loss is the squared error."""
    return bool(history.objective.lp_weight) and history.objective.lp_exponent > 1


def has_dial(history: History) -> bool:
    """Return whether the generator's sharpness is a setting."""
    return "sharpness" in type(history.settings.model).model_fields


def lacks_flow(history: History) -> bool:
    """Return whether frames are predicted by a generator that does not start from optical flow."""
    return for_frames(history) and not history.settings.model.starts_from_flow


def trains_on_several_samples(history: History) -> bool:
    """Return whether several samples are drawn per training clip (objective.num_samples)."""
    return history.objective.num_samples > 1


def is_not_decaying(history: History) -> bool:
    """Return whether the learning rate stays constant."""
    return history.training.schedule.shape == "constant"


def has_frame_losses(history: History) -> bool:
    """Return whether an adversary is combined with other losses."""
    return has_adversary(history) and any((history.objective.lp_weight, history.objective.gdl_weight))
