"""Losses of a generator and its discriminator in one training step, for images of any kind.

Video prediction and image generation share them: images come as one tensor `(B, ...)` per scale, and the discriminator
as a callable that already holds its conditions (a context, a label or nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.losses.augmentation import AdaptiveProbability, AugmentationName, augment
from vidpred.losses.gan_losses import ADVERSARIAL_LOSSES, AdversarialName, accuracy, saturation
from vidpred.losses.penalties import (
    HistoricalAverage,
    clip_weights,
    gradient_penalty,
    interpolate,
    zero_centered_penalties,
)
from vidpred.losses.reconstruction import feature_matching_loss
from vidpred.settings import Settings

PENALIZED = {"r1": 0, "r2": 1}  # penalty -> index of its group of images: the real ones, the generated ones


class AdversarialSettings(Settings):
    """Settings of the adversary. There is no discriminator if `weight` and `feature_matching_weight` are 0."""

    weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the generator's adversarial loss, summed over scales; about "
        "0.01 to 0.1 with frame losses. 0: none; with feature_matching_weight also 0, there is no discriminator.",
    )
    balanced: bool = Field(
        False,
        description="Multiply the weight by the ratio of the other losses' gradient to the adversarial one, at the "
        "generator's last layer (Esser et al. 2021, equation 7). A weight of 1 then makes both equally strong.",
    )
    feature_matching_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the generator's feature matching loss: the squared distance between the "
        "batch means of the discriminator's hidden features for true and generated images.",
    )
    loss: AdversarialName = Field(
        "bce",
        description="Adversarial loss; bce is the non-saturating one, relativistic compares each generated image with "
        "a real one (R3GAN).",
    )
    start: int = Field(
        0,
        ge=0,
        description="Step from which on the generator's adversarial loss counts; the discriminator trains "
        "from the first step.",
    )
    ramp: int = Field(
        0,
        ge=0,
        description="Number of steps from `start` on over which the adversarial weight rises linearly "
        "from 0. 0: at once.",
    )
    real_label: float = Field(
        1.0, gt=0, le=1, description="Discriminator target for real images; below 1: one-sided label smoothing."
    )
    r1_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the R1 penalty, half the squared gradient of the discriminator at real "
        "images, with respect to values in [0, 1]: a weight of 10 in papers with [-1, 1] is "
        "2.5 here.",
    )
    r2_weight: float = Field(
        0.0, ge=0, description="Weight of the R2 penalty, which is R1 at generated instead of real images."
    )
    r1_every: int = Field(
        16,
        ge=1,
        description="Compute the R1 and R2 penalties in every n-th discriminator step; their weights are "
        "not scaled up for that.",
    )
    gradient_penalty_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the gradient penalty (WGAN-GP), which pulls the slope between real and "
        "generated images to 1, with gradients with respect to values in [0, 1].",
    )
    drift_weight: float = Field(
        0.0, ge=0, description="Weight of the mean squared logit of real images (Karras et al. 2018)."
    )
    weight_clip: float | None = Field(
        None,
        gt=0,
        description="Largest absolute value of the discriminator's weights, which are clipped after every "
        "update (WGAN). null: not clipped.",
    )
    wrong_pairs: bool = Field(
        False,
        description="Also train the discriminator to reject true futures of other samples, so that it compares "
        "them with the context.",
    )
    discriminator_steps: int = Field(
        1, ge=1, description="Update the generator every n-th step, the discriminator every step."
    )
    class_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the discriminator's cross-entropy on labeled real images; needs discriminator.classes.",
    )

    augment: tuple[AugmentationName, ...] = Field(
        (),
        description="Augmentations of the discriminator's inputs, real and generated, for few images: color, "
        "translation, cutout (DiffAugment, Zhao et al. 2020). Only for generators of images.",
    )
    augment_probability: float = Field(
        1.0, gt=0, le=1, description="Probability of each augmentation of each image, without augment_target."
    )
    augment_target: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Adapt the probability so that the mean sign of the logits of real images, 1 where the "
        "discriminator overfits, keeps this value; 0.6 in the paper (Karras et al. 2020). For a loss that only ranks "
        "logits (relativistic, wasserstein), signs are of their differences from the middle between the means of real "
        "and generated images. null: a fixed probability.",
    )
    augment_ramp_images: int = Field(
        500_000, ge=1, description="Images in which the adapted probability can rise from 0 to 1."
    )

    @model_validator(mode="after")
    def _check_label(self) -> Self:
        if self.real_label != 1 and not ADVERSARIAL_LOSSES[self.loss].smoothable:
            raise ValueError(f"real_label: the {self.loss} loss has no labels to smooth; set real_label=1")
        return self

    @property
    def has_discriminator(self) -> bool:
        """Whether the generator has an adversary."""
        return self.weight > 0 or self.feature_matching_weight > 0


@dataclass(frozen=True)
class Losses:
    """Losses of one phase: the scalar to minimize, its named parts for the log, and the weights of its terms."""

    total: Tensor
    parts: dict[str, Tensor]
    weights: dict[str, float] = field(default_factory=dict)

    def detach(self) -> Losses:
        """Return the total and its parts without their graph."""
        return Losses(self.total.detach(), {name: value.detach() for name, value in self.parts.items()})

    def weighted(self) -> dict[str, Tensor]:
        """Return the weighted terms by name, scalars that add up to the total."""
        return {name: weight * self.parts[name] for name, weight in self.weights.items()}


class AdversarialLosses:
    """Losses of both networks. Its state is `memory`: averages for historical averaging, the adapted probability."""

    def __init__(
        self, settings: AdversarialSettings, networks: dict[str, nn.Module], history_weight: float = 0.0
    ) -> None:
        """Store the networks and, if `history_weight` is above 0, start their averages.

        Args:
            settings: Settings of the adversary.
            networks: "generator" and, if there is one, "discriminator", unwrapped.
            history_weight: Weight of historical averaging.
        """
        self.settings, self.networks, self.history_weight = settings, networks, history_weight
        self.loss = ADVERSARIAL_LOSSES[settings.loss]
        averaged = networks if history_weight else {}
        self.averages = {name: HistoricalAverage(network) for name, network in averaged.items()}
        self.adaptive: AdaptiveProbability | None = None
        if settings.augment and settings.augment_target is not None:
            self.adaptive = AdaptiveProbability(settings.augment_target, settings.augment_ramp_images)
        self._seen: list[tuple[Tensor, int]] = []  # accuracies on real images, and their number, since the last update

    @property
    def memory(self) -> dict[str, nn.Module]:
        """The modules with state between steps, by name, which checkpoints store."""
        adaptive = {} if self.adaptive is None else {"augmentation": self.adaptive}
        return {**self.averages, **adaptive}

    def augmented(self, images: list[Tensor]) -> list[Tensor]:
        """Return images `(B, 1, C, H, W)`, augmented if the settings say so, as the discriminator's inputs."""
        names = self.settings.augment
        if not names:
            return images
        probability = self.settings.augment_probability if self.adaptive is None else float(self.adaptive.probability)
        return [augment(image[:, 0].float(), names, probability)[:, None] for image in images]

    def adversarial_weight(self, step: int) -> float:
        """Return the weight of the generator's adversarial loss in a step (from 0)."""
        weight = self.settings.weight
        return weight and weight * ramp_factor(step, self.settings.start, self.settings.ramp)

    def generator_terms(
        self, score: Callable[[list[Tensor]], tuple[Tensor, list[Tensor]]], fake: list[Tensor], real: list[Tensor],
        step: int,
    ) -> dict[str, tuple[float, Tensor]]:  # fmt: skip
        """Return the weight and value of the generator's terms by name, without terms of weight 0.

        Args:
            score: The discriminator: images -> logits and features.
            fake: The generator's images of every scale, with their graph.
            real: True images, for their features.
            step: Training step, from 0.
        """
        weight, matching = self.adversarial_weight(step), self.settings.feature_matching_weight
        terms: dict[str, tuple[float, Tensor]] = {}
        if weight or matching:
            logits, features = score(self.augmented(fake))
            if weight:
                if self.loss.fake is None:
                    with torch.no_grad():
                        of_real, _ = score(self.augmented(real))
                    logits = logits - of_real.repeat(len(logits) // len(of_real), *[1] * (logits.dim() - 1))
                terms["adversarial"] = weight, self.loss.generator(logits) * logits.shape[1]
            if matching:
                with torch.no_grad():
                    _, target = score(self.augmented(real))
                terms["feature_matching"] = matching, feature_matching_loss(features, target)
        return terms | self.history_terms("generator")

    def discriminator_losses(
        self, score: Callable[[list[Tensor]], Tensor], real: list[Tensor], false: Sequence[list[Tensor]], step: int,
        pixel_repeat: int = 1,
    ) -> Losses:  # fmt: skip
        """Compute the discriminator's losses, summed over scales; all false groups together weigh as much as `real`.

        Args:
            score: The discriminator: images -> logits, for several groups concatenated along the batch.
            real: True images of every scale, detached here.
            false: Groups of images to reject, the generator's first; detached here.
            step: Training step, from 0.
            pixel_repeat: See `r1_penalty`.
        """
        settings = self.settings
        penalties = self._penalties(step)
        groups = [[image.detach() for image in group] for group in (real, *false)]
        for image in (image for name in penalties for image in groups[PENALIZED[name]]):
            image.requires_grad_()
        if settings.gradient_penalty_weight:
            groups.append(interpolate(real, false[0]))
        # One forward for all groups: data-parallel training expects one forward per backward.
        logits = score(self.augmented([torch.cat(scale) for scale in zip(*groups, strict=True)]))
        on_real, *rest = logits.chunk(len(groups))
        on_false = rest[: len(false)]
        terms = self._scores(on_real, on_false)
        if penalties:
            scored = [(logits.chunk(len(groups))[PENALIZED[name]], groups[PENALIZED[name]]) for name in penalties]
            values = zero_centered_penalties(scored, pixel_repeat)
            terms |= dict(zip(penalties, zip(penalties.values(), values, strict=True), strict=True))
        if settings.gradient_penalty_weight:
            terms["gradient_penalty"] = (
                settings.gradient_penalty_weight,
                gradient_penalty(rest[-1], groups[-1], pixel_repeat),
            )
        if settings.drift_weight:
            terms["drift"] = settings.drift_weight, on_real.square().mean(0).sum()
        losses = weighted_losses(terms | self.history_terms("discriminator"))
        parts = losses.parts | self._accuracies(on_real, on_false[0])
        if self.adaptive is not None:
            self._seen.append((parts["accuracy_real"], len(real[0])))
            parts["augment_probability"] = on_real.new_tensor(float(self.adaptive.probability))
        return Losses(losses.total, parts, losses.weights)

    def _penalties(self, step: int) -> dict[str, float]:
        """Return the weights of the zero-centered gradient penalties of a step, by name, without those of weight 0."""
        settings = self.settings
        weights = {"r1": settings.r1_weight, "r2": settings.r2_weight}
        wanted = {name: weight for name, weight in weights.items() if weight}
        return wanted if wanted and step % settings.r1_every == 0 else {}

    def _scores(self, on_real: Tensor, on_false: Sequence[Tensor]) -> dict[str, tuple[float, Tensor]]:
        """Return the weight and value of the discriminator's adversarial terms, by name."""
        loss, label, scales = self.loss, self.settings.real_label, on_real.shape[1]
        if loss.fake is None:
            pairs = sum_of(loss.real(on_real - on_fake, label) for on_fake in on_false)
            return {"pairs": (1.0, pairs / len(on_false) * scales)}
        rejected = sum_of(loss.fake(on_fake) for on_fake in on_false)
        return {"real": (1.0, loss.real(on_real, label) * scales), "fake": (1.0, rejected / len(on_false) * scales)}

    def _accuracies(self, on_real: Tensor, on_fake: Tensor) -> dict[str, Tensor]:
        """Return accuracies and saturation; a loss without a boundary decides halfway between the mean logits."""
        boundary = self.loss.boundary
        if boundary is None:
            boundary = float((on_real.mean() + on_fake.mean()).detach()) / 2
        real, fake = accuracy(on_real, True, boundary), accuracy(on_fake, False, boundary)
        found = {"accuracy_real": real, "accuracy_fake": fake, "accuracy": (real + fake) / 2}
        if (saturation_margin := self.loss.saturation_margin) is not None:
            shares = (
                saturation(on_real, True, boundary, saturation_margin),
                saturation(on_fake, False, boundary, saturation_margin),
            )
            found["saturated"] = (shares[0] + shares[1]) / 2
        return found

    def history_terms(self, network: str) -> dict[str, tuple[float, Tensor]]:
        """Return the historical averaging term of a network, by its name; none without historical averaging."""
        return {"history": (self.history_weight, self.averages[network]())} if network in self.averages else {}

    def after_update(self, network: str) -> None:
        """Clip a network's updated weights and add them to its average, where the settings ask for it."""
        if network == "discriminator" and self.settings.weight_clip is not None:
            clip_weights(self.networks[network], self.settings.weight_clip)
        if network in self.averages:
            self.averages[network].update()
        if network == "discriminator" and self.adaptive is not None:
            self._adapt(self.adaptive)

    def _adapt(self, adaptive: AdaptiveProbability) -> None:
        """Update the probability of augmentation by the batches since the last update, of all processes."""
        accuracies, counts = zip(*self._seen, strict=True)
        accuracy, count = torch.stack(accuracies).mean(), sum(counts)
        self._seen.clear()
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(accuracy)
            accuracy, count = accuracy / torch.distributed.get_world_size(), count * torch.distributed.get_world_size()
        adaptive.update(float(accuracy), count)


def ramp_factor(step: int, start: int, length: int) -> float:
    """Return 0 before step `start`, then rise linearly to 1, which step `start + length` is the first to reach."""
    if step < start:
        return 0.0
    return min(1.0, (step - start + 1) / (length + 1))


def weighted_losses(terms: dict[str, tuple[float, Tensor]]) -> Losses:
    """Return the losses of named terms (weight, scalar): their weighted sum, and the values for the log."""
    return Losses(
        sum_of(weight * value for weight, value in terms.values()),
        {name: value for name, (_, value) in terms.items()},
        {name: weight for name, (weight, _) in terms.items()},
    )


def sum_of(terms: object) -> Tensor:
    """Return the sum of an iterable of at least one tensor."""
    total = sum(terms)  # type: ignore[call-overload]
    assert isinstance(total, Tensor), "an objective needs at least one weight above 0"
    return total
