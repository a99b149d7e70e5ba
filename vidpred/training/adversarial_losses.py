"""The game between a generator and a discriminator, for images of any kind: what each pays in one step.

Video prediction and image generation share it: the images come as one tensor `(B, ...)` a scale, and the judge is a
callable that already knows what they are to be judged with (a context, a label, nothing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.losses.gan_losses import ADVERSARIAL_LOSSES, AdversarialName, accuracy, saturation
from vidpred.losses.penalties import HistoricalAverage, clip_weights, gradient_penalty, interpolate, r1_penalty
from vidpred.losses.reconstruction import feature_matching_loss
from vidpred.settings import Settings


class AdversarialSettings(Settings):
    """Settings of the adversary. Without one of its first two weights there is no discriminator."""

    weight: float = Field(0.0, ge=0, description="Weight of the generator's adversarial loss, summed over scales.")
    feature_matching_weight: float = Field(
        0.0, ge=0, description="Weight of the distance between the batch means of the discriminator's hidden features."
    )
    loss: AdversarialName = Field("bce", description="Adversarial loss; bce is the non-saturating one.")
    start: int = Field(
        0, ge=0, description="Step at which the generator's adversarial loss starts; the discriminator always trains."
    )
    ramp: int = Field(0, ge=0, description="Number of steps over which the adversarial weight rises.")
    real_label: float = Field(
        1.0, gt=0, le=1, description="Discriminator target for real images; below 1: one-sided label smoothing."
    )
    r1_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the R1 penalty, of gradients with respect to values in [0, 1]: a weight of 10 in papers"
        " with [-1, 1] is 2.5 here.",
    )
    r1_every: int = Field(16, ge=1, description="Discriminator steps between R1 penalties.")
    gradient_penalty_weight: float = Field(
        0.0, ge=0, description="Weight of the gradient penalty, of gradients with respect to values in [0, 1]."
    )
    drift_weight: float = Field(
        0.0, ge=0, description="Weight of the mean squared logit of real images (Karras et al. 2018)."
    )
    weight_clip: float | None = Field(None, gt=0, description="Bound of the discriminator's weights. null: none.")
    wrong_pairs: bool = Field(False, description="Train the discriminator to reject the future of another sample, too.")
    discriminator_steps: int = Field(
        1, ge=1, description="Update the generator every n-th step, the discriminator in every step."
    )
    class_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the discriminator's cross-entropy on labelled real images; needs discriminator.classes.",
    )

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.real_label != 1 and not ADVERSARIAL_LOSSES[self.loss].smoothable:
            raise ValueError(f"real_label: the {self.loss} loss has no labels to smooth; set real_label=1")
        return self

    @property
    def has_discriminator(self) -> bool:
        """Whether the generator has an adversary."""
        return self.weight > 0 or self.feature_matching_weight > 0


@dataclass(frozen=True)
class Losses:
    """One phase's result: the scalar to minimise, its named parts for the log, and the weights of those it sums."""

    total: Tensor
    parts: dict[str, Tensor]
    weights: dict[str, float] = field(default_factory=dict)

    def weighted(self) -> dict[str, Tensor]:
        """The terms that add up to the total."""
        return {name: weight * self.parts[name] for name, weight in self.weights.items()}


