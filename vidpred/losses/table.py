"""Named losses that `objective.losses` weighs; a custom loss is one function and one line here."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from vidpred.losses.reconstruction import charbonnier_loss


class Loss(Protocol):
    """A loss between predicted and true frames of one scale, both `(B, K, C, H, W)` in [-1, 1].

    Returns a scalar, the mean over everything; with `each` the mean of every sample, `(B,)`.
    """

    def __call__(self, prediction: Tensor, target: Tensor, *, each: bool) -> Tensor: ...


LOSSES: dict[str, Loss] = {
    "charbonnier": charbonnier_loss,
}
