"""How a generator sees actions and states: in units of their spread over the training data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

RESOLUTION = 1e-6  # of float32: a deviation of less than this share of the mean is one of roundings


class Normalizer(nn.Module):
    """(values - mean) / deviation, value by value. Both are buffers, so checkpoints hold them; 0 and 1 until `fit`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """Take the training data's mean and standard deviation of each value; one that never changes has 1."""
        middle, spread = torch.tensor(mean), torch.tensor(deviation)
        self.mean.copy_(middle)
        self.deviation.copy_(torch.where(spread > RESOLUTION * middle.abs(), spread, 1.0))

    def forward(self, values: Tensor) -> Tensor:
        """`(..., V)` in the data's units -> the same with mean 0 and deviation 1 over the training data."""
        return (values - self.mean) / self.deviation

    def undo(self, values: Tensor) -> Tensor:
        """The inverse of `forward`."""
        return values * self.deviation + self.mean
