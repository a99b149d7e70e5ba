"""Progressive growing of GANs (Karras et al. 2018): both networks start at 4x4 pixels and grow."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from vidpred.bounds import MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Discriminator, Shape
from vidpred.models.equalized_lr import (
    EqualizedConv,
    EqualizedLinear,
    Growing,
    feature_maps,
    leaky,
    minibatch_std,
    pixel_norm,
)
from vidpred.models.images import (
    ImageDiscriminatorSettings,
    ImageGenerator,
    ImageSettings,
    as_frames,
    image_shape,
    label_planes,
)
from vidpred.models.pyramid import upsample


class ProgressiveSettings(ImageSettings):
    """Settings of the progressive GAN's generator."""

    name: Literal["progressive"] = Field(
        "progressive", description="Progressively grown generator of images (Karras et al. 2018)."
    )
    noise_channels: int = Field(
        512, ge=1, le=100_000, description="Length of the noise vector z that an image is generated from."
    )
    width: int = Field(
        512,
        ge=1,
        le=MOST_WIDTH,
        description="Largest number of feature maps; a layer at resolution s x s (4, 8, 16, ...) has "
        "min(width, 64 * width / s) of them (the paper: 512, and half as many as here from 64x64 on).",
    )
    growing: bool = Field(
        True, description="Grow from 4x4 to the full size during training. false: start at the full size."
    )

    def build(self, data: DataSettings) -> ProgressiveGenerator:
        return ProgressiveGenerator(self, image_shape(data))


class ProgressiveDiscriminatorSettings(ImageDiscriminatorSettings):
    """Settings of the progressive GAN's discriminator."""

    name: Literal["progressive"] = Field("progressive", description="Progressively grown discriminator of images.")
    width: int = Field(
        512,
        ge=1,
        le=MOST_WIDTH,
        description="Largest number of feature maps; a layer at resolution s x s (4, 8, 16, ...) has "
        "min(width, 64 * width / s) of them (the paper: 512, and half as many as here from 64x64 on).",
    )
    growing: bool = Field(
        True,
        description="Grow from 4x4 to the full size during training; set it as model.growing. false: "
        "start at the full size.",
    )
    minibatch_std_group: int = Field(
        4,
        ge=0,
        description="Largest number of samples over which the minibatch standard deviation, an input of "
        "the last layers, is computed; reduced to a divisor of the batch size. 0: none.",
    )

    def build(self, num_scales: int, data: DataSettings) -> ProgressiveDiscriminator:
        return ProgressiveDiscriminator(self, image_shape(data))


