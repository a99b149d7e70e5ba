"""Training objectives: lists of phases, each of which trains one network.

Reconstruction alone is one phase, adversarial training two; the trainer needs no other knowledge of the losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

import torch
from pydantic import AfterValidator, Field, create_model, model_validator
from torch import Tensor, nn

from vidpred.bounds import MOST_SAMPLES
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
from vidpred.training.adversarial_losses import AdversarialLosses, AdversarialSettings, Losses, sum_of, weighted_losses

MAX_RATIO = 1e4

LossWeights: type[Settings] = create_model(  # type: ignore[call-overload]
    "LossWeights",
    __base__=Settings,
    __doc__="Weights of the losses of `vidpred.losses.table`, each a mean over pixels in [-1, 1], summed over scales.",
    **{name: (float, Field(0.0, ge=0, description=f"Weight of the {name} loss.")) for name in LOSSES},
)


class ObjectiveSettings(Settings):
    """Weights of the losses (Mathieu et al. 2016, equation 7). A term of weight 0 is not computed."""

    lp_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the L_p loss, the mean of |error|^lp_exponent over pixels in [-1, 1], "
        "summed over the model's scales.",
    )
    lp_exponent: float = Field(
        1.0, ge=1, description="Exponent p of the L_p loss: 1 for absolute, 2 for squared errors."
    )
    gdl_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of the gradient difference loss, which compares differences of neighboring "
        "pixels: a mean over pixels in [-1, 1], summed over scales.",
    )
    gdl_alpha: float = Field(1.0, ge=1, description="Exponent of the gradient difference loss; only with gdl_weight.")
    pixel_entropy_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the binary cross-entropy of pixel values in [0, 1], in nats, a mean over "
        "the values of an image.",
    )
    kl_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the KL divergence of a variational auto-encoder's code. If both this and "
        "pixel_entropy_weight are 1, the loss is the negative evidence lower bound per value.",
    )
    log_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of the decimal logarithm of each frame's mean squared error, which is PSNR up "
        "to a factor of -1/10 and a constant.",
    )
    log_scales: int = Field(
        1,
        ge=1,
        le=6,
        description="Number of image sizes that log_weight's loss is averaged over: the full size, and "
        "each half the previous one.",
    )
    losses: Annotated[LossWeights | None, AfterValidator(absent_at_defaults)] = Field(
        None, description="Weights of further losses. null: none."
    )
    num_samples: int = Field(
        1,
        ge=1,
        le=MOST_SAMPLES,
        description="Number of futures drawn per training clip, in antithetic pairs. Above 1, which needs "
        "a model with noise, the losses count for the future nearest to the true one (best of "
        "N; Guzman-Rivera et al. 2012).",
    )
    history_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of historical averaging: the squared distance of a network's parameters from "
        "their mean over earlier steps, for generator and discriminator (Salimans et al. "
        "2016, section 3.3).",
    )
    other_samples_weight: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Total share of the loss that the futures which are not nearest have, divided equally "
        "between them (Rupprecht et al. 2017); only with num_samples above 1.",
    )
    adversarial: Annotated[AdversarialSettings | None, AfterValidator(absent_at_defaults)] = Field(
        None, description="The adversary. null: none."
    )

    @model_validator(mode="after")
    def _check_balanced(self) -> Self:
        others = (self.lp_weight, self.gdl_weight, self.log_weight, self.pixel_entropy_weight)
        if self.adversary.balanced and not any((*others, *self.loss_weights.values())):
            raise ValueError("adversarial.balanced: there is no other loss to balance the adversarial one with")
        return self

    @property
    def loss_weights(self) -> dict[str, float]:
        """The weights above 0 of the section `losses`, by the loss's name."""
        weights = self.losses or LossWeights()
        return {name: float(weight) for name in LOSSES if (weight := getattr(weights, name))}

    @property
    def adversary(self) -> AdversarialSettings:
        """The section `adversarial`, or its defaults, which mean no adversary."""
        return self.adversarial or AdversarialSettings()

    @property
    def has_discriminator(self) -> bool:
        """Whether the generator has an adversary."""
        return self.adversary.has_discriminator


