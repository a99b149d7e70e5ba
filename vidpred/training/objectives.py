"""What is minimised: an objective is a list of phases, each training one network. Reconstruction alone is one phase,
an adversarial generator two; the trainer knows nothing else about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field, create_model
from torch import Tensor, nn

from vidpred.data.batch import Batch
from vidpred.losses.reconstruction import (
    class_loss,
    gradient_difference_loss,
    log_squared_error,
    lp_loss,
    pixel_cross_entropy,
)
from vidpred.losses.table import LOSSES
from vidpred.models.base import Discriminator, Generator
from vidpred.models.conditions import Conditions
from vidpred.models.pyramid import build_pyramid
from vidpred.settings import Settings, absent_at_defaults
from vidpred.training.adversarial_losses import AdversarialLosses, AdversarialSettings, Losses, sum_of, weigh

LossWeights: type[Settings] = create_model(  # type: ignore[call-overload]
    "LossWeights",
    __base__=Settings,
    __doc__="Weights of the losses of `vidpred.losses.table`, each a mean over pixels in [-1, 1], summed over scales.",
    **{name: (float, Field(0.0, ge=0, description=f"Weight of the {name} loss.")) for name in LOSSES},
)


class ObjectiveSettings(Settings):
    """Weights of the losses (Mathieu et al. 2016, equation 7). A term of weight 0 is not computed."""

    lp_weight: float = Field(
        1.0, ge=0, description="Weight of the L_p loss, a mean over pixels in [-1, 1], summed over scales."
    )
    lp_exponent: float = Field(1.0, ge=1, description="Exponent p of the L_p loss.")
    gdl_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the gradient difference loss, a mean over pixels in [-1, 1], summed over scales.",
    )
    gdl_alpha: float = Field(1.0, ge=1, description="Exponent of the gradient difference loss.")
    pixel_entropy_weight: float = Field(
        0.0, ge=0, description="Weight of the cross-entropy of pixels, a mean over the values of an image."
    )
    kl_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the divergence of a variational auto-encoder's code. With both this and "
        "pixel_entropy_weight 1 the loss is the negative evidence lower bound per value.",
    )
    log_weight: float = Field(
        0.0, ge=0, description="Weight of the logarithm of each frame's squared error, which is PSNR up to a factor."
    )
    log_scales: int = Field(
        1, ge=1, le=6, description="Sizes over which log_weight's loss is averaged, each half of the one before."
    )
    losses: Annotated[LossWeights | None, AfterValidator(absent_at_defaults)] = Field(
        None, description="Weights of further losses. null: none."
    )
    num_samples: int = Field(
        1,
        ge=1,
        description="Number of futures per training sample, in antithetic pairs. Above 1, which needs noise, the "
        "losses count for the nearest one (best of N; Guzman-Rivera et al. 2012).",
    )
    history_weight: float = Field(
        0.0, ge=0, description="Weight of the distance of the weights of both networks from the average of their past."
    )
    other_samples_weight: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of the loss that all samples but the nearest have together (Rupprecht et al. 2017).",
    )
    adversarial: Annotated[AdversarialSettings | None, AfterValidator(absent_at_defaults)] = Field(
        None, description="The adversary. null: none."
    )

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights above 0 of the section `losses`, by name."""
        weights = self.losses or LossWeights()
        return {name: float(weight) for name in LOSSES if (weight := getattr(weights, name))}

    @property
    def adversary(self) -> AdversarialSettings:
        """The section `adversarial`, or its defaults, which are no adversary."""
        return self.adversarial or AdversarialSettings()

    @property
    def has_discriminator(self) -> bool:
        """Whether the generator has an adversary."""
        return self.adversary.has_discriminator


@dataclass(frozen=True)
class Step:
    """What the phases of one training step share: the batch, the generator's images (with their graph), the step.

    predictions: one tensor a scale, `(num_samples * B, K, C, h, w)`: the first draw of every clip, then the next
    latent_cost: `(B,)`, what the code of each sample cost, of a generator that encodes the truth.
    """

    batch: Batch
    predictions: list[Tensor]
    number: int
    num_samples: int = 1
    latent_cost: Tensor | None = None


