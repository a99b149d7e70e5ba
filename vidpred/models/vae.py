"""Variational auto-encoder (Kingma & Welling 2013, "Auto-encoding variational Bayes"), fully connected or
convolutional."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.base import Shape
from vidpred.models.dcgan import DcganDiscriminator, DcganDiscriminatorSettings, DcganGenerator, DcganSettings
from vidpred.models.images import ImageGenerator, ImageSettings, image_shape, label_planes
from vidpred.models.mlp import MlpGenerator, MlpSettings
from vidpred.models.multiscale import as_channels_last


class VaeSettings(ImageSettings):
    """Settings of the variational auto-encoder."""

    has_encoder: ClassVar[bool] = True

    name: Literal["vae"] = Field("vae", description="Kind of generator.")
    noise_channels: int = Field(20, ge=1, le=1024, description="Length of the code z.")
    hidden: list[int] = Field(
        [400],
        min_length=1,
        description="Widths of the encoder's fully connected layers; the decoder has them in reverse.",
    )
    width: int = Field(
        0, ge=0, description="Feature maps of convolutional networks, as DCGAN's. 0: fully connected ones."
    )

    def build(self, data: DataSettings) -> VaeGenerator:
        return VaeGenerator(self, image_shape(data))


class VaeGenerator(ImageGenerator):
    """z from the prior N(0, I) -> image. Shown the truth x, in training, it takes z from q(z | x) = N(m(x), s(x)^2)
    instead and keeps KL(q | prior) in `latent_cost`, for the objective to add."""

    takes_truth = True

    def __init__(self, settings: VaeSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        told = {"noise_channels": settings.noise_channels, "num_labels": settings.num_labels}
        self.encoder: nn.Module
        self.decoder: MlpGenerator | DcganGenerator
        if settings.width:
            self.encoder = DcganDiscriminator(
                DcganDiscriminatorSettings(width=settings.width, classes=2 * settings.noise_channels,
                                   num_labels=settings.num_labels), shape)  # fmt: skip
            self.decoder = DcganGenerator(DcganSettings(width=settings.width, **told), shape)
        else:
            widths = [shape.values + settings.num_labels * shape.height * shape.width, *settings.hidden]
            layers: list[nn.Module] = [nn.Flatten()]
            for before, after in pairwise(widths):
                layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
            self.encoder = nn.Sequential(*layers, nn.Linear(widths[-1], 2 * settings.noise_channels))
            self.decoder = MlpGenerator(MlpSettings(hidden=settings.hidden[::-1], **told), shape)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`(B, C, H, W)` in [0, 1] -> mean and log variance of the code, `(B, noise_channels)` each."""
        if isinstance(self.encoder, DcganDiscriminator):
            empty = images[:, None][:, :0]
            _, both = self.encoder(empty, [images[:, None]], labels=labels, with_classes=True)
        else:
            both = self.encoder(label_planes(labels, self.num_labels, as_channels_last(images * 2 - 1)))
        mean, log_variance = both.float().chunk(2, 1)
        return mean, log_variance

    def forward(
        self, context: Tensor, noise: Tensor | None = None, labels: Tensor | None = None, truth: Tensor | None = None
    ) -> list[Tensor]:
        """Context `(B, 0, C, H, W)`, noise `(B, noise_channels)`, labels `(B,)` -> a list of `(B, 1, C, H, W)`; truth,
        `(B, 1, C, H, W)`: what is to be encoded and painted again, the noise then being that of the code."""
        self.latent_cost = None
        if truth is not None:
            mean, log_variance = self.encode(truth[:, 0], labels)
            noise = torch.randn_like(mean) if noise is None else noise.to(mean)
            noise = mean + noise * (log_variance / 2).exp()
            self.latent_cost = gaussian_divergence(mean, log_variance)
        return list(self.decoder(context, noise=noise, labels=labels))


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) | N(0, 1)) of every sample, summed over the code: `(B, Z)` twice -> `(B,)` (Kingma & Welling
    2013, appendix B)."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
