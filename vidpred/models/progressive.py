"""Progressive growing of GANs (Karras et al. 2018): both networks begin at 4x4 pixels and grow."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Discriminator, Shape
from vidpred.models.equalized_lr import (
    EqualisedConv,
    EqualisedLinear,
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

    name: Literal["progressive"] = Field("progressive", description="Kind of generator.")
    noise_channels: int = Field(512, ge=1, le=100_000, description="Length of z, the noise of an image.")
    width: int = Field(512, ge=1, description="Largest number of feature maps (the paper: 512).")
    growing: bool = Field(
        True, description="Grow from 4x4 to the full size during training. false: start at the full size."
    )

    def build(self, data: DataSettings) -> ProgressiveGenerator:
        return ProgressiveGenerator(self, image_shape(data))


class ProgressiveDiscriminatorSettings(ImageDiscriminatorSettings):
    """Settings of the progressive GAN's discriminator."""

    name: Literal["progressive"] = Field("progressive", description="Kind of discriminator.")
    width: int = Field(512, ge=1, description="Largest number of feature maps (the paper: 512).")
    growing: bool = Field(True, description="Grow from 4x4 to the full size during training, as the generator.")
    deviation_group: int = Field(
        4, ge=0, description="Number of samples in a group of the minibatch standard deviation. 0: none."
    )

    def build(self, num_scales: int, data: DataSettings) -> ProgressiveDiscriminator:
        return ProgressiveDiscriminator(self, image_shape(data))


def doublings(shape: Shape) -> int:
    """How often 4 is doubled to the image's side. Raises ConfigError where it is not."""
    count = max(1, (shape.height // 4).bit_length() - 1)
    if 4 << count != shape.height:
        raise ConfigError(
            f"[data.crop_size={shape.height}] networks that grow double 4 pixels again and again; "
            "take 8, 16, 32, 64, ..."
        )
    return count


def fade(coarse: Tensor, fine: Tensor, share: float) -> Tensor:
    """The coarser image, doubled, blended into the finer one."""
    return fine if share == 1 else torch.lerp(upsample(coarse).float(), fine.float(), share)


def enlarge(image: Tensor, side: int) -> Tensor:
    return image if image.shape[-1] == side else interpolate(image, size=(side, side), mode="nearest")


class ProgressiveGenerator(Growing, ImageGenerator):
    """z on the unit sphere -> 4x4 -> doubled and convolved twice at each scale, every pixel normalised."""

    def __init__(self, settings: ProgressiveSettings, shape: Shape) -> None:
        ImageGenerator.__init__(self, settings, shape)
        self.prepare_growth(doublings(shape), settings.growing)
        widths = [feature_maps(settings.width, level) for level in range(self.doublings + 1)]
        self.first = EqualisedLinear(self.latent_size, widths[0] * 16, gain=2**0.5 / 4)
        self.blocks = nn.ModuleList([nn.ModuleList([EqualisedConv(widths[0], widths[0], 3)])])
        for before, after in pairwise(widths):
            self.blocks.append(nn.ModuleList([EqualisedConv(before, after, 3), EqualisedConv(after, after, 3)]))
        self.images = nn.ModuleList(EqualisedConv(width, shape.channels, 1, gain=1) for width in widths)

    def forward(self, context: Tensor, noise: Tensor | None = None, labels: Tensor | None = None) -> list[Tensor]:
        """Context `(B, 0, C, H, W)`, noise `(B, noise_channels)`, labels `(B,)` -> a list of `(B, 1, C, H, W)`: of the
        present scale, its pixels repeated up to the whole size."""
        level, share = self.stage()
        latent = pixel_norm(self.latent(context, noise, labels))
        features = pixel_norm(leaky(self.first(latent).unflatten(1, (-1, 4, 4))))
        before = features
        for number, block in enumerate(self.blocks[: level + 1]):
            before, features = features, upsample(features) if number else features
            for layer in block:  # type: ignore[attr-defined]
                features = pixel_norm(leaky(layer(features)))
        image = self.images[level](features).float()
        if share < 1:
            image = fade(self.images[level - 1](before), image, share)
        return [as_frames(enlarge(image, self.shape.width))]


class ProgressiveDiscriminator(Growing, Discriminator):
    """The generator turned round; sees images at its present scale. Beside 4x4 features stands how much the samples
    of a batch differ."""

    split_batch_stats = True

    def __init__(self, settings: ProgressiveDiscriminatorSettings, shape: Shape) -> None:
        super().__init__()
        self.prepare_growth(doublings(shape), settings.growing)
        self.num_labels, self.group = settings.num_labels, settings.deviation_group
        widths = [feature_maps(settings.width, level) for level in range(self.doublings + 1)]
        channels = shape.channels + settings.num_labels
        self.images = nn.ModuleList(EqualisedConv(channels, width, 1) for width in widths)
        self.blocks = nn.ModuleList()
        for after, before in pairwise(widths):
            self.blocks.append(nn.ModuleList([EqualisedConv(before, before, 3), EqualisedConv(before, after, 3)]))
        self.last = EqualisedConv(widths[0] + (1 if self.group else 0), widths[0], 3)
        self.hidden = EqualisedLinear(widths[0] * 16, widths[0])
        self.logit = EqualisedLinear(widths[0], 1, gain=1)

    def match_fade(self, frames: Tensor) -> Tensor:
        """True frames `(B, 1, C, H, W)` as the generator makes false ones while a scale is faded in: with that share of
        its detail (Karras et al. 2018, figure 2)."""
        share = self.stage()[1]
        if share == 1:
            return frames
        fine = avg_pool2d(frames[:, 0], self.pixel_repeat)
        return enlarge(fade(avg_pool2d(fine, 2), fine, share), frames.shape[-1])[:, None]

    def forward(
        self, context: Tensor, images: list[Tensor], with_features: bool = False, labels: Tensor | None = None,
        num_groups: int = 1,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:  # fmt: skip
        """Logits `(B, 1)`; with_features: and the last hidden features, a list of one `(B, F)`.

        images: a list of one, `(B, 1, C, H, W)` in [0, 1], of `num_groups` groups in turn. context is unused.
        """
        level, share = self.stage()
        seen = label_planes(labels, self.num_labels, images[-1][:, 0] * 2 - 1)
        if level < self.doublings:
            seen = avg_pool2d(seen, self.pixel_repeat)
        features = leaky(self.images[level](seen))
        for number in reversed(range(level)):
            for layer in self.blocks[number]:  # type: ignore[attr-defined]
                features = leaky(layer(features))
            features = avg_pool2d(features, 2)
            if number == level - 1 and share < 1:
                coarse = leaky(self.images[number](avg_pool2d(seen, 2)))
                features = torch.lerp(coarse.float(), features.float(), share)
        if self.group:
            features = torch.cat([minibatch_std(part, self.group) for part in features.chunk(num_groups)])
        hidden = leaky(self.hidden(leaky(self.last(features)).flatten(1)))
        logits = self.logit(hidden).float()
        return (logits, [hidden]) if with_features else logits
