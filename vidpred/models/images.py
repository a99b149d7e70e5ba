"""Shared parts of the image models: generators of images from noise, discriminators of single images.

An image generator is a frame predictor without context frames: it maps the context `(B, 0, C, H, W)` and noise to one
frame, `(B, 1, C, H, W)` at every scale, coarse to fine, in [0, 1].
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as functional
from pydantic import Field
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.data.worlds.points import POINTS
from vidpred.errors import ConfigError
from vidpred.models.base import Generator, NoiseName, Shape
from vidpred.models.conditions import check_labels
from vidpred.models.noise import draw_noise
from vidpred.models.settings import DiscriminatorSettings, ModelSettings

COARSEST = 4  # smallest side of feature maps that are doubled to an image
VARIANCE_FLOOR = 1e-5  # added to variances, as in torch's batch norm


def image_shape(data: DataSettings) -> Shape:
    """Return the shape of a run's training images.

    Raises:
        ConfigError: The settings do not determine it.
    """
    if data.root is None and data.world_settings.name in POINTS:
        return Shape(1, 2, 1)
    if data.crop_size is None:
        raise ConfigError("[data.crop_size] an image model makes images of one size; set it to their side in pixels")
    return Shape(data.channels, data.crop_size, data.crop_size)


def halved_sides(side: int) -> list[int]:
    """Return an image's side and its successive halves down to 4, 5, 6 or 7 pixels.

    Raises:
        ConfigError: Halving does not lead there.
    """
    sides = [side]
    while sides[-1] >= 2 * COARSEST and sides[-1] % 2 == 0:
        sides.append(sides[-1] // 2)
    if not COARSEST <= sides[-1] < 2 * COARSEST:
        raise ConfigError(
            f"[data.crop_size={side}] the model doubles 4, 5, 6 or 7 pixels several times; use 28, 32, 48, 64 or 96"
        )
    return sides


class ImageSettings(ModelSettings):
    """Base class of the image generators' settings."""

    needs_frames: ClassVar[bool] = False
    takes_labels: ClassVar[bool] = True
    not_taken: ClassVar[tuple[str, ...]] = ("action_size", "state_size")

    noise_channels: int = Field(
        100, ge=1, le=100_000, description="Length of the noise vector z that an image is generated from."
    )
    noise: NoiseName = Field(
        "gaussian",
        description="Distribution of every noise value: gaussian (standard normal), uniform in (-1, 1), "
        "or binary (1 or -1 with equal chances).",
    )


class ImageDiscriminatorSettings(DiscriminatorSettings):
    """Base class of the settings of discriminators of single images."""

    needs_frames: ClassVar[bool] = False
    takes_labels: ClassVar[bool] = True


class ImageGenerator(Generator):
    """Base class of the image generators; `shape` is the shape of their images."""

    def __init__(self, settings: ModelSettings, shape: Shape) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = 0, 1, 1, shape.channels
        self.noise_channels, self.noise, self.num_labels = settings.noise_channels, settings.noise, settings.num_labels
        self.shape = shape

    @property
    def latent_size(self) -> int:
        """Width of the output of `latent`."""
        return self.noise_channels + self.num_labels

    def latent(self, context: Tensor, noise: Tensor | None, labels: Tensor | None) -> Tensor:
        """Return z followed by the one-hot class, `(B, latent_size)`; without noise, z is drawn from torch.

        Raises:
            ValueError: Noise or labels have another shape than the model takes.
        """
        if noise is None:
            noise = draw_noise(self, len(context))
        if tuple(noise.shape) != (context.shape[0], self.noise_channels):
            raise ValueError(
                f"the generator takes noise {(context.shape[0], self.noise_channels)}, not {tuple(noise.shape)}"
            )
        noise = noise.to(context)
        if not self.num_labels:
            return noise
        check_labels(labels, 0 if context.is_meta else self.num_labels)
        assert labels is not None or context.is_meta
        chosen = torch.zeros(context.shape[0], dtype=torch.int64) if labels is None else labels
        return torch.cat([noise, functional.one_hot(chosen.to(context.device), self.num_labels).to(noise)], 1)

    def forward(self, context: Tensor, noise: Tensor | None = None, labels: Tensor | None = None) -> list[Tensor]:
        """Generate images from noise.

        Args:
            context: `(B, 0, C, H, W)`.
            noise: `(B, noise_channels)`; None: drawn from torch's random stream.
            labels: Class numbers `(B,)` from 0 to num_labels - 1; with num_labels=0, unused and may be None.

        Returns:
            A list of one, `(B, 1, C, H, W)`, nominally in [0, 1].
        """
        return [self.generate(self.latent(context, noise, labels))]

    def generate(self, latent: Tensor) -> Tensor:
        """Return frames `(B, 1, C, H, W)`, nominally in [0, 1], for the output of `latent`."""
        raise NotImplementedError