@dataclass(frozen=True)
class Phase:
    """One network's turn within a step: its losses, and what is due after its update. `network` names it."""

    network: Literal["generator", "discriminator"]
    losses: Callable[[Step], Losses]
    after_update: Callable[[], None] = lambda: None


class Objective:
    """Builds the phases for one set of weights.

    generator is for penalties on its weights (none: there are none of those). discriminator is the wrapped module that
    the discriminator's phase trains (data-parallel hooks see its forward); judge is the same network unwrapped, for the
    generator's phase, in which it has nothing to learn.
    """

    def __init__(
        self,
        settings: ObjectiveSettings,
        discriminator: nn.Module | None = None,
        judge: Discriminator | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.settings, self.discriminator, self.judge = settings, discriminator, judge
        players = {"generator": generator, "discriminator": judge}
        self.game = AdversarialLosses(
            settings.adversary,
            {name: player for name, player in players.items() if player is not None},
            settings.history_weight,
        )

    @property
    def memory(self) -> dict[str, nn.Module]:
        """What the objective remembers from step to step, by name: it belongs into checkpoints."""
        return dict(self.game.memory)

    def phases(self, number: int = 0) -> list[Phase]:
        """Those of step `number` (from 0), in order: the discriminator first, as in the paper's algorithm 1."""
        generator = Phase("generator", self.generator_losses, lambda: self.game.after_update("generator"))
        if not self.settings.has_discriminator:
            return [generator]
        phases = [
            Phase("discriminator", self.discriminator_losses, lambda: self.game.after_update("discriminator")),
            generator,
        ]
        every = self.settings.adversary.discriminator_steps
        return phases if number % every == every - 1 else phases[:1]

    def generator_losses(self, step: Step) -> Losses:
        """L_p, GDL and adversarial terms of every scale, weighted."""
        settings, judge, true = self.settings, self.judge, self._true(step)
        terms: dict[str, tuple[float, Tensor]] = {}
        each = step.num_samples > 1  # then a loss of every draw of every sample, to choose between
        pairs = [(p, t.repeat(step.num_samples, 1, 1, 1, 1)) for p, t in zip(step.predictions, true, strict=True)]
        if settings.lp_weight:
            lp = sum_of(lp_loss(p * 2 - 1, t * 2 - 1, settings.lp_exponent, each) for p, t in pairs)
            terms["lp"] = settings.lp_weight, lp
        if settings.gdl_weight:
            # A scale of one pixel has no gradient.
            visible = [(p, t) for p, t in pairs if min(p.shape[-2:]) > 1]
            gdl = sum_of(gradient_difference_loss(p * 2 - 1, t * 2 - 1, settings.gdl_alpha, each) for p, t in visible)
            terms["gdl"] = settings.gdl_weight, gdl
        if settings.log_weight:
            log = sum_of(
                log_squared_error(p * 2 - 1, t * 2 - 1, each=each, scales=settings.log_scales) for p, t in pairs
            )
            terms["log"] = settings.log_weight, log
        for name, weight in settings.loss_weights.items():
            terms[name] = weight, sum_of(LOSSES[name](p * 2 - 1, t * 2 - 1, each=each) for p, t in pairs)
        if each and terms:
            terms = nearest_sample(terms, step.num_samples, settings.other_samples_weight)

        if settings.pixel_entropy_weight:
            entropy = sum_of(pixel_cross_entropy(p, t) for p, t in pairs)
            terms["pixel_entropy"] = settings.pixel_entropy_weight, entropy
        if settings.kl_weight:
            assert step.latent_cost is not None
            terms["kl"] = settings.kl_weight, step.latent_cost.mean() / step.batch.future[0].numel()

        def conditional(images: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            assert judge is not None
            context, conditions = conditioned(step, judge, images)
            scored: tuple[Tensor, list[Tensor]] = judge(context, images, with_features=True, **conditions)
            return scored

        return weigh(terms | self.game.generator_terms(conditional, step.predictions, true, step.number))

    def discriminator_losses(self, step: Step) -> Losses:
        """Real pairs against predicted and, if asked for, mismatched ones."""
        context_of_one, true, discriminator, judge = (
            step.batch.context,
            self._true(step),
            self.discriminator,
            self.judge,
        )
        false = [list(draw) for draw in zip(*(p.chunk(step.num_samples) for p in step.predictions), strict=True)]
        if self.settings.adversary.wrong_pairs:
            false.append([image.roll(1, 0) for image in true])

        def conditional(images: list[Tensor]) -> Tensor:
            assert discriminator is not None
            assert judge is not None
            context, conditions = conditioned(step, judge, images)
            groups = {"num_groups": len(images[0]) // len(context_of_one)} if judge.split_batch_stats else {}
            if not self.settings.adversary.class_weight:
                logits: Tensor = discriminator(context, images, **conditions, **groups)
                return logits
            logits, by_class = discriminator(context, images, with_classes=True, **conditions, **groups)
            of_classes.append(by_class[: len(context_of_one)])  # those of the true images, which come first
            return logits

        of_classes: list[Tensor] = []
        pixel_repeat = 1 if judge is None else judge.pixel_repeat
        losses = self.game.discriminator_losses(conditional, true, false, step.number, pixel_repeat)
        return (
            with_classes(losses, self.settings.adversary.class_weight, of_classes[0], step.batch.labels)
            if of_classes
            else losses
        )

    def _true(self, step: Step) -> list[Tensor]:
        """The true frames, at every scale as the generator would make them if it were perfect."""
        true = targets(step)
        return true if self.judge is None else [self.judge.match_fade(frames) for frames in true]


def with_classes(losses: Losses, weight: float, by_class: Tensor, labels: Tensor | None) -> Losses:
    """The discriminator's losses, and what it pays for the classes of true images: logits `(B, K)`, labels `(B,)`."""
    assert labels is not None, "the run was begun on data without classes"
    loss = class_loss(by_class, labels)
    told = labels >= 0
    right = (by_class.argmax(1) == labels)[told].float()
    parts = {"classes": loss, **({"class_accuracy": right.mean().detach()} if len(right) else {})}
    return Losses(losses.total + weight * loss, losses.parts | parts, losses.weights | {"classes": weight})


def nearest_sample(
    terms: dict[str, tuple[float, Tensor]], num_samples: int, others: float = 0.0
) -> dict[str, tuple[float, Tensor]]:
    """Best of N: each term's mean over the batch, for every sample that of its draw with the least weighted sum.

    terms: weight and loss of every draw, `(num_samples * B,)`, by name; B and the order as in `Step`. others: the share
    of the draws that were not chosen, divided equally between them. Which draw is chosen is taken as a constant.
    """
    costs = sum_of(weight * value.detach() for weight, value in terms.values()).unflatten(0, (num_samples, -1))
    shares = torch.full_like(costs, others / (num_samples - 1)).scatter_(0, costs.argmin(0, keepdim=True), 1 - others)
    return {
        name: (weight, (shares * value.unflatten(0, (num_samples, -1))).sum(0).mean())
        for name, (weight, value) in terms.items()
    }


def conditioned(step: Step, judge: Discriminator, images: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The context of every image, `(n * B, T, C, H, W)`, where the images are of n kinds one after another; and
    what else the judge takes beside them."""
    times = len(images[0]) // len(step.batch.context)
    conditions = Conditions(labels=step.batch.labels, target=step.batch.future).repeat(times)
    return step.batch.context.repeat(times, 1, 1, 1, 1), conditions.discriminator_kwargs(judge)


def targets(step: Step) -> list[Tensor]:
    """The true frames at the scales of the predictions, `(B, K, C, h, w)`, cropped like them at the finest."""
    pyramid = build_pyramid(step.batch.future, len(step.predictions))
    pyramid[-1] = step.batch.future
    return pyramid
