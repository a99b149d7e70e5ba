"""The losses of Mathieu, Couprie & LeCun 2016 (arXiv 1511.05440) as pure functions, and feature matching.

Every loss is a mean over batch, frames, channels and pixels (or logits) of one scale; the objective sums over scales.
With `each`, reconstruction losses keep the batch, `(B,)`. Images are in [-1, 1], the range for which the paper's
weights were chosen. All losses are computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

SMALLEST_PROBABILITY = 1e-6  # keeps logarithms of p and 1 - p finite in float32


def lp_loss(prediction: Tensor, target: Tensor, exponent: float, each: bool = False) -> Tensor:
    """Compute L_p, equation 1: the mean of |Y - Ŷ|^p. p = 1 is the l1 loss, p = 2 the mean squared error.

    Args:
        prediction: `(..., H, W)`.
        target: The same shape.
        exponent: p.
        each: Return the mean of every sample, `(B,)`, instead of a scalar.
    """
    return _mean((prediction.float() - target.float()).abs().pow(exponent), each)


def gradient_difference_loss(prediction: Tensor, target: Tensor, alpha: float, each: bool = False) -> Tensor:
    """Compute the gradient difference loss, equation 6: differences of absolute gradients to the power of alpha.

    mean | |Y_ij - Y_i-1,j| - |Ŷ_ij - Ŷ_i-1,j| |^alpha over the pairs along the height, plus the same along the width.

    Args:
        prediction: `(..., H, W)` with H, W >= 2.
        target: The same shape.
        alpha: The exponent.
        each: Return the mean of every sample, `(B,)`, instead of a scalar.
    """
    total = prediction.new_zeros((), dtype=prediction.float().dtype)
    for axis in (-2, -1):
        difference = target.float().diff(dim=axis).abs() - prediction.float().diff(dim=axis).abs()
        total = total + _mean(difference.abs().pow(alpha), each)
    return total


def log_squared_error(
    prediction: Tensor, target: Tensor, floor: float = 1e-4, each: bool = False, scales: int = 1
) -> Tensor:
    """Compute the mean over frames of log10(mean squared error + floor).

    This is -1/10 of the PSNR, up to a constant: every frame counts equally, however much moves in it.

    Args:
        prediction: `(B, K, C, H, W)`.
        target: The same shape.
        floor: Keeps still frames from dominating.
        each: Return the mean of every sample, `(B,)`, instead of a scalar.
        scales: Average over up to that many sizes, each of 2x2 pixel means of the one before: slightly displaced
            details cost less at coarse ones.
    """
    difference = prediction.float() - target.float()
    logs = []
    for _ in range(scales):
        logs.append(torch.log10(difference.square().mean((-3, -2, -1)) + floor))
        if min(difference.shape[-2:]) < 2:
            break
        difference = functional.avg_pool2d(difference.flatten(0, 1), 2).unflatten(0, difference.shape[:2])
    return _mean(torch.stack(logs).mean(0), each)


def charbonnier_loss(prediction: Tensor, target: Tensor, *, each: bool = False, floor: float = 1e-3) -> Tensor:
    """Compute the mean of sqrt(difference² + floor²), an l1 loss that is smooth at 0 (Charbonnier et al. 1994).

    Args:
        prediction: `(B, K, C, H, W)`, in [-1, 1] like the target.
        target: The same shape.
        each: Return the mean of every sample, `(B,)`, in place of a scalar.
        floor: The difference below which the loss is quadratic.
    """
    return _mean(((prediction.float() - target.float()).square() + floor**2).sqrt(), each)


def _mean(values: Tensor, each: bool) -> Tensor:
    return values.flatten(1).mean(1) if each else values.mean()


def adversarial_loss(logits: Tensor, label: float) -> Tensor:
    """Compute the binary cross-entropy of logits against one label, equations 3 to 5, as the mean over all logits.

    The generator minimizes it with label 1 on its own images (the non-saturating form).

    Args:
        logits: Any shape.
        label: 1 for real, 0 for generated; values in between smooth the label.
    """
    labels = logits.new_full(logits.shape, float(label), dtype=logits.float().dtype)
    return functional.binary_cross_entropy_with_logits(logits.float(), labels)


def pixel_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the binary cross-entropy of pixels in nats, the mean of -y log p - (1 - y) log(1 - p) over all elements.

    This is the negative log likelihood of pixels y that are white with probability p, else black (Kingma & Welling
    2013, appendix C.1).

    Args:
        prediction: p in [0, 1], of any shape; clamped away from 0 and 1 by `SMALLEST_PROBABILITY`.
        target: y in [0, 1], the same shape.

    Returns:
        A scalar, float32.
    """
    probability = prediction.float().clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return functional.binary_cross_entropy(probability, target.float())


def class_loss(by_class: Tensor, labels: Tensor) -> Tensor:
    """Compute the cross-entropy of class logits over the labeled samples of a batch.

    Salimans et al. 2016, section 5: L_supervised.

    Args:
        by_class: Logits `(B, K)`.
        labels: `(B,)`; negative: unlabeled.

    Returns:
        The mean over labeled samples; 0 where there are none.
    """
    labeled = labels >= 0
    if not bool(labeled.any()):
        return by_class.float().sum() * 0
    return functional.cross_entropy(by_class.float()[labeled], labels[labeled])


def feature_matching_loss(generated: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """Compute the squared distance between the batch means of a discriminator's hidden features.

    Feature matching (Salimans et al. 2016, section 3.1).

    Args:
        generated: Features of generated images, one tensor `(B, ...)` per scale.
        true: Features of real images, taken as constants.

    Returns:
        A scalar: the mean over features, summed over scales.
    """
    distances = [
        (own.float().mean(0) - other.detach().float().mean(0)).square().mean()
        for own, other in zip(generated, true, strict=True)
    ]
    return torch.stack(distances).sum()
