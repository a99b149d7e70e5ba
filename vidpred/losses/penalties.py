"""What keeps a discriminator's slope bounded, and both players from circling: penalties, clipping, averages over time.

Every penalty takes what it needs as tensors or a module, whatever the images are of.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST_SQUARE = 1e-12  # under the root of a norm, whose slope at 0 is infinite


def r1_penalty(logits: Tensor, images: list[Tensor], pixel_repeat: int = 1) -> Tensor:
    """R1 (Mescheder et al. 2018, "Which training methods for GANs do actually converge?", equation 9).

    Half the squared gradient of the logits with respect to the real images of every scale, summed over pixels and
    scales, mean over the batch. images must have been given to the discriminator with requires_grad.
    repeated: the side, in pixels of the images, of what the discriminator sees as one pixel; the gradient is with
    respect to what it sees.
    """
    return _squared_gradients(logits, images, pixel_repeat).sum(0).mean() / 2


def gradient_penalty(logits: Tensor, images: list[Tensor], pixel_repeat: int = 1) -> Tensor:
    """Gradient penalty (Gulrajani et al. 2017, "Improved training of Wasserstein GANs", equation 3): the mean of
    (|gradient| - 1)^2 at images between true and generated ones (`interpolate`).

    The logits of different scales come from critics of their own: their gradients are not mixed, their penalties are
    summed. images must have been given to the discriminator with requires_grad. repeated: see `r1_penalty`.
    """
    norms = (_squared_gradients(logits, images, pixel_repeat) + SMALLEST_SQUARE).sqrt()
    return (norms - 1).square().mean(1).sum()


def _squared_gradients(logits: Tensor, images: list[Tensor], pixel_repeat: int) -> Tensor:
    """The squared length of every sample's gradient at every scale: `(scales, B)`."""
    # One pixel seen is the mean of repeated^2 pixels, each of which has so small a part of its gradient.
    gradients = torch.autograd.grad(logits.float().sum(), images, create_graph=True)
    return torch.stack([gradient.float().square().flatten(1).sum(1) for gradient in gradients]) * pixel_repeat**2


def interpolate(real: list[Tensor], fake: list[Tensor]) -> list[Tensor]:
    """Points on the straight lines between true and generated images, one uniform share a sample for all scales.

    `(B, ...)` a scale; the result is detached and asks for gradients.
    """
    share = torch.rand(len(real[0]), device=real[0].device)
    between = []
    for true, generated in zip(real, fake, strict=True):
        place = share.view(-1, *[1] * (true.dim() - 1))
        between.append(torch.lerp(true.detach(), generated.detach(), place).requires_grad_())
    return between


def clip_weights(module: nn.Module, limit: float) -> None:
    """Weight clipping (Arjovsky et al. 2017, algorithm 1): every parameter is moved into [-limit, limit]."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.clamp_(-limit, limit)


class HistoricalAverage(nn.Module):
    """Historical averaging (Salimans et al. 2016, section 3.3): the cost |θ - (1/t) Σ_i θ_i|^2, the sum over all
    parameters θ of one player, whose values θ_i at all earlier steps are averaged as the training goes.

    The averages and their number are buffers, so a checkpoint of this module is all that resuming needs. The player
    itself is no part of it.
    """

    count: Tensor

    def __init__(self, player: nn.Module) -> None:
        super().__init__()
        self.player = [player]  # in a list, so that its parameters are not registered here
        self.register_buffer("count", torch.ones((), dtype=torch.int64))
        for index, parameter in enumerate(player.parameters()):
            self.register_buffer(f"average_{index}", parameter.detach().clone())

    def forward(self) -> Tensor:
        """The cost, a scalar with gradients for the player."""
        pairs = zip(self.player[0].parameters(), list(self.buffers())[1:], strict=True)
        return torch.stack([(parameter - average).square().sum() for parameter, average in pairs]).sum()

    @torch.no_grad()
    def update(self) -> None:
        """Take the player's present parameters into the average."""
        self.count += 1
        for parameter, average in zip(self.player[0].parameters(), list(self.buffers())[1:], strict=True):
            average += (parameter - average) / self.count
