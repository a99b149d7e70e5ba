"""LAPGAN (Denton et al. 2015, "Deep generative image models using a Laplacian pyramid of adversarial networks")."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Discriminator, NoiseName, Shape
from vidpred.models.images import (
    ImageDiscriminatorSettings,
    ImageGenerator,
    ImageSettings,
    as_frames,
    image_shape,
    initialise,
    label_planes,
)
from vidpred.models.multiscale import as_channels_last, convolutions
from vidpred.models.pyramid import build_pyramid, upsample

KERNELS = [7, 7, 5]


class LapganSettings(ImageSettings):
    """Settings of the LAPGAN generators, one a scale, each twice the size of the one before."""

    name: Literal["lapgan"] = Field("lapgan", description="Kind of generator.")
    scales: int = Field(3, ge=2, le=6, description="Number of scales.")
    hidden: list[int] = Field(
        [1200, 1200], min_length=1, description="Widths of the coarsest generator's fully connected layers."
    )
    width: int = Field(64, ge=1, description="Feature maps of the finer generators.")
    noise_channels: int = Field(
        1380,
        ge=1,
        le=100_000,
        description="Number of noise values: those of the coarsest scale plus one per pixel of every finer scale.",
    )
    noise: NoiseName = Field(
        "uniform",
        description="Noise distribution: gaussian, uniform in (-1, 1), or binary (1 or -1 with equal chances).",
    )

    @property
    def num_scales(self) -> int:
        return self.scales

    def build(self, data: DataSettings) -> LapganGenerator:
        return LapganGenerator(self, image_shape(data))


class LapganDiscriminatorSettings(ImageDiscriminatorSettings):
    """Settings of the LAPGAN discriminators, one a scale."""

    name: Literal["lapgan"] = Field("lapgan", description="Kind of discriminator.")
    hidden: list[int] = Field(
        [600, 600], min_length=1, description="Widths of the coarsest discriminator's fully connected layers."
    )
    width: int = Field(64, ge=1, description="Feature maps of the finer discriminators.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Share of the finer discriminators' features that is dropped.")

    def build(self, num_scales: int, data: DataSettings) -> LapganDiscriminator:
        return LapganDiscriminator(self, num_scales, image_shape(data))


def sides(shape: Shape, scales: int) -> list[int]:
    """The sides of the pyramid's images, coarse to fine. Raises ConfigError where they cannot be halved so often."""
    if shape.height % 2 ** (scales - 1):
        raise ConfigError(
            f"[data.crop_size={shape.height}] is no multiple of {2 ** (scales - 1)}, which {scales} scales need"
        )
    return [shape.height >> level for level in reversed(range(scales))]


class LapganGenerator(ImageGenerator):
    """I_0 = G_0(z_0), and I_k = up(I_k-1) + G_k(z_k, up(I_k-1)): every G_k paints the details of one scale.

    In training each learns by itself: it is shown the true coarser image (`truth`) and not what those before it made.
    """

    takes_truth = True

    def __init__(self, settings: LapganSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        self.num_scales, self.sides = settings.scales, sides(shape, settings.scales)
        planes = [side**2 for side in self.sides[1:]]
        first = settings.noise_channels - sum(planes)
        if first < 1:
            raise ConfigError(
                f"[model.noise_channels={settings.noise_channels}] the finer of {settings.scales} scales up to "
                f"{shape.height} pixels take a number a pixel, {sum(planes)}; set {sum(planes) + 100}"
            )
        self.split = [first, *planes]
        widths = [first + settings.num_labels, *settings.hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.coarsest = nn.Sequential(*layers, nn.Linear(widths[-1], shape.channels * self.sides[0] ** 2))
        channels = [shape.channels + 1 + settings.num_labels, settings.width, settings.width, shape.channels]
        self.finer = nn.ModuleList(convolutions(channels, KERNELS, "same") for _ in planes)
        initialise(self.finer)

    def forward(
        self, context: Tensor, noise: Tensor | None = None, labels: Tensor | None = None, truth: Tensor | None = None
    ) -> list[Tensor]:
        """Context `(B, 0, C, H, W)`, noise `(B, noise_channels)`, labels `(B,)` -> `(B, 1, C, h, w)` at every scale,
        coarse to fine; truth `(B, 1, C, H, W)`: the images whose coarser scales the finer networks start from."""
        latent = self.latent(context, noise, labels)
        drawn = latent[:, : self.noise_channels].split(self.split, 1)
        first = torch.cat([drawn[0], latent[:, self.noise_channels :]], 1)
        side = self.sides[0]
        image = torch.tanh(self.coarsest(first).float()).view(-1, self.channels, side, side)
        known = None if truth is None else build_pyramid(truth * 2 - 1, len(self.sides))
        images = [as_frames(image)]
        for level, network in enumerate(self.finer):
            coarse = upsample(image if known is None else known[level][:, 0])
            side = self.sides[level + 1]
            seen = torch.cat([coarse, drawn[level + 1].reshape(-1, 1, side, side).to(coarse)], 1)
            seen = label_planes(labels, self.num_labels, seen)
            image = coarse + network(as_channels_last(seen)).float()
            images.append(as_frames(image))
        return images


class LapganDiscriminator(Discriminator):
    """D_0 judges the coarsest image; D_k the details that were added to up(I_k-1), and that image beside them."""

    takes_truth = True

    def __init__(self, settings: LapganDiscriminatorSettings, num_scales: int, shape: Shape) -> None:
        super().__init__()
        self.num_labels, self.num_scales = settings.num_labels, num_scales
        self.sides = sides(shape, num_scales)
        widths = [(shape.channels + settings.num_labels) * self.sides[0] ** 2, *settings.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(settings.dropout)]
        self.networks = nn.ModuleList([nn.Sequential(*layers, nn.Linear(widths[-1], 1))])
        for side in self.sides[1:]:
            width = settings.width
            self.networks.append(
                nn.Sequential(
                    nn.Conv2d(2 * shape.channels + settings.num_labels, width, 5, padding=2),
                    nn.LeakyReLU(0.2, inplace=True),
                    nn.Conv2d(width, width, 5, stride=2, padding=2),
                    nn.LeakyReLU(0.2, inplace=True),
                    nn.Flatten(),
                    nn.Dropout(settings.dropout),
                    nn.Linear(width * (-(-side // 2)) ** 2, 1),
                )
            )

    def forward(
        self, context: Tensor, images: list[Tensor], with_features: bool = False, labels: Tensor | None = None,
        truth: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:  # fmt: skip
        """Logits `(B, num_scales)`; with_features: and the features before the last layer of every scale, `(B, F)`.

        images: at every scale, `(B, 1, C, h, w)` in [0, 1]; truth `(B, 1, C, H, W)`: what the coarser images that
        they were built on are scales of (none: the images themselves are).
        """
        known = images if truth is None else build_pyramid(truth, self.num_scales)
        judged, features = [], []
        for level, (network, shown) in enumerate(zip(self.networks, images, strict=True)):
            seen = shown[:, 0] * 2 - 1
            if level:
                coarse = upsample(known[level - 1][:, 0] * 2 - 1)
                seen = torch.cat([coarse, seen - coarse], 1)
            hidden = label_planes(labels, self.num_labels, as_channels_last(seen))
            for layer in network[:-1]:  # type: ignore[index]
                hidden = layer(hidden)
            features.append(hidden)
            judged.append(network[-1](hidden).float().squeeze(1))  # type: ignore[index]
        logits = torch.stack(judged, 1)
        return (logits, features) if with_features else logits
