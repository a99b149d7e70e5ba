"""StyleGAN (Karras et al. 2019, "A style-based generator architecture for generative adversarial networks"). Its
discriminator is that of `progressive`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vidpred.data.settings import DataSettings
from vidpred.models.base import Shape
from vidpred.models.equalized_lr import (
    EqualisedConv,
    EqualisedLinear,
    Growing,
    adaptive_instance_norm,
    feature_maps,
    leaky,
    pixel_norm,
)
from vidpred.models.images import ImageGenerator, ImageSettings, as_frames, image_shape
from vidpred.models.noise import draw_noise
from vidpred.models.progressive import doublings, enlarge, fade

MAPPING_RATE, AVERAGE_DECAY = 0.01, 0.995


class StyleganSettings(ImageSettings):
    """Settings of the StyleGAN generator."""

    name: Literal["stylegan"] = Field("stylegan", description="Kind of generator.")
    noise_channels: int = Field(512, ge=1, le=100_000, description="Length of z, the noise of an image.")
    width: int = Field(512, ge=1, description="Largest number of feature maps, and the length of w (the paper: 512).")
    mapping_layers: int = Field(8, ge=1, description="Number of layers from z to w.")
    mixing: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Share of the training samples whose style changes, at a random layer, to that of another z.",
    )
    truncation: float = Field(
        0.7, ge=0, le=1, description="Distance of w from its mean outside training, as a share (1: not truncated)."
    )
    truncation_cutoff: int = Field(
        8, ge=0, description="Number of layers, from the coarsest on, that use the truncated w."
    )
    growing: bool = Field(
        True, description="Grow from 4x4 to the full size during training. false: start at the full size."
    )

    def build(self, data: DataSettings) -> StyleganGenerator:
        return StyleganGenerator(self, image_shape(data))


class StyleLayer(nn.Module):
    """A convolution (none: the learned constant), noise of its own for every pixel, LeakyReLU, AdaIN by the style."""

    fixed: Tensor

    def __init__(self, convolution: nn.Module, channels: int, style: int, side: int) -> None:
        super().__init__()
        self.convolution = convolution
        self.noise_weight = nn.Parameter(torch.zeros(channels, 1, 1))
        self.style = EqualisedLinear(style, 2 * channels, gain=1)
        with torch.no_grad():
            self.style.bias[:channels] = 1  # scales begin at 1, biases at 0
        self.register_buffer("fixed", torch.randn(1, 1, side, side))  # the noise outside training

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        features = self.convolution(features)
        size = (len(features), 1, *features.shape[2:])
        noise = torch.randn(size, device=features.device) if self.training else self.fixed
        features = leaky(features + (self.noise_weight * noise).to(features))
        scale, bias = self.style(style).float().chunk(2, 1)
        return adaptive_instance_norm(features, scale, bias)


class StyleganGenerator(Growing, ImageGenerator):
    """z -> w by the mapping network; a learned 4x4 constant, painted finer and finer, w deciding on every layer's
    scales and biases. Two layers a scale."""

    mean_style: Tensor

    def __init__(self, settings: StyleganSettings, shape: Shape) -> None:
        ImageGenerator.__init__(self, settings, shape)
        self.mixing, self.truncation, self.cutoff = settings.mixing, settings.truncation, settings.truncation_cutoff
        self.prepare_growth(doublings(shape), settings.growing)
        width = settings.width
        sizes = [self.latent_size, *[width] * settings.mapping_layers]
        self.mapping = nn.ModuleList(
            EqualisedLinear(before, after, rate=MAPPING_RATE) for before, after in pairwise(sizes)
        )
        self.register_buffer("mean_style", torch.zeros(width))
        widths = [feature_maps(width, level) for level in range(self.doublings + 1)]
        self.constant = nn.Parameter(torch.ones(1, widths[0], 4, 4))
        self.layers = nn.ModuleList([StyleLayer(nn.Identity(), widths[0], width, 4)])
        self.layers.append(StyleLayer(EqualisedConv(widths[0], widths[0], 3), widths[0], width, 4))
        for level, (before, after) in enumerate(pairwise(widths), 1):
            for first, second in ((before, after), (after, after)):
                self.layers.append(StyleLayer(EqualisedConv(first, second, 3), after, width, 4 << level))
        self.images = nn.ModuleList(EqualisedConv(width, shape.channels, 1, gain=1) for width in widths)
        self.num_styles = len(self.layers)

    def map(self, latent: Tensor) -> Tensor:
        """z (and the class) `(B, latent_size)` -> w `(B, width)`."""
        style = pixel_norm(latent)
        for layer in self.mapping:
            style = leaky(layer(style))
        return style

    def synthesise(self, styles: Tensor) -> Tensor:
        """A style for every layer, `(B, num_layers, width)` -> images `(B, C, H, W)`, meant for [-1, 1]."""
        level, share = self.stage()
        features = before = self.constant.expand(len(styles), -1, -1, -1)
        for number in range(level + 1):
            before = features
            if number:
                features = interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
            for layer in (2 * number, 2 * number + 1):
                features = self.layers[layer](features, styles[:, layer])
        image = self.images[level](features).float()
        if share < 1:
            image = fade(self.images[level - 1](before), image, share)
        return enlarge(image, self.shape.width)

    @contextmanager
    def truncated(self, truncation: float | None) -> Iterator[None]:
        """Another truncation for a while; None: its own."""
        own = self.truncation
        self.truncation = own if truncation is None else truncation
        try:
            yield
        finally:
            self.truncation = own

    def truncate(self, styles: Tensor) -> Tensor:
        """`(B, num_layers, width)`: those before the cutoff pulled to the mean style."""
        near = torch.lerp(self.mean_style.expand_as(styles), styles, self.truncation)
        before = torch.arange(self.num_styles, device=styles.device) < self.cutoff
        return torch.where(before[None, :, None], near, styles)

    def styles(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        style = self.map(self.latent(self.empty_context(len(noise), noise.device), noise, labels))
        return self.truncate(style[:, None].repeat(1, self.num_styles, 1))

    def images_of_styles(self, styles: Tensor) -> Tensor:
        return as_frames(self.synthesise(styles))[:, 0].clamp(0, 1)

    def forward(self, context: Tensor, noise: Tensor | None = None, labels: Tensor | None = None) -> list[Tensor]:
        """Context `(B, 0, C, H, W)`, noise `(B, noise_channels)`, labels `(B,)` -> a list of `(B, 1, C, H, W)`.

        In training the mean of w is kept up to date and styles are mixed; else they are truncated.
        """
        style = self.map(self.latent(context, noise, labels)).float()
        styles = style[:, None].repeat(1, self.num_styles, 1)
        if self.training:
            self._remember(style)
            styles = self._mixed(styles, context, labels)
        else:
            styles = self.truncate(styles)
        return [as_frames(self.synthesise(styles))]

    def _remember(self, style: Tensor) -> None:
        with torch.no_grad():
            self.mean_style.lerp_(style.mean(0), 1 - AVERAGE_DECAY)

    def _mixed(self, styles: Tensor, context: Tensor, labels: Tensor | None) -> Tensor:
        """For a share of the samples, another z's style from a random layer of those at work on."""
        if not self.mixing or context.is_meta:
            return styles
        count = len(styles)
        other = self.map(self.latent(context, draw_noise(self, count), labels)).float()
        used = 2 * (self.stage()[0] + 1)
        crossover = torch.randint(1, used, (count,))  # the first layer of the other style
        crossover[torch.rand(count) >= self.mixing] = self.num_styles
        later = torch.arange(self.num_styles)[None] >= crossover[:, None]
        return torch.where(later.to(styles.device)[:, :, None], other[:, None], styles)
