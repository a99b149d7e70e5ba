"""Normalization of actions and states by their statistics over the training data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

RESOLUTION = 1e-6  # of float32: a standard deviation below this share of the mean is a rounding error


class Normalizer(nn.Module):
    """Affine map (values - mean) / std per value, with both as buffers: 0 and 1 until `fit`."""

    mean: Tensor
    deviation: Tensor  # the name in checkpoints

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the training data's mean and standard deviation of each value; constant values keep 1 as the latter."""
        means, stds = torch.tensor(mean), torch.tensor(std)
        self.mean.copy_(means)
        self.deviation.copy_(torch.where(stds > RESOLUTION * means.abs(), stds, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """Normalize `(..., V)` in the data's units to mean 0 and standard deviation 1 over the training data."""
        return (values - self.mean) / self.deviation

    def undo(self, values: Tensor) -> Tensor:
        """Convert normalized values `(..., V)` back to the data's units."""
        return values * self.deviation + self.mean
