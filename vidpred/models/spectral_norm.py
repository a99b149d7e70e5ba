"""Spectral normalization: weights divided by their largest singular value, so that a layer is 1-Lipschitz."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn
from torch.nn.utils import parametrize

FIRST_ITERATIONS = 15  # of the power method, before training


class SpectralNorm(nn.Module):
    """Parametrization W / σ(W).

    Miyato et al. 2018, "Spectral normalization for generative adversarial networks", equation 8. σ is u^T W v with the
    first singular vectors, tracked by one power iteration per use of the weight in training (algorithm 1). u and v are
    buffers, saved with the weights. Computed in float32 regardless of autocast (torch's own estimates σ in the
    autocast's precision).
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("left", functional.normalize(weight.new_empty(rows).normal_(), dim=0))
        self.register_buffer("right", functional.normalize(weight.new_empty(columns).normal_(), dim=0))
        for _ in range(FIRST_ITERATIONS):
            self._iterate(weight.detach().flatten(1))

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.left.copy_(functional.normalize(matrix @ self.right, dim=0))
        self.right.copy_(functional.normalize(matrix.T @ self.left, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.is_meta:  # autocast does not support the meta device
            return weight
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.float().flatten(1)
            if self.training:
                self._iterate(matrix)
            # Clone: the buffers change in place before the backward pass.
            sigma = self.left.clone() @ matrix @ self.right.clone()
            return weight / sigma

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the original of an assigned weight: the value itself."""
        return weight


def add_spectral_norm(module: nn.Module) -> None:
    """Normalize the weight of every convolution and linear layer of a module."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))
