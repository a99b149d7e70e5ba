"""LAPGAN (Denton et al. 2015, "Deep generative image models using a Laplacian pyramid of adversarial networks")."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vidpred.bounds import MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Discriminator, NoiseName, Shape
from vidpred.models.images import (
    ImageDiscriminatorSettings,
    ImageGenerator,
    ImageSettings,
    as_frames,
    image_shape,
    initialize,
    label_planes,
)
from vidpred.models.multiscale import as_channels_last, convolutions
from vidpred.models.pyramid import build_pyramid, upsample

KERNELS = [7, 7, 5]


class LapganSettings(ImageSettings):
    """Settings of the LAPGAN generators, one per scale, each of twice the previous size."""

    name: Literal["lapgan"] = Field(
        "lapgan", description="Laplacian-pyramid generator of images, coarse to fine (Denton et al. 2015)."
    )
    scales: int = Field(
        3, ge=2, le=6, description="Number of image sizes in the pyramid, each half the next finer one."
    )
    hidden: list[int] = Field(
        [1200, 1200], min_length=1, description="Widths of the coarsest generator's fully connected layers."
    )
    width: int = Field(
        64, ge=1, le=MOST_WIDTH, description="Feature maps of the convolutional generators of the finer scales."
    )
    noise_channels: int = Field(
        1380,
        ge=1,
        le=100_000,
        description="Total number of noise values of an image: each finer scale takes one per pixel, the coarsest "
        "takes the rest, at least 1 (for 32x32 pixels and 3 scales, 1380 = 100 + 16² + 32²).",
    )
    noise: NoiseName = Field(
        "uniform",
        description="Distribution of every noise value: gaussian (standard normal), uniform in (-1, 1), "
        "or binary (1 or -1 with equal chances).",
    )

    @property
    def num_scales(self) -> int:
        return self.scales

    def build(self, data: DataSettings) -> LapganGenerator:
        return LapganGenerator(self, image_shape(data))


class LapganDiscriminatorSettings(ImageDiscriminatorSettings):
    """Settings of the LAPGAN discriminators, one per scale."""

    name: Literal["lapgan"] = Field("lapgan", description="Discriminator of each level of a Laplacian pyramid.")
    hidden: list[int] = Field(
        [600, 600], min_length=1, description="Widths of the coarsest discriminator's fully connected layers."
    )
    width: int = Field(
        64, ge=1, le=MOST_WIDTH, description="Feature maps of the convolutional discriminators of the finer scales."
    )
    dropout: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of the discriminators' features that is dropped in training: after every hidden layer at "
        "the coarsest scale, before the last layer at the finer ones.",
    )

    def build(self, num_scales: int, data: DataSettings) -> LapganDiscriminator:
        return LapganDiscriminator(self, num_scales, image_shape(data))


def pyramid_sides(shape: Shape, scales: int) -> list[int]:
    """Return the sides of the pyramid's `scales` square images, coarse to fine, each half the next.

    Raises:
        ConfigError: The image cannot be halved that often.
    """
    if shape.height % 2 ** (scales - 1):
        raise ConfigError(
            f"[data.crop_size={shape.height}] is no multiple of {2 ** (scales - 1)}, which {scales} scales need"
        )
    return [shape.height >> level for level in reversed(range(scales))]


class LapganGenerator(ImageGenerator):
    """Generator I_0 = G_0(z_0), I_k = up(I_k-1) + G_k(z_k, up(I_k-1)): every G_k adds the details of one scale.

    In training, each scale learns separately: it starts from the true coarser image (`target`), not from generated
    ones.
    """

    takes_target = True

    def __init__(self, settings: LapganSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        self.num_scales, self.sides = settings.scales, pyramid_sides(shape, settings.scales)
        planes = [side**2 for side in self.sides[1:]]
        first = settings.noise_channels - sum(planes)
        if first < 1:
            raise ConfigError(
                f"[model.noise_channels={settings.noise_channels}] the finer of {settings.scales} scales up to "
                f"{shape.height} pixels take one noise value per pixel, {sum(planes)} in all; set {sum(planes) + 100}"
            )
        self.split = [first, *planes]
        widths = [first + settings.num_labels, *settings.hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.coarsest = nn.Sequential(*layers, nn.Linear(widths[-1], shape.channels * self.sides[0] ** 2))
        channels = [shape.channels + 1 + settings.num_labels, settings.width, settings.width, shape.channels]
        self.finer = nn.ModuleList(convolutions(channels, KERNELS, "same") for _ in planes)
        initialize(self.finer)

    def forward(
        self, context: Tensor, noise: Tensor | None = None, labels: Tensor | None = None, target: Tensor | None = None
    ) -> list[Tensor]:
        """Generate images from noise.

        Args:
            context: `(B, 0, C, H, W)`.
            noise: `(B, noise_channels)`; None: drawn from torch's random stream.
            labels: Class numbers `(B,)` from 0 to num_labels - 1; with num_labels=0, unused and may be None.
            target: `(B, 1, C, H, W)`, images from whose coarser scales the finer networks start; None: the generated
                scales.

        Returns:
            `(B, 1, C, h, w)` at every scale, coarse to fine, in [0, 1].
        """
        latent = self.latent(context, noise, labels)
        drawn = latent[:, : self.noise_channels].split(self.split, 1)
        first = torch.cat([drawn[0], latent[:, self.noise_channels :]], 1)
        side = self.sides[0]
        image = torch.tanh(self.coarsest(first).float()).view(-1, self.channels, side, side)
        true_scales = None if target is None else build_pyramid(target * 2 - 1, len(self.sides))
        images = [as_frames(image)]
        for level, network in enumerate(self.finer):
            coarse = upsample(image if true_scales is None else true_scales[level][:, 0])
            side = self.sides[level + 1]
            inputs = torch.cat([coarse, drawn[level + 1].reshape(-1, 1, side, side).to(coarse)], 1)
            inputs = label_planes(labels, self.num_labels, inputs)
            image = coarse + network(as_channels_last(inputs)).float()
            images.append(as_frames(image))
        return images


class LapganDiscriminator(Discriminator):
    """Discriminators: D_0 scores the coarsest image, D_k the details added to up(I_k-1) together with that image."""

    takes_target = True

    def __init__(self, settings: LapganDiscriminatorSettings, num_scales: int, shape: Shape) -> None:
        super().__init__()
        self.num_labels, self.num_scales = settings.num_labels, num_scales
        self.sides = pyramid_sides(shape, num_scales)
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
        target: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:  # fmt: skip
        """Score images at every scale.

        Args:
            context: Unused.
            images: `(B, 1, C, h, w)` in [0, 1] at every scale.
            with_features: Add the features before every scale's last layer, a list of `(B, F)`.
            labels: Class numbers `(B,)` from 0 to num_labels - 1; with num_labels=0, unused and may be None.
            target: `(B, 1, C, H, W)`, images on whose coarser scales `images` were built; None: `images` themselves.

        Returns:
            Logits `(B, num_scales)`, alone or in a tuple with the features.
        """
        bases = images if target is None else build_pyramid(target, self.num_scales)
        scores, features = [], []
        for level, (network, frames) in enumerate(zip(self.networks, images, strict=True)):
            inputs = frames[:, 0] * 2 - 1
            if level:
                coarse = upsample(bases[level - 1][:, 0] * 2 - 1)
                inputs = torch.cat([coarse, inputs - coarse], 1)
            hidden = label_planes(labels, self.num_labels, as_channels_last(inputs))
            for layer in network[:-1]:  # type: ignore[index]
                hidden = layer(hidden)
            features.append(hidden)
            scores.append(network[-1](hidden).float().squeeze(1))  # type: ignore[index]
        logits = torch.stack(scores, 1)
        return (logits, features) if with_features else logits
