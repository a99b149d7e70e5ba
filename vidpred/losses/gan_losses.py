"""What both players of the adversarial game pay for the discriminator's logits, by name.

Logits of any shape in, the mean over all of them out, in float32. p is the density of true images, q of generated
ones; D = sigmoid(logit) where a loss speaks of probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as functional
from torch import Tensor

from vidpred.losses.reconstruction import adversarial_loss

AdversarialName = Literal["bce", "minimax", "least_squares", "hinge", "wasserstein"]


def minimax_loss(logits: Tensor) -> Tensor:
    """log(1 - D), which the generator of the minimax game minimises (Goodfellow et al. 2014, equation 1).

    Its gradient is -D times the logit's: where the discriminator is sure (D near 0), next to nothing arrives.
    """
    return -functional.softplus(logits.float()).mean()


def least_squares_loss(logits: Tensor, label: float) -> Tensor:
    """(logit - label)^2 / 2 (Mao et al. 2017, "Least squares generative adversarial networks", equation 9: a = 0,
    b = c = 1). The best logit is p / (p + q)."""
    return (logits.float() - label).square().mean() / 2


def hinge_loss(logits: Tensor, sign: float) -> Tensor:
    """max(0, 1 - sign * logit), sign 1 for true and -1 for generated images (Lim & Ye 2017, "Geometric GAN";
    Miyato et al. 2018, equation 16). The best logit is the sign of p - q."""
    return functional.relu(1 - sign * logits.float()).mean()


def critic_loss(logits: Tensor, sign: float) -> Tensor:
    """-sign * logit (Arjovsky et al. 2017, "Wasserstein GAN", algorithm 1). Needs a bound on the critic's slope:
    weight clipping, a gradient penalty or spectral normalisation."""
    return -sign * logits.float().mean()


@dataclass(frozen=True)
class AdversarialLoss:
    """The three costs of one game, each logits -> scalar.

    real(logits, label) and fake(logits) are paid by the discriminator, generator(logits) by the generator for its own
    images. label is what the discriminator should say of true images: 1, or less to smooth it from one side
    (Salimans et al. 2016, section 3.4); smoothable says whether the game has labels at all.
    boundary: the logit above which the discriminator says "true"; none: it only ranks.
    sure: the distance from it beyond which the discriminator has next to nothing left to learn from a logit on the
    right side; none: there is no such distance.
    """

    real: Callable[[Tensor, float], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    smoothable: bool = True
    boundary: float | None = 0.0
    saturation_margin: float | None = None


SURE_LOGIT = math.log(99)  # D = 0.99: the gradient of the cross-entropy is 1 % of what it can be

ADVERSARIAL_LOSSES: dict[AdversarialName, AdversarialLoss] = {
    # Mathieu et al. 2016, equations 3 to 5; the generator maximises log D instead of minimising log(1 - D).
    "bce": AdversarialLoss(
        adversarial_loss,
        lambda logits: adversarial_loss(logits, 0),
        lambda logits: adversarial_loss(logits, 1),
        saturation_margin=SURE_LOGIT,
    ),
    "minimax": AdversarialLoss(
        adversarial_loss, lambda logits: adversarial_loss(logits, 0), minimax_loss, saturation_margin=SURE_LOGIT
    ),
    "least_squares": AdversarialLoss(
        least_squares_loss,
        lambda logits: least_squares_loss(logits, 0),
        lambda logits: least_squares_loss(logits, 1),
        boundary=0.5,
    ),
    "hinge": AdversarialLoss(
        lambda logits, label: hinge_loss(logits, 1),
        lambda logits: hinge_loss(logits, -1),
        lambda logits: critic_loss(logits, 1),
        smoothable=False,
        saturation_margin=1.0,  # its loss is 0 there
    ),
    "wasserstein": AdversarialLoss(
        lambda logits, label: critic_loss(logits, 1),
        lambda logits: critic_loss(logits, -1),
        lambda logits: critic_loss(logits, 1),
        smoothable=False,
        boundary=None,
    ),
}


def accuracy(logits: Tensor, real: bool, boundary: float) -> Tensor:
    """The share of logits on the right side of the boundary: 1/2 for both kinds where nothing tells them apart."""
    return ((logits > boundary) == real).float().mean().detach()


def saturation(logits: Tensor, real: bool, boundary: float, saturation_margin: float) -> Tensor:
    """The share of logits on the right side of the boundary and farther than `saturation_margin` from it."""
    distance = (logits - boundary) if real else (boundary - logits)
    return (distance > saturation_margin).float().mean().detach()
