"""Networks of the first GANs (Goodfellow et al. 2014): a fully connected generator, a maxout discriminator."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from vidpred.bounds import MOST_LAYERS, MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.models.base import Discriminator, NoiseName, Shape
from vidpred.models.images import (
    ImageDiscriminatorSettings,
    ImageGenerator,
    ImageSettings,
    MinibatchDiscrimination,
    apply_per_group,
    image_shape,
    label_planes,
)

SLOPE = 0.2


class MlpSettings(ImageSettings):
    """Settings of the fully connected generator: noise, hidden layers with ReLU, sigmoid."""

    name: Literal["mlp"] = Field("mlp", description="Fully connected generator of small images and of points.")
    hidden: list[int] = Field(
        [1200, 1200], min_length=1, description="Widths of the hidden layers (the paper: 1200 and 1200)."
    )
    noise: NoiseName = Field(
        "uniform",
        description="Distribution of every noise value: gaussian (standard normal), uniform in (-1, 1), "
        "or binary (1 or -1 with equal chances).",
    )

    def build(self, data: DataSettings) -> MlpGenerator:
        return MlpGenerator(self, image_shape(data))


class MlpDiscriminatorSettings(ImageDiscriminatorSettings):
    """Settings of the fully connected discriminator: maxout layers (Goodfellow et al. 2013), one logit."""

    name: Literal["mlp"] = Field("mlp", description="Fully connected discriminator of small images and of points.")
    hidden: list[int] = Field([240, 240], min_length=1, description="Widths of the hidden layers.")
    pieces: int = Field(
        5,
        ge=1,
        le=MOST_LAYERS,
        description="Number of linear maps of which each maxout unit takes the largest. 1: one map and LeakyReLU.",
    )
    dropout: float = Field(0.5, ge=0, lt=1, description="Share of the hidden units that is dropped in training.")
    minibatch_kernels: int = Field(
        0,
        ge=0,
        le=MOST_WIDTH,
        description="Kernels of minibatch discrimination, which counters mode collapse "
        "(Salimans et al. 2016). 0: none; 100 in the paper.",
    )

    def build(self, num_scales: int, data: DataSettings) -> MlpDiscriminator:
        return MlpDiscriminator(self, image_shape(data))


class MlpGenerator(ImageGenerator):
    """Generator: fully connected layers from z to all pixels."""

    def __init__(self, settings: MlpSettings, shape: Shape) -> None:
        super().__init__(settings, shape)
        widths = [self.latent_size, *settings.hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], shape.values))

    def generate(self, latent: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(latent).float()).view(-1, 1, *self.shape)


class Maxout(nn.Module):
    """Layer whose units are the maximum of `pieces` linear maps: max over k of x W_k + b_k."""

    def __init__(self, features: int, width: int, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces
        self.maps = nn.Linear(features, width * pieces)

    def forward(self, features: Tensor) -> Tensor:
        """Map `(B, features)` to the maxima over each unit's linear maps, `(B, width)`."""
        maps: Tensor = self.maps(features)
        return torch.unflatten(maps, 1, (-1, self.pieces)).amax(2)


class MlpDiscriminator(Discriminator):
    """Discriminator: fully connected maxout layers over all pixels."""

    split_batch_stats = True

    def __init__(self, settings: MlpDiscriminatorSettings, shape: Shape) -> None:
        super().__init__()
        self.num_labels = settings.num_labels
        widths = [shape.values + settings.num_labels * shape.height * shape.width, *settings.hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            hidden = (
                Maxout(before, after, settings.pieces)
                if settings.pieces > 1
                else nn.Sequential(nn.Linear(before, after), nn.LeakyReLU(SLOPE, inplace=True))
            )
            layers += [hidden, nn.Dropout(settings.dropout)]
        self.layers = nn.Sequential(*layers)
        kernels = settings.minibatch_kernels
        self.compares_samples = kernels > 0
        self.minibatch = MinibatchDiscrimination(widths[-1], kernels) if kernels else None
        self.last = nn.Linear(widths[-1] + kernels, 1)

    def forward(
        self, context: Tensor, images: list[Tensor], with_features: bool = False, labels: Tensor | None = None,
        num_groups: int = 1,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:  # fmt: skip
        """Score a list of one, `(B, 1, C, H, W)` in [0, 1]; for the other arguments see `Discriminator`.

        Returns:
            Logits `(B, 1)`, alone or in a tuple with the features.
        """
        hidden = self.layers(label_planes(labels, self.num_labels, images[-1][:, 0] * 2 - 1).flatten(1))
        inputs = hidden if self.minibatch is None else apply_per_group(self.minibatch, hidden, num_groups)
        logits = self.last(inputs).float()
        return (logits, [hidden]) if with_features else logits