def doublings(shape: Shape) -> int:
    """Return how often a side of 4 pixels is doubled to reach the image's side.

    Raises:
        ConfigError: The image is not square, or its side is not 4 times a power of two.
    """
    count = max(1, (shape.height // 4).bit_length() - 1)
    if 4 << count != shape.height:
        raise ConfigError(
            f"[data.crop_size={shape.height}] networks that grow need 4 pixels times a power of two; "
            "use 8, 16, 32, 64, ..."
        )
    return count


def blend_scales(coarse: Tensor, fine: Tensor, share: float) -> Tensor:
    """Blend a doubled `(B, C, H/2, W/2)` into `(B, C, H, W)`: (1 - share) * coarse + share * fine."""
    return fine if share == 1 else torch.lerp(upsample(coarse).float(), fine.float(), share)


def enlarge(image: Tensor, side: int) -> Tensor:
    """Enlarge square images `(B, C, s, s)` to `side` pixels by repeating each pixel."""
    return image if image.shape[-1] == side else interpolate(image, size=(side, side), mode="nearest")


class ProgressiveGenerator(Growing, ImageGenerator):
    """Generator: z on the unit sphere -> 4x4, then doubling and two convolutions per scale, with pixel norm."""

    def __init__(self, settings: ProgressiveSettings, shape: Shape) -> None:
        ImageGenerator.__init__(self, settings, shape)
        self.prepare_growth(doublings(shape), settings.growing)
        widths = [feature_maps(settings.width, level) for level in range(self.doublings + 1)]
        self.first = EqualizedLinear(self.latent_size, widths[0] * 16, gain=2**0.5 / 4)
        self.blocks = nn.ModuleList([nn.ModuleList([EqualizedConv(widths[0], widths[0], 3)])])
        for before, after in pairwise(widths):
            self.blocks.append(nn.ModuleList([EqualizedConv(before, after, 3), EqualizedConv(after, after, 3)]))
        self.images = nn.ModuleList(EqualizedConv(width, shape.channels, 1, gain=1) for width in widths)

    def generate(self, latent: Tensor) -> Tensor:
        """Return frames of the active scale, with pixels repeated up to the full size."""
        level, share = self.stage()
        features = pixel_norm(leaky(self.first(pixel_norm(latent)).unflatten(1, (-1, 4, 4))))
        before = features
        for number, block in enumerate(self.blocks[: level + 1]):
            before, features = features, upsample(features) if number else features
            for layer in block:  # type: ignore[attr-defined]
                features = pixel_norm(leaky(layer(features)))
        image = self.images[level](features).float()
        if share < 1:
            image = blend_scales(self.images[level - 1](before), image, share)
        return as_frames(enlarge(image, self.shape.width))


class ProgressiveDiscriminator(Growing, Discriminator):
    """Discriminator that mirrors the generator and takes images at its active scale.

    The minibatch standard deviation is appended to the 4x4 features.
    """

    split_batch_stats = True

    def __init__(self, settings: ProgressiveDiscriminatorSettings, shape: Shape) -> None:
        super().__init__()
        self.prepare_growth(doublings(shape), settings.growing)
        self.num_labels, self.group = settings.num_labels, settings.minibatch_std_group
        self.compares_samples = self.group > 1
        widths = [feature_maps(settings.width, level) for level in range(self.doublings + 1)]
        channels = shape.channels + settings.num_labels
        self.images = nn.ModuleList(EqualizedConv(channels, width, 1) for width in widths)
        self.blocks = nn.ModuleList()
        for after, before in pairwise(widths):
            self.blocks.append(nn.ModuleList([EqualizedConv(before, before, 3), EqualizedConv(before, after, 3)]))
        self.last = EqualizedConv(widths[0] + (1 if self.group else 0), widths[0], 3)
        self.hidden = EqualizedLinear(widths[0] * 16, widths[0])
        self.logit = EqualizedLinear(widths[0], 1, gain=1)

    def match_fade(self, frames: Tensor) -> Tensor:
        """Return true frames `(B, 1, C, H, W)` with as much detail as the generator's while a scale is faded in.

        Karras et al. 2018, figure 2.
        """
        share = self.stage()[1]
        if share == 1:
            return frames
        fine = avg_pool2d(frames[:, 0], self.pixel_repeat)
        return enlarge(blend_scales(avg_pool2d(fine, 2), fine, share), frames.shape[-1])[:, None]

    def forward(
        self, context: Tensor, images: list[Tensor], with_features: bool = False, labels: Tensor | None = None,
        num_groups: int = 1,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:  # fmt: skip
        """Score a list of one, `(B, 1, C, H, W)` in [0, 1]; for the other arguments see `Discriminator`.

        Returns:
            Logits `(B, 1)`, alone or in a tuple with the features.
        """
        level, share = self.stage()
        inputs = label_planes(labels, self.num_labels, images[-1][:, 0] * 2 - 1)
        if level < self.doublings:
            inputs = avg_pool2d(inputs, self.pixel_repeat)
        features = leaky(self.images[level](inputs))
        for number in reversed(range(level)):
            for layer in self.blocks[number]:  # type: ignore[attr-defined]
                features = leaky(layer(features))
            features = avg_pool2d(features, 2)
            if number == level - 1 and share < 1:
                coarse = leaky(self.images[number](avg_pool2d(inputs, 2)))
                features = torch.lerp(coarse.float(), features.float(), share)
        if self.group:
            features = torch.cat([minibatch_std(part, self.group) for part in features.chunk(num_groups)])
        hidden = leaky(self.hidden(leaky(self.last(features)).flatten(1)))
        logits = self.logit(hidden).float()
        return (logits, [hidden]) if with_features else logits