@dataclass(frozen=True)
class Step:
    """The data that the phases of one training step share.

    batch: The batch.
    predictions: The generator's images with their graph, a tensor per scale, `(num_samples * B, K, C, h, w)`: the first
        sample of every clip, then the second of every clip, and so on.
    number: The step, from 0.
    num_samples: Number of futures drawn per clip.
    latent_cost: `(B,)`, the KL divergence of each clip's code, if the generator encodes the true frames.
    extra_losses: The generator's own weighted losses by name.
    loss_scale: Factor of losses in backward passes, which keeps gradients in the range of float16.
    """

    batch: Batch
    predictions: list[Tensor]
    number: int
    num_samples: int = 1
    latent_cost: Tensor | None = None
    extra_losses: Mapping[str, Tensor] = field(default_factory=dict)
    loss_scale: float = 1.0


@dataclass(frozen=True)
class Phase:
    """The update of one network within a step: its name, its losses, and a hook to call after its update."""

    network: Literal["generator", "discriminator"]
    losses: Callable[[Step], Losses]
    after_update: Callable[[], None] = lambda: None


class Objective:
    """Builds the phases for one set of networks."""

    def __init__(
        self,
        settings: ObjectiveSettings,
        wrapped: nn.Module | None = None,
        discriminator: Discriminator | None = None,
        generator: Generator | None = None,
    ) -> None:
        """Store the networks.

        Args:
            settings: Weights of the losses.
            wrapped: The discriminator as its own phase trains it, wrapped so that data-parallel hooks run.
            discriminator: The same network unwrapped, for the generator's phase, which does not train it.
            generator: The generator, for penalties on its weights; None: no such penalties.
        """
        self.settings, self.wrapped, self.discriminator = settings, wrapped, discriminator
        networks = {"generator": generator, "discriminator": discriminator}
        self.last_weight = generator.last_weight if generator is not None else None
        self.adversarial_losses = AdversarialLosses(
            settings.adversary,
            {name: network for name, network in networks.items() if network is not None},
            settings.history_weight,
        )

    @property
    def memory(self) -> dict[str, nn.Module]:
        """The objective's state by network, which checkpoints store."""
        return dict(self.adversarial_losses.memory)

    def phases(self, number: int = 0) -> list[Phase]:
        """Return the phases of step `number` (from 0), the discriminator's first (Mathieu et al. 2016, algorithm 1)."""
        after_update = self.adversarial_losses.after_update
        generator = Phase("generator", self.generator_losses, lambda: after_update("generator"))
        if not self.settings.has_discriminator:
            return [generator]
        phases = [Phase("discriminator", self.discriminator_losses, lambda: after_update("discriminator")), generator]
        every = self.settings.adversary.discriminator_steps
        return phases if number % every == every - 1 else phases[:1]

    def generator_losses(self, step: Step) -> Losses:
        """Compute the generator's weighted losses, summed over scales."""
        settings, discriminator, true = self.settings, self.discriminator, self._true(step)
        terms: dict[str, tuple[float, Tensor]] = {}
        each = step.num_samples > 1  # a loss per sample of every clip, to choose the nearest
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
        terms |= {name: (1.0, loss) for name, loss in step.extra_losses.items()}

        def score(images: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
            assert discriminator is not None
            context, conditions = conditioned(step, discriminator, images)
            scored: tuple[Tensor, list[Tensor]] = discriminator(context, images, with_features=True, **conditions)
            return scored

        adversarial = self.adversarial_losses.generator_terms(score, step.predictions, true, step.number)
        return (
            self._balanced(terms, adversarial, step)
            if settings.adversary.weight and settings.adversary.balanced
            else weighted_losses(terms | adversarial)
        )

    def _balanced(
        self, terms: dict[str, tuple[float, Tensor]], adversarial: dict[str, tuple[float, Tensor]], step: Step
    ) -> Losses:
        """Add the adversarial terms to the others, its weight multiplied by `gradient_ratio`, which is logged."""
        weight = 0.0
        if "adversarial" in adversarial:
            weight, loss = adversarial["adversarial"]
            if self.last_weight is not None:
                weight *= gradient_ratio(weighted_losses(terms).total, loss, self.last_weight, step.loss_scale)
            adversarial["adversarial"] = weight, loss
        losses = weighted_losses(terms | adversarial)
        losses.parts["adversarial_weight"] = step.predictions[-1].new_tensor(weight)
        return losses

    def discriminator_losses(self, step: Step) -> Losses:
        """Compute the discriminator's losses on true, predicted and, with `wrong_pairs`, mismatched futures."""
        true, wrapped, discriminator = self._true(step), self.wrapped, self.discriminator
        batch_size, class_weight = len(step.batch.context), self.settings.adversary.class_weight
        false = [list(sample) for sample in zip(*(p.chunk(step.num_samples) for p in step.predictions), strict=True)]
        if self.settings.adversary.wrong_pairs:
            false.append([image.roll(1, 0) for image in true])

        def score(images: list[Tensor]) -> Tensor:
            assert wrapped is not None
            assert discriminator is not None
            context, conditions = conditioned(step, discriminator, images)
            groups = {"num_groups": len(images[0]) // batch_size} if discriminator.split_batch_stats else {}
            if not class_weight:
                logits: Tensor = wrapped(context, images, **conditions, **groups)
                return logits
            logits, of_all = wrapped(context, images, with_classes=True, **conditions, **groups)
            class_logits.append(of_all[:batch_size])  # the true images come first
            return logits

        class_logits: list[Tensor] = []
        pixel_repeat = 1 if discriminator is None else discriminator.pixel_repeat
        losses = self.adversarial_losses.discriminator_losses(score, true, false, step.number, pixel_repeat)
        return with_classes(losses, class_weight, class_logits[0], step.batch.labels) if class_logits else losses

    def _true(self, step: Step) -> list[Tensor]:
        """Return the true frames at every scale, faded like the images of a growing generator."""
        true = targets(step)
        return true if self.discriminator is None else [self.discriminator.match_fade(frames) for frames in true]


def gradient_ratio(loss: Tensor, other: Tensor, weight: Tensor, scale: float = 1.0) -> float:
    """Return the ratio |gradient of loss| / |gradient of other| at a weight, at most `MAX_RATIO`; 0 if the other is 0.

    Gradients are means over processes. Both are computed times `scale`, which cancels.
    """
    gradients = [torch.autograd.grad(of * scale, weight, retain_graph=True)[0].float() for of in (loss, other)]
    if torch.distributed.is_initialized():
        for gradient in gradients:
            torch.distributed.all_reduce(gradient)
    first, second = (float(gradient.norm()) for gradient in gradients)
    return min(first / second, MAX_RATIO) if second > 0 else 0.0


def with_classes(losses: Losses, weight: float, class_logits: Tensor, labels: Tensor | None) -> Losses:
    """Return the losses with the classification loss on true images, times `weight`, and its accuracy in the log.

    Args:
        losses: The discriminator's other losses.
        weight: Weight of the classification loss.
        class_logits: `(B, K)`.
        labels: `(B,)`, below 0 where hidden.
    """
    assert labels is not None, "the run was begun on data without classes"
    loss = class_loss(class_logits, labels)
    right = (class_logits.argmax(1) == labels)[labels >= 0].float()
    parts = {"classes": loss, **({"class_accuracy": right.mean().detach()} if len(right) else {})}
    return Losses(losses.total + weight * loss, losses.parts | parts, losses.weights | {"classes": weight})


def nearest_sample(
    terms: dict[str, tuple[float, Tensor]], num_samples: int, others: float = 0.0
) -> dict[str, tuple[float, Tensor]]:
    """Return each term's mean over the batch, counting the sample of each clip with the least weighted sum (best of N).

    Args:
        terms: Weight and loss `(num_samples * B,)` by name, ordered as in `Step`. The choice has no gradient.
        num_samples: Number of samples per clip.
        others: Share of the samples that were not chosen, divided equally between them.
    """
    costs = sum_of(weight * value.detach() for weight, value in terms.values()).unflatten(0, (num_samples, -1))
    shares = torch.full_like(costs, others / (num_samples - 1)).scatter_(0, costs.argmin(0, keepdim=True), 1 - others)
    return {
        name: (weight, (shares * value.unflatten(0, (num_samples, -1))).sum(0).mean())
        for name, (weight, value) in terms.items()
    }


def conditioned(step: Step, discriminator: Discriminator, images: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the context and the discriminator's conditions, repeated for n groups of images.

    Args:
        step: The step.
        discriminator: Of which the conditions that it takes are returned.
        images: A tensor `(n * B, K, C, h, w)` per scale.

    Returns:
        The context `(n * B, T, C, H, W)`, and keyword arguments of the discriminator's forward.
    """
    times = len(images[0]) // len(step.batch.context)
    conditions = Conditions(labels=step.batch.labels, target=step.batch.future).repeat(times)
    return step.batch.context.repeat(times, 1, 1, 1, 1), conditions.discriminator_kwargs(discriminator)


def targets(step: Step) -> list[Tensor]:
    """Return the true frames at the scales of the predictions, `(B, K, C, h, w)` in [0, 1], coarse to fine.

    The finest is the batch's future itself.
    """
    pyramid = build_pyramid(step.batch.future, len(step.predictions))
    pyramid[-1] = step.batch.future
    return pyramid
