"""Adversarial losses of generator and discriminator, by name.

They map logits of any shape to their mean loss in float32. p is the density of real images, q of generated ones; D =
sigmoid(logit) where a loss is stated in probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as functional
from torch import Tensor

from vidpred.losses.reconstruction import adversarial_loss

AdversarialName = Literal["bce", "minimax", "least_squares", "hinge", "wasserstein", "relativistic"]


def minimax_loss(logits: Tensor) -> Tensor:
    """Compute log(1 - D), which the generator of the minimax game minimizes (Goodfellow et al. 2014, equation 1).

    Its gradient is -D times the logit's, so it vanishes where the discriminator is confident (D near 0). Logits of any
    shape; returns their mean, a scalar.
    """
    return -functional.softplus(logits.float()).mean()


def least_squares_loss(logits: Tensor, label: float) -> Tensor:
    """Compute (logit - label)^2 / 2, averaged over logits of any shape; the optimal logit is p / (p + q).

    Mao et al. 2017, "Least squares generative adversarial networks", equation 9 with a = 0, b = c = 1.
    """
    return (logits.float() - label).square().mean() / 2


def hinge_loss(logits: Tensor, sign: float) -> Tensor:
    """Compute max(0, 1 - sign * logit), averaged over logits of any shape; sign 1 for real, -1 for generated images.

    The optimal logit is the sign of p - q (Lim & Ye 2017, "Geometric GAN"; Miyato et al. 2018, equation 16).
    """
    return functional.relu(1 - sign * logits.float()).mean()


def critic_loss(logits: Tensor, sign: float) -> Tensor:
    """Compute -sign * logit, averaged over logits of any shape; sign 1 for real, -1 for generated images.

    Arjovsky et al. 2017, "Wasserstein GAN", algorithm 1. It requires a bounded slope: weight clipping, a gradient
    penalty or spectral normalization.
    """
    return -sign * logits.float().mean()


@dataclass(frozen=True)
class AdversarialLoss:
    """The three losses of one adversarial game, each a function of logits that returns a scalar.

    Attributes:
        real: The discriminator's loss on real images, of (logits, label). The label is 1, or less for one-sided label
            smoothing (Salimans et al. 2016, section 3.4).
        fake: The discriminator's loss on generated images; None: the other losses take differences instead, `real` the
            logits of real minus those of generated images and `generator` the negated ones.
        generator: The generator's loss on its own images.
        smoothable: Whether the loss has labels.
        boundary: Logit above which the discriminator classifies an image as real; None: logits only rank images.
        saturation_margin: Distance from the boundary beyond which a correct logit has almost no gradient for the
            discriminator; None: none.
    """

    real: Callable[[Tensor, float], Tensor]
    fake: Callable[[Tensor], Tensor] | None
    generator: Callable[[Tensor], Tensor]
    smoothable: bool = True
    boundary: float | None = 0.0
    saturation_margin: float | None = None


SATURATED_LOGIT = math.log(99)  # D = 0.99: the gradient of the cross-entropy is 1 % of its maximum

ADVERSARIAL_LOSSES: dict[AdversarialName, AdversarialLoss] = {
    # Mathieu et al. 2016, equations 3 to 5; the generator maximizes log D instead of minimizing log(1 - D).
    "bce": AdversarialLoss(
        adversarial_loss,
        lambda logits: adversarial_loss(logits, 0),
        lambda logits: adversarial_loss(logits, 1),
        saturation_margin=SATURATED_LOGIT,
    ),
    "minimax": AdversarialLoss(
        adversarial_loss, lambda logits: adversarial_loss(logits, 0), minimax_loss, saturation_margin=SATURATED_LOGIT
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
        saturation_margin=1.0,  # where its loss reaches 0
    ),
    "wasserstein": AdversarialLoss(
        lambda logits, label: critic_loss(logits, 1),
        lambda logits: critic_loss(logits, -1),
        lambda logits: critic_loss(logits, 1),
        smoothable=False,
        boundary=None,
    ),
    # Jolicoeur-Martineau 2019, "The relativistic discriminator", with the non-saturating pairs of Huang et al. 2024.
    "relativistic": AdversarialLoss(
        lambda difference, label: adversarial_loss(difference, 1),
        None,
        lambda difference: adversarial_loss(difference, 1),
        smoothable=False,
        boundary=None,
    ),
}


def accuracy(logits: Tensor, real: bool, boundary: float) -> Tensor:
    """Return the share in [0, 1], a scalar, of logits on the right side of the boundary: above it for real images.

    At chance level it is 1/2.
    """
    return ((logits > boundary) == real).float().mean().detach()


def saturation(logits: Tensor, real: bool, boundary: float, saturation_margin: float) -> Tensor:
    """Return the share in [0, 1], a scalar, of logits that are right by more than `saturation_margin`.

    Args:
        logits: Any shape.
        real: Whether they are of real images, whose logits should be above the boundary.
        boundary: The logit at which the discriminator is undecided.
        saturation_margin: Distance from the boundary, in logits.
    """
    distance = (logits - boundary) if real else (boundary - logits)
    return (distance > saturation_margin).float().mean().detach()
