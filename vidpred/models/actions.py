"""How a generator sees actions: in units of their spread over the training data."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ActionScale(nn.Module):
    """(actions - mean) / deviation, value by value. Both are buffers, so checkpoints hold them; 0 and 1 until `fit`."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, mean: Sequence[float], deviation: Sequence[float]) -> None:
        """Take the training data's mean and standard deviation of each value."""
        self.mean.copy_(torch.tensor(mean))
        self.deviation.copy_(torch.tensor(deviation))

    def forward(self, actions: Tensor) -> Tensor:
        """`(..., A)` in the data's units -> the same with mean 0 and deviation 1 over the training data."""
        return (actions - self.mean) / self.deviation
