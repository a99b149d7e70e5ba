"""R3GAN: generator and discriminator of square images, convolutional residual networks without normalization.

Huang et al. 2024, "The GAN is dead; long live the GAN! A modern GAN baseline" (section 4). Their loss is
`objective.adversarial.loss=relativistic` with R1 and R2.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as functional
from pydantic import Field
from torch import Tensor, nn

from vidpred.bounds import MOST_LAYERS, MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Discriminator, Shape
from vidpred.models.conditions import check_labels
from vidpred.models.images import (
    ImageDiscriminatorSettings,
    ImageGenerator,
    ImageSettings,
    as_frames,
    halved_sides,
    image_shape,
)
from vidpred.settings import Settings

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the variance through a LeakyReLU (He et al. 2015)
EXPANSION, GROUP = 2, 16  # feature maps within a block relative to its input; feature maps per group of a convolution


class BackboneSettings(Settings):
    """Settings that generator and discriminator have in common."""

    width: int = Field(
        768,
        ge=8,
        le=MOST_WIDTH,
        multiple_of=8,
        description="Feature maps of the stages with sides up to full_width_side (the paper: 768).",
    )
    full_width_side: int = Field(
        32,
        ge=4,
        description="Side in pixels up to which stages have `width` feature maps; every finer stage has "
        "half those of the next coarser one.",
    )
    blocks: int = Field(2, ge=1, le=MOST_LAYERS, description="Residual blocks per stage; every resolution is a stage.")


class R3ganSettings(BackboneSettings, ImageSettings):
    """Settings of the R3GAN generator."""

    name: Literal["r3gan"] = Field("r3gan", description="R3GAN's generator of images (Huang et al. 2024).")
    noise_channels: int = Field(
        64, ge=1, le=100_000, description="Length of the noise vector z that an image is generated from."
    )

    def build(self, data: DataSettings) -> R3ganGenerator:
        return R3ganGenerator(self, image_shape(data))


class R3ganDiscriminatorSettings(BackboneSettings, ImageDiscriminatorSettings):
    """Settings of the R3GAN discriminator."""

    name: Literal["r3gan"] = Field("r3gan", description="R3GAN's discriminator of images.")

    def build(self, num_scales: int, data: DataSettings) -> R3ganDiscriminator:
        return R3ganDiscriminator(self, image_shape(data))


def stage_widths(settings: BackboneSettings, sides: list[int]) -> list[int]:
    """Return the feature maps of the stages with these sides, in their order.

    Raises:
        ConfigError: A stage has too few for its groups of convolutions.
    """
    widths = [settings.width]
    for side in sides[1:]:
        widths.append(widths[-1] // 2 if side > settings.full_width_side else widths[-1])
    if widths[-1] * EXPANSION % GROUP:
        raise ConfigError(
            f"[width={settings.width}, full_width_side={settings.full_width_side}] the finest stage would have "
            f"{widths[-1]} feature maps, which is no multiple of {GROUP // EXPANSION}; raise one of them"
        )
    return widths


def linear(before: int, after: int, gain: float = 1.0) -> nn.Linear:
    """Return a linear layer without bias, with weights N(0, gain^2 / fan-in): of features, a 1x1 convolution."""
    layer = nn.Linear(before, after, bias=False)
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(before))
    return layer


class GroupedConvolution(nn.Conv2d):
    """Convolution of 3x3 places within groups of `GROUP` feature maps, with weights N(0, gain^2 / fan-in)."""

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels // GROUP, bias=False)
        nn.init.normal_(self.weight, 0.0, gain / math.sqrt(9 * GROUP))

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class BiasedLeaky(nn.Module):
    """LeakyReLU of features plus a learned bias per feature map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        return functional.leaky_relu(features + self.bias.to(features), SLOPE)


class ResidualBlock(nn.Module):
    """Inverted bottleneck: 1x1, grouped 3x3 and 1x1 convolutions, added to the input.

    Its weights start as Fix-up's (Zhang et al. 2019): the last layer at 0, the others scaled down by the number of
    blocks in the network, so that no normalization is needed.
    """

    def __init__(self, channels: int, num_blocks: int) -> None:
        super().__init__()
        inner, gain = channels * EXPANSION, GAIN * num_blocks**-0.25  # three layers: the exponent is -1 / (2 * 3 - 2)
        last = linear(inner, channels, 0.0)
        grouped = GroupedConvolution(inner, gain)
        first = linear(channels, inner, gain)
        self.layers = nn.Sequential(first, BiasedLeaky(inner), grouped, BiasedLeaky(inner), last)

    def forward(self, features: Tensor) -> Tensor:
        residual: Tensor = features + self.layers(features)
        return residual


