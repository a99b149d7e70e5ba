"""What is minimised: an objective is a list of phases, each training one network. Reconstruction alone is one phase,
an adversarial generator two; the trainer knows nothing else about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vidpred.data.batch import Batch
from vidpred.models.pyramid import build_pyramid
from vidpred.settings import Settings
from vidpred.training.losses import adversarial_loss, gradient_difference_loss, lp_loss
from vidpred.training.penalties import r1_penalty


class ObjectiveSettings(Settings):
    """Weights of the losses: L = lp_weight L_p + gdl_weight L_gdl + adversarial_weight L_adv (Mathieu et al., eq. 7).

    lp_exponent is p, gdl_alpha the exponent of the gradient difference; adversarial names the adversary's loss.
    lp and gdl are means over pixels in [-1, 1], summed over scales; adversarial is a mean over the batch, summed over
    scales. A term with weight 0 is not computed; with adversarial_weight 0 there is no discriminator.
    r1_weight times R1 is added every r1_every-th step of the discriminator (0: never).
    wrong_pairs shows the discriminator (context of one sample, future of another) as a third, false kind of pair.
    """

    lp_weight: float = Field(1.0, ge=0)
    lp_exponent: float = Field(1.0, ge=1)
    gdl_weight: float = Field(1.0, ge=0)
    gdl_alpha: float = Field(1.0, ge=1)
    adversarial: Literal["bce"] = "bce"
    adversarial_weight: float = Field(0.0, ge=0)
    r1_weight: float = Field(0.0, ge=0)
    r1_every: int = Field(16, ge=1)
    wrong_pairs: bool = False


@dataclass(frozen=True)
class Losses:
    """One phase's result: the scalar to minimise, and its named parts for the log."""

    total: Tensor
    parts: dict[str, Tensor]


@dataclass(frozen=True)
class Step:
    """What the phases of one training step share: the batch, the generator's pictures (with their graph), the step."""

    batch: Batch
    predictions: list[Tensor]
    number: int


@dataclass(frozen=True)
class Phase:
    """One network's turn within a step. `network` names it: "generator" or "discriminator"."""

    network: Literal["generator", "discriminator"]
    losses: Callable[[Step], Losses]


ADVERSARIAL_LOSSES: dict[str, Callable[[Tensor, bool], Tensor]] = {"bce": adversarial_loss}


class Objective:
    """Builds the phases for one set of weights.

    discriminator is the wrapped module that the discriminator's phase trains (data-parallel hooks see its forward);
    judge is the same network unwrapped, for the generator's phase, in which it has nothing to learn.
    """

    def __init__(
        self, settings: ObjectiveSettings, discriminator: nn.Module | None = None, judge: nn.Module | None = None
    ) -> None:
        self.settings, self.discriminator, self.judge = settings, discriminator, judge
        self.adversarial_loss = ADVERSARIAL_LOSSES[settings.adversarial]

    def phases(self) -> list[Phase]:
        """In the order in which a step runs them: the discriminator first, as in the paper's algorithm 1."""
        generator = Phase("generator", self.generator_losses)
        if self.settings.adversarial_weight == 0:
            return [generator]
        return [Phase("discriminator", self.discriminator_losses), generator]

    def generator_losses(self, step: Step) -> Losses:
        """L_p, GDL and adversarial terms of every scale, weighted."""
        settings = self.settings
        parts: dict[str, Tensor] = {}
        pairs = list(zip(step.predictions, targets(step), strict=True))
        if settings.lp_weight:
            parts["lp"] = _sum(lp_loss(p * 2 - 1, t * 2 - 1, settings.lp_exponent) for p, t in pairs)
        if settings.gdl_weight:
            # A scale of one pixel has no gradient.
            visible = [(p, t) for p, t in pairs if min(p.shape[-2:]) > 1]
            parts["gdl"] = _sum(gradient_difference_loss(p * 2 - 1, t * 2 - 1, settings.gdl_alpha) for p, t in visible)
        if settings.adversarial_weight:
            assert self.judge is not None
            logits = self.judge(step.batch.context, step.predictions)
            parts["adversarial"] = self.adversarial_loss(logits, True) * logits.shape[1]
        weights = {"lp": settings.lp_weight, "gdl": settings.gdl_weight, "adversarial": settings.adversarial_weight}
        return Losses(_sum(weights[name] * value for name, value in parts.items()), parts)

    def discriminator_losses(self, step: Step) -> Losses:
        """Real pairs against 1, predicted (and, if asked for, mismatched) pairs against 0, summed over scales."""
        assert self.discriminator is not None
        settings, context = self.settings, step.batch.context
        with_penalty = settings.r1_weight > 0 and step.number % settings.r1_every == 0
        real = [picture.detach().requires_grad_(with_penalty) for picture in targets(step)]
        kinds = [real, [picture.detach() for picture in step.predictions]]
        if settings.wrong_pairs:
            kinds.append([picture.detach().roll(1, 0) for picture in real])
        # One forward for all kinds: data-parallel training expects one forward for each backward.
        pictures = [torch.cat(scale) for scale in zip(*kinds, strict=True)]
        logits = self.discriminator(context.repeat(len(kinds), 1, 1, 1, 1), pictures)
        on_real, *on_false = logits.chunk(len(kinds))
        scales = logits.shape[1]
        parts = {"real": self.adversarial_loss(on_real, True) * scales}
        parts["fake"] = _sum(self.adversarial_loss(judged, False) for judged in on_false) / len(on_false) * scales
        total = parts["real"] + parts["fake"]
        if with_penalty:
            parts["r1"] = r1_penalty(on_real, real)
            total = total + settings.r1_weight * parts["r1"]
        parts["accuracy"] = ((on_real > 0).float().mean() + (on_false[0] < 0).float().mean()).detach() / 2
        return Losses(total, parts)


def targets(step: Step) -> list[Tensor]:
    """The true frames at the scales of the predictions, `(B, K, C, h, w)`, cropped like them at the finest."""
    pyramid = build_pyramid(step.batch.future, len(step.predictions))
    pyramid[-1] = step.batch.future
    return pyramid


def _sum(terms: object) -> Tensor:
    total = sum(terms)  # type: ignore[call-overload]
    assert isinstance(total, Tensor), "an objective needs at least one weight above 0"
    return total
