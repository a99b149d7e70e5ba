"""Gradient penalties on the discriminator."""

from __future__ import annotations

import torch
from torch import Tensor


def r1_penalty(logits: Tensor, pictures: list[Tensor]) -> Tensor:
    """R1 (Mescheder et al. 2018, "Which training methods for GANs do actually converge?", equation 9).

    Half the squared gradient of the logits with respect to the real pictures of every scale, summed over pixels and
    scales, mean over the batch. pictures must have been given to the discriminator with requires_grad.
    """
    gradients = torch.autograd.grad(logits.float().sum(), pictures, create_graph=True)
    per_sample = torch.stack([gradient.float().square().flatten(1).sum(1) for gradient in gradients])
    return per_sample.sum(0).mean() / 2
