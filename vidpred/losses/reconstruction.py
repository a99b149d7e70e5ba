"""The losses of Mathieu, Couprie & LeCun 2016 (arXiv 1511.05440) as pure functions, and feature matching.

Reductions, stated once: every loss here is a mean over batch, frames, channels and pixels (or logits) of one scale;
the objective adds up the scales. With `each`, the reconstruction losses keep the batch, `(B,)`. Images come in
[-1, 1], the range in which the paper's weights were chosen. All are computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from torch import Tensor

SMALLEST_PROBABILITY = 1e-6  # whose logarithm is still finite in float32


def lp_loss(prediction: Tensor, target: Tensor, exponent: float, each: bool = False) -> Tensor:
    """L_p, equation 1: the mean of |Y - Ŷ|^p. p = 1 is the l1 loss, p = 2 the mean squared error.

    Both `(..., H, W)`. Returns a scalar; each: the mean of every sample, `(B,)`.
    """
    return _mean((prediction.float() - target.float()).abs().pow(exponent), each)


def gradient_difference_loss(prediction: Tensor, target: Tensor, alpha: float, each: bool = False) -> Tensor:
    """Gradient difference loss, equation 6: how the absolute gradients of two images differ, to the power of alpha.

    mean | |Y_ij - Y_i-1,j| - |Ŷ_ij - Ŷ_i-1,j| |^alpha over the pairs along the height, plus the same along the width.
    Both `(..., H, W)` with H, W >= 2. Returns a scalar; each: the mean of every sample, `(B,)`.
    """
    total = prediction.new_zeros((), dtype=prediction.float().dtype)
    for axis in (-2, -1):
        difference = target.float().diff(dim=axis).abs() - prediction.float().diff(dim=axis).abs()
        total = total + _mean(difference.abs().pow(alpha), each)
    return total


def log_squared_error(
    prediction: Tensor, target: Tensor, floor: float = 1e-4, each: bool = False, scales: int = 1
) -> Tensor:
    """The mean over the frames of log10(mean squared error + floor): a tenth of the PSNR's change, negative, so that
    every frame counts alike, however much moves in it. The floor keeps still frames from ruling.

    Both `(B, K, C, H, W)`. scales: the mean over as many sizes, each a mean of 2x2 pixels of the one before, as far as
    the frames reach: at the coarse ones a detail that is a little off its place costs less. Returns a scalar; each: the
    mean of every sample, `(B,)`.
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
    """Binary cross-entropy of logits against one label, equations 3 to 5, the mean of all logits.

    label: 1 is true, 0 is false; what lies between smooths. The generator minimises it with label 1 on its own images
    (the non-saturating form).
    """
    labels = logits.new_full(logits.shape, float(label), dtype=logits.float().dtype)
    return functional.binary_cross_entropy_with_logits(logits.float(), labels)


def pixel_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """-y log p - (1 - y) log(1 - p), the mean over all values: the negative log likelihood of pixels y that are
    white with probability p, else black (Kingma & Welling 2013, appendix C.1). Both in [0, 1]."""
    probability = prediction.float().clamp(SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return functional.binary_cross_entropy(probability, target.float())


def class_loss(by_class: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the logits of classes `(B, K)` against labels `(B,)`, the mean over the samples whose label is
    told (0 or more); 0 where none is (Salimans et al. 2016, section 5: L_supervised)."""
    told = labels >= 0
    if not bool(told.any()):
        return by_class.float().sum() * 0
    return functional.cross_entropy(by_class.float()[told], labels[told])


def feature_matching_loss(generated: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
    """Feature matching (Salimans et al. 2016, section 3.1): the squared distance of the batch means of a
    discriminator's hidden features, a mean over the features, summed over the scales.

    Both are one tensor `(B, ...)` a scale; the true ones are taken as constants. Returns a scalar.
    """
    distances = [
        (own.float().mean(0) - other.detach().float().mean(0)).square().mean()
        for own, other in zip(generated, true, strict=True)
    ]
    return torch.stack(distances).sum()
