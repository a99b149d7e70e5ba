"""StyleGAN's generator; its discriminator is that of `progressive`.

Karras et al. 2019, "A style-based generator architecture for generative adversarial networks".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vidpred.bounds import MOST_LAYERS, MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.models.base import Shape
from vidpred.models.equalized_lr import (
    EqualizedConv,
    EqualizedLinear,
    Growing,
    adaptive_instance_norm,
    feature_maps,
    leaky,
    pixel_norm,
)
from vidpred.models.images import ImageGenerator, ImageSettings, as_frames, image_shape
from vidpred.models.noise import draw_noise
from vidpred.models.progressive import blend_scales, doublings, enlarge

MAPPING_RATE, AVERAGE_DECAY = 0.01, 0.995


class StyleganSettings(ImageSettings):
    """Settings of the StyleGAN generator."""

    has_styles: ClassVar[bool] = True

    name: Literal["stylegan"] = Field("stylegan", description="Style-based generator of images (Karras et al. 2019).")
    noise_channels: int = Field(
        512, ge=1, le=100_000, description="Length of the noise vector z that an image is generated from."
    )
    width: int = Field(
        512,
        ge=1,
        le=MOST_WIDTH,
        description="Largest number of feature maps, of which a layer at resolution s x s (4, 8, 16, ...) has "
        "min(width, 64 * width / s), and the length of the style vector w (the paper: 512, and half as many feature "
        "maps as here from 64x64 on).",
    )
    mapping_layers: int = Field(
        8, ge=1, le=MOST_LAYERS, description="Number of fully connected layers from z to the style vector w."
    )
    mixing: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Share of the training samples whose layers use the style of another z from a random layer on.",
    )
    truncation: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Factor of w's distance from its mean, except in training. 1: not truncated; 0: the mean itself.",
    )
    truncation_cutoff: int = Field(
        8,
        ge=0,
        description="Number of layers, from the coarsest on, that use the truncated w; the others use w itself.",
    )
    growing: bool = Field(
        True, description="Grow from 4x4 to the full size during training. false: start at the full size."
    )

    def build(self, data: DataSettings) -> StyleganGenerator:
        return StyleganGenerator(self, image_shape(data))


class StyleLayer(nn.Module):
    """Convolution (or the learned constant), separate noise for every pixel, LeakyReLU, and AdaIN by the style."""

    fixed: Tensor

    def __init__(self, convolution: nn.Module, channels: int, style: int, side: int) -> None:
        super().__init__()
        self.convolution = convolution
        self.noise_weight = nn.Parameter(torch.zeros(channels, 1, 1))
        self.style = EqualizedLinear(style, 2 * channels, gain=1)
        with torch.no_grad():
            self.style.bias[:channels] = 1  # scales start at 1, biases at 0
        self.register_buffer("fixed", torch.randn(1, 1, side, side))  # noise outside training

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        features = self.convolution(features)
        size = (len(features), 1, *features.shape[2:])
        noise = torch.randn(size, device=features.device) if self.training else self.fixed
        features = leaky(features + (self.noise_weight * noise).to(features))
        scale, bias = self.style(style).float().chunk(2, 1)
        return adaptive_instance_norm(features, scale, bias)


class StyleganGenerator(Growing, ImageGenerator):
    """Generator: a mapping network from z to w, and a synthesis network that refines a learned 4x4 constant.

    w determines the scales and biases of every layer; each scale has two layers.
    """

    mean_style: Tensor

    def __init__(self, settings: StyleganSettings, shape: Shape) -> None:
        ImageGenerator.__init__(self, settings, shape)
        self.mixing, self.truncation, self.cutoff = settings.mixing, settings.truncation, settings.truncation_cutoff
        self.prepare_growth(doublings(shape), settings.growing)
        width = settings.width
        sizes = [self.latent_size, *[width] * settings.mapping_layers]
        self.mapping = nn.ModuleList(
            EqualizedLinear(before, after, rate=MAPPING_RATE) for before, after in pairwise(sizes)
        )
        self.register_buffer("mean_style", torch.zeros(width))
        widths = [feature_maps(width, level) for level in range(self.doublings + 1)]
        self.constant = nn.Parameter(torch.ones(1, widths[0], 4, 4))
        self.layers = nn.ModuleList([StyleLayer(nn.Identity(), widths[0], width, 4)])
        self.layers.append(StyleLayer(EqualizedConv(widths[0], widths[0], 3), widths[0], width, 4))
        for level, (before, after) in enumerate(pairwise(widths), 1):
            for first, second in ((before, after), (after, after)):
                self.layers.append(StyleLayer(EqualizedConv(first, second, 3), after, width, 4 << level))
        self.images = nn.ModuleList(EqualizedConv(width, shape.channels, 1, gain=1) for width in widths)
        self.num_styles = len(self.layers)

    def map(self, latent: Tensor) -> Tensor:
        """Map z (and the class) `(B, latent_size)` to w `(B, width)`."""
        style = pixel_norm(latent)
        for layer in self.mapping:
            style = leaky(layer(style))
        return style

    def synthesize(self, styles: Tensor) -> Tensor:
        """Return images `(B, C, H, W)`, nominally in [-1, 1], for one style per layer, `(B, num_layers, width)`."""
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
            image = blend_scales(self.images[level - 1](before), image, share)
        return enlarge(image, self.shape.width)

    @contextmanager
    def truncated(self, truncation: float | None) -> Iterator[None]:
        """Override the truncation within a `with` block; None: keep the configured one."""
        own = self.truncation
        self.truncation = own if truncation is None else truncation
        try:
            yield
        finally:
            self.truncation = own

    def truncate(self, styles: Tensor) -> Tensor:
        """Pull the styles `(B, num_layers, width)` of the layers before the cutoff toward the mean style."""
        near = torch.lerp(self.mean_style.expand_as(styles), styles, self.truncation)
        before = torch.arange(self.num_styles, device=styles.device) < self.cutoff
        return torch.where(before[None, :, None], near, styles)

    def styles(self, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        style = self.map(self.latent(self.empty_context(len(noise), noise.device), noise, labels))
        return self.truncate(style[:, None].repeat(1, self.num_styles, 1))

    def images_of_styles(self, styles: Tensor) -> Tensor:
        return as_frames(self.synthesize(styles))[:, 0].clamp(0, 1)

    def forward(self, context: Tensor, noise: Tensor | None = None, labels: Tensor | None = None) -> list[Tensor]:
        """Generate images from noise; in training, update the mean of w and mix styles, otherwise truncate them."""
        style = self.map(self.latent(context, noise, labels)).float()
        styles = style[:, None].repeat(1, self.num_styles, 1)
        if self.training:
            self._remember(style)
            styles = self._mixed(styles, context, labels)
        else:
            styles = self.truncate(styles)
        return [as_frames(self.synthesize(styles))]

    def _remember(self, style: Tensor) -> None:
        with torch.no_grad():
            self.mean_style.lerp_(style.mean(0), 1 - AVERAGE_DECAY)

    def _mixed(self, styles: Tensor, context: Tensor, labels: Tensor | None) -> Tensor:
        """Replace, for a share of the samples, the style from a random active layer on by another z's."""
        if not self.mixing or context.is_meta:
            return styles
        count = len(styles)
        other = self.map(self.latent(context, draw_noise(self, count), labels)).float()
        used = 2 * (self.stage()[0] + 1)
        crossover = torch.randint(1, used, (count,))  # the first layer of the other style
        crossover[torch.rand(count) >= self.mixing] = self.num_styles
        later = torch.arange(self.num_styles)[None] >= crossover[:, None]
        return torch.where(later.to(styles.device)[:, :, None], other[:, None], styles)
