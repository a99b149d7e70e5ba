"""Regularizers of adversarial training: gradient penalties, weight clipping and historical averaging.

All of them take tensors or a module and are independent of the kind of images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SMALLEST_SQUARE = 1e-12  # added under the root of a norm, whose slope at 0 is infinite


def r1_penalty(logits: Tensor, images: list[Tensor], pixel_repeat: int = 1) -> Tensor:
    """Compute the R1 penalty: half the squared gradient of the logits with respect to real images.

    Mescheder et al. 2018, "Which training methods for GANs do actually converge?", equation 9.

    Args:
        logits: The discriminator's logits of `images`, `(B, scales)` or `(B, scales, places)`, which are averaged over
            places.
        images: Real images of every scale, given to the discriminator with requires_grad.
        pixel_repeat: Side, in image pixels, of one input pixel of the discriminator; the gradient is with respect to
            its inputs.

    Returns:
        A scalar: the sum over pixels and scales, averaged over the batch.
    """
    return zero_centered_penalties([(logits, images)], pixel_repeat)[0]


def zero_centered_penalties(groups: Sequence[tuple[Tensor, list[Tensor]]], pixel_repeat: int = 1) -> list[Tensor]:
    """Compute the R1 penalty of several groups of images in one backward pass.

    At generated images it is the R2 penalty (Mescheder et al. 2018, equation 10).

    Args:
        groups: The logits and the images of each group, as for `r1_penalty`; as many images in each. The logits of a
            group depend only on its own images.
        pixel_repeat: As in `r1_penalty`.
    """
    logits, images = torch.cat([group[0] for group in groups]), [image for group in groups for image in group[1]]
    squares = _squared_gradients(logits, images, pixel_repeat).chunk(len(groups))
    return [by_scale.sum(0).mean() / 2 for by_scale in squares]


def gradient_penalty(logits: Tensor, images: list[Tensor], pixel_repeat: int = 1) -> Tensor:
    """Compute the mean of (|gradient| - 1)^2 at images between real and generated ones (`interpolate`).

    Gulrajani et al. 2017, "Improved training of Wasserstein GANs", equation 3. Each scale has a separate critic, so
    gradients are not mixed across scales; the penalties are summed.

    Args:
        logits: The critic's logits of `images`.
        images: Images of every scale, given to the critic with requires_grad.
        pixel_repeat: As in `r1_penalty`.
    """
    norms = (_squared_gradients(logits, images, pixel_repeat) + SMALLEST_SQUARE).sqrt()
    return (norms - 1).square().mean(1).sum()


def _squared_gradients(logits: Tensor, images: list[Tensor], pixel_repeat: int) -> Tensor:
    """Return the squared norm of every sample's gradient at every scale, `(scales, B)`."""
    # One input pixel is the mean of pixel_repeat^2 image pixels, which share its gradient equally.
    scores = logits.float() if logits.dim() < 3 else logits.float().mean(2)
    # A discriminator may ignore the coarser scales.
    gradients = torch.autograd.grad(scores.sum(), images, create_graph=True, allow_unused=True, materialize_grads=True)
    return torch.stack([gradient.float().square().flatten(1).sum(1) for gradient in gradients]) * pixel_repeat**2


def interpolate(real: list[Tensor], fake: list[Tensor]) -> list[Tensor]:
    """Return random points on the straight lines between real and generated images.

    Args:
        real: `(B, ...)` per scale.
        fake: The same shapes.

    Returns:
        Detached images that require gradients; each sample has one uniform share for all scales.
    """
    share = torch.rand(len(real[0]), device=real[0].device)
    points = []
    for true, generated in zip(real, fake, strict=True):
        shares = share.view(-1, *[1] * (true.dim() - 1))
        points.append(torch.lerp(true.detach(), generated.detach(), shares).requires_grad_())
    return points


def clip_weights(module: nn.Module, limit: float) -> None:
    """Clip every parameter of a module to [-limit, limit] in place (Arjovsky et al. 2017, algorithm 1)."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.clamp_(-limit, limit)


class HistoricalAverage(nn.Module):
    """Historical averaging (Salimans et al. 2016, section 3.3): the cost |θ - (1/t) Σ_i θ_i|^2.

    The sum covers all parameters θ of one network, whose values θ_i at all earlier steps are averaged during training.
    The averages and their number are buffers, so this module's state dict is enough to resume; the network itself is
    not part of it.
    """

    count: Tensor

    def __init__(self, player: nn.Module) -> None:
        super().__init__()
        self.player = [player]  # in a list, so that its parameters are not registered here
        self.register_buffer("count", torch.ones((), dtype=torch.int64))
        for index, parameter in enumerate(player.parameters()):
            self.register_buffer(f"average_{index}", parameter.detach().clone())

    def forward(self) -> Tensor:
        """Return |θ - (1/t) Σ_i θ_i|^2, a scalar with gradients for the network's parameters θ."""
        pairs = zip(self.player[0].parameters(), list(self.buffers())[1:], strict=True)
        return torch.stack([(parameter - average).square().sum() for parameter, average in pairs]).sum()

    @torch.no_grad()
    def update(self) -> None:
        """Add the network's current parameters to the average."""
        self.count += 1
        for parameter, average in zip(self.player[0].parameters(), list(self.buffers())[1:], strict=True):
            average += (parameter - average) / self.count