def as_frames(images: Tensor) -> Tensor:
    """Convert images `(B, C, H, W)` in [-1, 1] to frames `(B, 1, C, H, W)` in [0, 1]."""
    return (images[:, None].float() + 1) / 2


def label_planes(labels: Tensor | None, classes: int, images: Tensor) -> Tensor:
    """Append a plane per class to images: `(B, C + classes, H, W)`, 1 for the image's class and else 0."""
    if not classes:
        return images
    check_labels(labels, 0 if images.is_meta else classes)
    chosen = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
    planes = functional.one_hot(chosen.to(images.device), classes).to(images)[:, :, None, None]
    return torch.cat([images, planes.expand(-1, -1, *images.shape[-2:])], 1)


def apply_per_group(layer: nn.Module, features: Tensor, num_groups: int) -> Tensor:
    """Apply a layer that mixes samples to each of `num_groups` equal, consecutive groups of a batch separately.

    Returns the results concatenated along the batch. With a batch norm over real and generated images together, an
    image's features would reveal the kind of its neighbors.
    """
    return layer(features) if num_groups == 1 else torch.cat([layer(part) for part in features.chunk(num_groups)])


class MinibatchDiscrimination(nn.Module):
    """Closeness of each sample's features to those of the other samples in its batch.

    o_b(x_i) = sum over j != i of exp(-|M_ib - M_jb|_1), where M = features times a tensor of (features, kernels, size)
    (Salimans et al. 2016, section 3.2). It exposes batches of similar samples.
    """

    def __init__(self, features: int, kernels: int, size: int = 5) -> None:
        super().__init__()
        self.kernels = kernels
        self.projection = nn.Linear(features, kernels * size, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return `(B, F + kernels)` for features `(B, F)`: the features, then their closeness to the other samples."""
        table = self.projection(features).unflatten(1, (self.kernels, -1)).float()  # (B, kernels, size)
        by_kernel = table.transpose(0, 1).contiguous()
        distances = torch.cdist(by_kernel, by_kernel, p=1)  # (kernels, B, B)
        others = 1 - torch.eye(len(features), device=features.device)
        closeness = (torch.exp(-distances) * others).sum(2).T
        return torch.cat([features, closeness.to(features)], 1)


class VirtualBatchNorm(nn.Module):
    """Batch norm with the statistics of a fixed reference batch (Salimans et al. 2016, section 3.5).

    An image's features are normalized by each map's mean and mean square over the reference and the image, weighted as
    one more sample. The result does not depend on the rest of the batch. The reference is normalized by its own
    statistics.
    """

    def __init__(self, channels: int, reference: int) -> None:
        """Create the layer for `channels` maps; the first `reference` samples of a batch are the reference batch."""
        super().__init__()
        self.reference = reference
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Normalize `(reference + B, C, H, W)`, kept in shape, by the statistics of the first `reference` samples."""
        values = features.float()
        means, squares = values.mean((2, 3)), values.square().mean((2, 3))
        share = 1 / (self.reference + 1)

        def mixed(moments: Tensor) -> Tensor:
            fixed = moments[: self.reference].mean(0, keepdim=True)
            own = torch.lerp(fixed, moments[self.reference :], share)
            return torch.cat([fixed.expand(self.reference, -1), own])[:, :, None, None]

        mean, square = mixed(means), mixed(squares)
        normed = (values - mean) * (square - mean.square()).clamp(min=0).add(VARIANCE_FLOOR).rsqrt()
        return (normed * self.weight[:, None, None] + self.bias[:, None, None]).to(features)


def initialize(network: nn.Module, std: float = 0.02) -> None:
    """Initialize a network by the DCGAN guidelines: weights N(0, 0.02), batch norm weights N(1, 0.02), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | VirtualBatchNorm):
            nn.init.normal_(module.weight, 1.0, std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