class AdversarialLosses:
    """Both players' costs. Of its own it keeps only the averages that historical averaging needs (`memory`)."""

    def __init__(
        self, settings: AdversarialSettings, players: dict[str, nn.Module], history_weight: float = 0.0
    ) -> None:
        """players: "generator" and, where there is one, "discriminator", unwrapped."""
        self.settings, self.players, self.history_weight = settings, players, history_weight
        self.loss = ADVERSARIAL_LOSSES[settings.loss]
        remembered = players if history_weight else {}
        self.memory = {name: HistoricalAverage(player) for name, player in remembered.items()}

    def adversarial_weight(self, step: int) -> float:
        """The adversary's weight in a step (from 0)."""
        weight = self.settings.weight
        return weight and weight * ramp(step, self.settings.start, self.settings.ramp)

    def generator_terms(
        self, judge: Callable[[list[Tensor]], tuple[Tensor, list[Tensor]]], fake: list[Tensor], real: list[Tensor],
        step: int,
    ) -> dict[str, tuple[float, Tensor]]:  # fmt: skip
        """What the generator pays, by name: weight and value. Terms of weight 0 are left out.

        judge -> logits and features. fake: its images with their graph; real: true ones, for their features.
        """
        weight, matching = self.adversarial_weight(step), self.settings.feature_matching_weight
        terms: dict[str, tuple[float, Tensor]] = {}
        if weight or matching:
            logits, features = judge(fake)
            if weight:
                terms["adversarial"] = weight, self.loss.generator(logits) * logits.shape[1]
            if matching:
                with torch.no_grad():
                    _, wanted = judge(real)
                terms["feature_matching"] = matching, feature_matching_loss(features, wanted)
        return terms | self.history_terms("generator")

    def discriminator_losses(
        self, judge: Callable[[list[Tensor]], Tensor], real: list[Tensor], false: Sequence[list[Tensor]], step: int,
        pixel_repeat: int = 1,
    ) -> Losses:  # fmt: skip
        """True images against each kind of false ones (which weigh together as much), summed over scales.

        judge -> logits, for images of several kinds one after another along the batch. false: the generator's
        images first, then any others. All are taken as constants. repeated: see `r1_penalty`.
        """
        settings, game = self.settings, self.loss
        with_r1 = settings.r1_weight > 0 and step % settings.r1_every == 0
        real = [image.detach().requires_grad_(with_r1) for image in real]
        groups = [real, *([image.detach() for image in kind] for kind in false)]
        if settings.gradient_penalty_weight:
            groups.append(interpolate(real, false[0]))
        # One forward for all kinds: data-parallel training expects one forward for each backward.
        logits = judge([torch.cat(scale) for scale in zip(*groups, strict=True)])
        on_real, *rest = logits.chunk(len(groups))
        on_false = rest[: len(false)]
        scales = logits.shape[1]
        terms = {
            "real": (1.0, game.real(on_real, settings.real_label) * scales),
            "fake": (1.0, sum_of(game.fake(judged) for judged in on_false) / len(on_false) * scales),
        }
        if with_r1:
            terms["r1"] = settings.r1_weight, r1_penalty(on_real, real, pixel_repeat)
        if settings.gradient_penalty_weight:
            terms["gradient_penalty"] = (
                settings.gradient_penalty_weight,
                gradient_penalty(rest[-1], groups[-1], pixel_repeat),
            )
        if settings.drift_weight:
            terms["drift"] = settings.drift_weight, on_real.square().mean(0).sum()
        losses = weigh(terms | self.history_terms("discriminator"))
        return Losses(losses.total, losses.parts | self._accuracies(on_real, on_false[0]), losses.weights)

    def _accuracies(self, on_real: Tensor, on_fake: Tensor) -> dict[str, Tensor]:
        """A critic that only ranks is taken to decide halfway between its mean logits."""
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

    def history_terms(self, player: str) -> dict[str, tuple[float, Tensor]]:
        return {"history": (self.history_weight, self.memory[player]())} if player in self.memory else {}

    def after_update(self, player: str) -> None:
        """What is due when a player's weights have changed: clipping, and taking them into the average."""
        if player == "discriminator" and self.settings.weight_clip is not None:
            clip_weights(self.players[player], self.settings.weight_clip)
        if player in self.memory:
            self.memory[player].update()


def ramp(step: int, start: int, length: int) -> float:
    """0 before step `start`, then up to 1 along a straight line: step start + length is the first at 1."""
    if step < start:
        return 0.0
    return min(1.0, (step - start + 1) / (length + 1))


def weigh(terms: dict[str, tuple[float, Tensor]]) -> Losses:
    """The weighted sum of named terms, and their values for the log."""
    return Losses(
        sum_of(weight * value for weight, value in terms.values()),
        {name: value for name, (_, value) in terms.items()},
        {name: weight for name, (weight, _) in terms.items()},
    )


def sum_of(terms: object) -> Tensor:
    total = sum(terms)  # type: ignore[call-overload]
    assert isinstance(total, Tensor), "an objective needs at least one weight above 0"
    return total
