"""DCGAN for square images of at least 8 pixels.

Radford, Metz & Chintala 2016, "Unsupervised representation learning with deep convolutional generative adversarial
networks".
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vidpred.bounds import MOST_SAMPLES, MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Discriminator, Shape
from vidpred.models.images import (
    COARSEST,
    ImageDiscriminatorSettings,
    ImageGenerator,
    ImageSettings,
    MinibatchDiscrimination,
    VirtualBatchNorm,
    apply_per_group,
    as_frames,
    halved_sides,
    image_shape,
    initialize,
    label_planes,
)
from vidpred.models.multiscale import as_channels_last

KERNEL, STRIDE, PADDING, SLOPE = 4, 2, 1, 0.2


class DcganSettings(ImageSettings):
    """Settings of the DCGAN generator."""

    name: Literal["dcgan"] = Field("dcgan", description="Convolutional generator of images (Radford et al. 2016).")
    width: int = Field(
        64,
        ge=1,
        le=MOST_WIDTH,
        description="Feature maps of the finest layer, doubled at every coarser resolution (the paper: 128).",
    )
    virtual_batch: int = Field(
        0,
        ge=0,
        le=MOST_SAMPLES,
        description="Samples in the reference batch of virtual batch normalization, drawn once (Salimans et al. 2016, "
        "section 3.5). 0: batch normalization.",
    )

    def build(self, data: DataSettings) -> DcganGenerator:
        return DcganGenerator(self, image_shape(data))


class DcganDiscriminatorSettings(ImageDiscriminatorSettings):
    """Settings of the DCGAN discriminator."""

    name: Literal["dcgan"] = Field("dcgan", description="Convolutional discriminator of images.")
    width: int = Field(
        64, ge=1, le=MOST_WIDTH, description="Feature maps of the first layer, doubled at every coarser resolution."
    )
    batch_norm: bool = Field(
        True,
        description="Apply batch normalization between the layers; set it to false with gradient_penalty_weight, "
        "r1_weight or r2_weight of objective.adversarial, which are defined for single samples.",
    )
    initialization: Literal["dcgan", "he"] = Field(
        "dcgan",
        description="Standard deviation of the initial weights. dcgan: 0.02, whose scale batch normalization corrects; "
        "he: about the root of 2 / fan-in (He et al. 2015), which keeps the scale of features without it.",
    )
    minibatch_kernels: int = Field(
        0,
        ge=0,
        le=MOST_WIDTH,
        description="Kernels of minibatch discrimination, which counters mode collapse "
        "(Salimans et al. 2016). 0: none; 100 in the paper.",
    )
    classes: int = Field(
        0,
        ge=0,
        description="Number of the data's classes, if the discriminator predicts the class: one logit per "
        "class, and D = Z / (Z + 1) with Z the sum of their exponentials (semi-supervised; "
        "Salimans et al. 2016, section 5). 0: one logit, no classes.",
    )

    @property
    def num_classes(self) -> int:
        return self.classes

    def build(self, num_scales: int, data: DataSettings) -> DcganDiscriminator:
        return DcganDiscriminator(self, image_shape(data))


def dcgan_sides(side: int) -> list[int]:
    """Return an image's side and its successive halves down to 4, 5 or 6 pixels; half of 7 is 4.

    Raises:
        ConfigError: Halving does not lead there, or is not needed.
    """
    sides = halved_sides(side)
    if sides[-1] == 7:
        sides.append(COARSEST)
    if len(sides) == 1:
        raise ConfigError(f"[data.crop_size={side}] a DCGAN doubles at least once; use 28, 32, 48, 64 or 96")
    return sides


def kernel(side: int) -> int:
    """Return the kernel size of the convolution that halves a side, or doubles to it."""
    return KERNEL - side % 2


class DcganGenerator(ImageGenerator):
    """Generator: z -> fractionally strided convolutions with batch norm and ReLU -> tanh; no hidden linear layer."""

    def __init__(self, settings: DcganSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        *sides, coarsest = dcgan_sides(shape.height)
        widths = [settings.width << level for level in reversed(range(len(sides)))]
        layers: list[nn.Module] = [nn.ConvTranspose2d(self.latent_size, widths[0], coarsest, bias=False)]
        reference = settings.virtual_batch
        for index, (width, side) in enumerate(zip(widths, reversed(sides), strict=True)):
            norm = VirtualBatchNorm(width, reference) if reference else nn.BatchNorm2d(width)
            layers += [norm, nn.ReLU(inplace=True)]
            last = index == len(sides) - 1
            after = shape.channels if last else widths[index + 1]
            layers.append(nn.ConvTranspose2d(width, after, kernel(side), STRIDE, PADDING, bias=last))
        self.layers = nn.Sequential(*layers)
        initialize(self)
        numbers = [number % max(1, self.num_labels) for number in range(reference)]
        classes = torch.tensor(numbers, dtype=torch.int64)
        latent = self.latent(torch.empty(reference, 0), None, classes if self.num_labels else None)
        self.reference: Tensor
        # Persistent only with virtual batch normalization: other checkpoints do not have it.
        self.register_buffer("reference", latent, persistent=bool(reference))

    def generate(self, latent: Tensor) -> Tensor:
        latent = torch.cat([self.reference.to(latent), latent])[:, :, None, None]
        images = self.layers(as_channels_last(latent))[len(self.reference) :]
        return as_frames(torch.tanh(images.float()))


class DcganDiscriminator(Discriminator):
    """Discriminator: strided convolutions with LeakyReLU, batch norm between them, one logit.

    Real and generated images are normalized as separate batches.
    """

    split_batch_stats = True  # forward takes `num_groups`

    def __init__(self, settings: DcganDiscriminatorSettings, shape: Shape) -> None:
        super().__init__()
        *sides, coarsest = dcgan_sides(shape.height)
        self.num_labels, self.classes = settings.num_labels, settings.classes
        layers: list[nn.Module] = []
        channels = shape.channels + settings.num_labels
        for level, side in enumerate(sides):
            width = settings.width << level
            normed = settings.batch_norm and level > 0
            layers.append(nn.Conv2d(channels, width, kernel(side), STRIDE, PADDING, bias=not normed))
            layers += [nn.BatchNorm2d(width)] if normed else []
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
            channels = width
        self.layers = nn.Sequential(*layers)
        features = channels * coarsest**2
        self.compares_samples = settings.minibatch_kernels > 0
        self.minibatch = (
            MinibatchDiscrimination(features, settings.minibatch_kernels) if settings.minibatch_kernels else None
        )
        # An unpadded convolution as large as the feature maps is a linear layer.
        self.last = nn.Linear(features + settings.minibatch_kernels, settings.classes or 1)
        initialize(self)
        if settings.initialization == "he":
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(layer.weight, SLOPE)

    def forward(
        self, context: Tensor, images: list[Tensor], with_features: bool = False, labels: Tensor | None = None,
        num_groups: int = 1, with_classes: bool = False,
    ) -> Tensor | tuple[Tensor, list[Tensor]] | tuple[Tensor, Tensor]:  # fmt: skip
        """Score a list of one, `(B, 1, C, H, W)` in [0, 1]; for the other arguments see `Discriminator`.

        Returns:
            Logits `(B, 1)`, alone or in a tuple with the requested addition.
        """
        features = as_channels_last(label_planes(labels, self.num_labels, images[-1][:, 0] * 2 - 1))
        for layer in self.layers:
            mixes_samples = isinstance(layer, nn.BatchNorm2d)
            features = apply_per_group(layer, features, num_groups) if mixes_samples else layer(features)
        hidden = features.flatten(1)
        inputs = hidden if self.minibatch is None else apply_per_group(self.minibatch, hidden, num_groups)
        by_class = self.last(inputs).float()
        logits = by_class.logsumexp(1, keepdim=True) if self.classes else by_class
        if with_features:
            return logits, [hidden]
        return (logits, by_class) if with_classes else logits