class Resample(nn.Module):
    """Bilinear change of the side by 2, zero outside, with a 1x1 convolution at the coarser side if the width changes.

    A product with a matrix for rows and for columns, because second derivatives of depthwise convolutions are slow.
    """

    matrix: Tensor

    def __init__(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        """Build the layer from the side and the width before and after it."""
        super().__init__()
        (side, width), (new_side, new_width) = before, after
        self.enlarges = new_side > side
        self.layer = linear(width, new_width) if width != new_width else nn.Identity()
        fine, coarse = torch.arange(max(side, new_side)) + 0.5, torch.arange(min(side, new_side)) * 2.0 + 1
        weights = (2 - (fine[:, None] - coarse[None]).abs()).clamp(min=0) / 2  # 1/4, 3/4, 3/4, 1/4
        self.register_buffer("matrix", weights if self.enlarges else weights.T / 2, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        if self.enlarges:
            features = self.layer(features)
        matrix = self.matrix.to(features)
        columns = matrix @ features  # (B, H, new W, C)
        resampled: Tensor = (matrix @ columns.flatten(2)).unflatten(2, columns.shape[2:])
        if not self.enlarges:
            resampled = self.layer(resampled)
        return resampled


class R3ganGenerator(ImageGenerator):
    """Generator: a learned coarsest basis weighted by z, then stages of residual blocks with bilinear upsampling."""

    def __init__(self, settings: R3ganSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        sides = halved_sides(shape.height)[::-1]
        widths = stage_widths(settings, sides)
        stages, num_blocks = list(zip(sides, widths, strict=True)), settings.blocks * len(sides)
        size = settings.noise_channels
        self.embedding = linear(settings.num_labels, size) if settings.num_labels else None
        self.weights = linear(size * (2 if settings.num_labels else 1), widths[0])
        self.basis = nn.Parameter(torch.randn(sides[0], sides[0], widths[0]))
        layers: list[nn.Module] = []
        for index, width in enumerate(widths):
            layers += [Resample(stages[index - 1], stages[index])] if index else []
            layers += [ResidualBlock(width, num_blocks) for _ in range(settings.blocks)]
        self.layers = nn.Sequential(*layers, linear(widths[-1], shape.channels))

    def generate(self, latent: Tensor) -> Tensor:
        if self.embedding is not None:
            classes = latent[:, self.noise_channels :]
            latent = torch.cat([latent[:, : self.noise_channels], self.embedding(classes).to(latent)], 1)
        features = self.basis.to(latent) * self.weights(latent)[:, None, None]  # (B, H, W, C), as in all layers
        return as_frames(self.layers(features).permute(0, 3, 1, 2))


class R3ganDiscriminator(Discriminator):
    """Discriminator that mirrors the generator; with classes, its logit is a product with the class's embedding."""

    def __init__(self, settings: R3ganDiscriminatorSettings, shape: Shape) -> None:
        super().__init__()
        sides = halved_sides(shape.height)[::-1]
        widths = stage_widths(settings, sides)
        stages, num_blocks = list(zip(sides, widths, strict=True)), settings.blocks * len(sides)
        self.num_labels = settings.num_labels
        layers: list[nn.Module] = [linear(shape.channels, widths[-1])]
        for index, width in reversed(list(enumerate(widths))):
            layers += [ResidualBlock(width, num_blocks) for _ in range(settings.blocks)]
            layers += [Resample(stages[index], stages[index - 1])] if index else []
        self.layers = nn.Sequential(*layers)
        coarsest = widths[0]
        self.basis = nn.Parameter(torch.randn(sides[0], sides[0], coarsest) / sides[0])
        self.last = linear(coarsest, coarsest if settings.num_labels else 1)
        classes = settings.num_labels
        self.embedding = linear(classes, coarsest, gain=1 / math.sqrt(coarsest)) if classes else None

    def forward(
        self, context: Tensor, images: list[Tensor], with_features: bool = False, labels: Tensor | None = None
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Score a list of one, `(B, 1, C, H, W)` in [0, 1]; for the other arguments see `Discriminator`.

        Returns:
            Logits `(B, 1)`, alone or in a tuple with the features.
        """
        features = self.layers((images[-1][:, 0] * 2 - 1).permute(0, 2, 3, 1).contiguous())
        hidden = (features * self.basis.to(features)).sum((1, 2))
        logits = self.last(hidden)
        if self.embedding is not None:
            check_labels(labels, 0 if hidden.is_meta else self.num_labels)
            chosen = torch.zeros(len(hidden), dtype=torch.int64) if labels is None else labels
            classes = functional.one_hot(chosen.to(hidden.device), self.num_labels).to(hidden)
            logits = (logits * self.embedding(classes)).sum(1, keepdim=True)
        return (logits.float(), [hidden]) if with_features else logits.float()
