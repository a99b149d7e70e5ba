"""Augmentation of the discriminator's inputs, real and generated alike, so that few images suffice.

The transformations are differentiable, so the generator learns through them, and its samples are not augmented.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

AugmentationName = Literal["color", "translation", "cutout"]
MAX_SHIFT, HOLE = 1 / 8, 1 / 2  # shares of an image's side
GRAY = 0.5  # of pixels from outside and in holes: 0 in the papers' [-1, 1]
UPDATES = 4  # discriminator updates between changes of the probability (Karras et al. 2020, section 3.1)


def shift_colors(images: Tensor) -> Tensor:
    """Add up to 1/4 to brightness, scale saturation by 0 to 2 and contrast by 1/2 to 3/2; images `(B, C, H, W)`."""
    brightness, saturation, contrast = torch.rand(3, len(images), 1, 1, 1, device=images.device)
    images = images + (brightness - 0.5) / 2
    mean = images.mean(1, keepdim=True)
    images = mean + (images - mean) * 2 * saturation
    mean = images.mean((1, 2, 3), keepdim=True)
    contrasted: Tensor = mean + (images - mean) * (contrast + 0.5)
    return contrasted


def translate(images: Tensor) -> Tensor:
    """Shift images `(B, C, H, W)` by up to an eighth of their sides; gray comes in."""
    for dim in (2, 3):
        side = images.shape[dim]
        most = int(side * MAX_SHIFT + 0.5)
        shifts = torch.randint(-most, most + 1, (len(images), 1), device=images.device)
        places = torch.arange(side, device=images.device) + shifts  # (B, side)
        shape = (-1, 1, side, 1) if dim == 2 else (-1, 1, 1, side)
        inside = ((places >= 0) & (places < side)).view(shape)
        index = places.clamp(0, side - 1).view(shape).expand_as(images)
        images = torch.where(inside, images.gather(dim, index), GRAY)
    return images


def cut_out(images: Tensor) -> Tensor:
    """Replace a rectangle of half of each side, at a random place of images `(B, C, H, W)`, by gray."""
    inside = torch.ones(len(images), 1, 1, 1, dtype=torch.bool, device=images.device)
    for dim in (2, 3):
        side = images.shape[dim]
        hole = int(side * HOLE + 0.5)
        first = torch.randint(0, side + 1 - hole % 2, (len(images), 1), device=images.device) - hole // 2
        places = torch.arange(side, device=images.device)
        covered = (places >= first) & (places < first + hole)
        inside = inside & covered.view((-1, 1, side, 1) if dim == 2 else (-1, 1, 1, side))
    return torch.where(inside, GRAY, images)


AUGMENTATIONS: dict[AugmentationName, Callable[[Tensor], Tensor]] = {
    "color": shift_colors,
    "translation": translate,
    "cutout": cut_out,
}


def augment(images: Tensor, names: Sequence[AugmentationName], probability: float) -> Tensor:
    """Augment images as Zhao et al. 2020, "Differentiable augmentation for data-efficient GAN training".

    Args:
        images: `(B, C, H, W)` in [0, 1].
        names: Augmentations, applied in this order.
        probability: Probability of each augmentation of each image.

    Returns:
        `(B, C, H, W)`, nominally in [0, 1].
    """
    for name in names:
        chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < probability
        images = torch.where(chosen, AUGMENTATIONS[name](images), images)
    return images


class AdaptiveProbability(nn.Module):
    """Probability of augmentation that follows the discriminator's overfitting.

    Karras et al. 2020, "Training generative adversarial networks with limited data", section 3.1: r_t is the mean sign
    of the logits of real images. Every `UPDATES` updates the probability rises if r_t is above its target, else it
    falls, at a rate that takes it from 0 to 1 in `ramp_images` images.
    """

    probability: Tensor
    signs: Tensor
    images: Tensor
    updates: Tensor

    def __init__(self, target: float, ramp_images: int) -> None:
        super().__init__()
        self.target, self.ramp_images = target, ramp_images
        for name in ("probability", "signs", "images", "updates"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def update(self, accuracy_real: float, count: int) -> None:
        """Count one update of the discriminator, and adapt the probability after every `UPDATES` of them.

        Args:
            accuracy_real: Its share in [0, 1] of positive logits of real images.
            count: Number of these images.
        """
        self.signs += 2 * accuracy_real - 1
        self.images += count
        self.updates += 1
        if self.updates == UPDATES:
            change = torch.sign(self.signs / self.updates - self.target) * self.images / self.ramp_images
            self.probability.add_(change).clamp_(0, 1)
            for total in (self.signs, self.images, self.updates):
                total.zero_()
