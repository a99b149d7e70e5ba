"""Convolutional discriminator of patches, whose inputs are made for the small errors of predicted frames."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as functional
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.base import Discriminator
from vidpred.models.multiscale import as_channels_last
from vidpred.models.pyramid import build_pyramid
from vidpred.models.settings import DiscriminatorSettings
from vidpred.models.spectral_norm import add_spectral_norm

SLOPE = 0.2  # of the leaky rectifiers
LAST_STD = 0.01  # of the last layer's initial weights: the first logits are near 0
BINOMIAL = (0.25, 0.5, 0.25)


class PatchDiscriminatorSettings(DiscriminatorSettings):
    """Settings of the patch discriminator."""

    name: Literal["patch"] = Field(
        "patch",
        description="Convolutional discriminator with one logit per patch. Additional inputs: each future frame minus "
        "its blur (detail_gain) and the differences of consecutive frames (motion_gain).",
    )
    widths: list[int] = Field(
        [32, 64, 128],
        min_length=1,
        description="Feature maps of the 4x4 convolutions of stride 2, one per entry; each one doubles "
        "the size of the patch that a logit scores.",
    )
    scales: int = Field(
        1, ge=1, le=8, description="Number of image sizes that are scored, from the finest on, each half the previous."
    )
    detail_gain: float = Field(
        10.0, ge=0, description="Factor of an additional input: each future frame minus its 3x3 blur. 0: no such input."
    )
    motion_gain: float = Field(
        5.0,
        ge=0,
        description="Factor of additional inputs: the differences between consecutive frames. 0: no such inputs.",
    )
    spectral_norm: bool = Field(False, description="Divide every layer's weight by its largest singular value.")

    def build(self, num_scales: int, data: DataSettings) -> PatchDiscriminator:
        return PatchDiscriminator(self, num_scales, data.context_frames, data.future_frames, data.channels)


class PatchDiscriminator(Discriminator):
    """Discriminator of patches at the finest scales, with one logit per place (Isola et al. 2017, section 3.2.2).

    Predicted and true frames differ by a few hundredths, which a network on raw frames hardly notices. Its inputs are
    the frames in [-1, 1], their details (the frame minus its 3x3 binomial blur) and the differences between consecutive
    frames from the first context frame on, both scaled up. With several future frames, as with `data.unroll`, it scores
    all of them together.
    """

    def __init__(
        self,
        settings: PatchDiscriminatorSettings,
        num_scales: int,
        context_frames: int,
        pred_frames: int,
        channels: int,
    ) -> None:
        super().__init__()
        self.num_scales, self.settings = num_scales, settings
        self.scored = min(settings.scales, num_scales)
        differences = (context_frames + pred_frames - 1) if settings.motion_gain else 0
        inputs = channels * (pred_frames * (2 if settings.detail_gain else 1) + differences)
        self.networks = nn.ModuleList(patch_layers([inputs, *settings.widths]) for _ in range(self.scored))
        if settings.spectral_norm:
            add_spectral_norm(self)

    def forward(
        self, context: Tensor, images: list[Tensor], with_features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Score frames as the continuation of their context.

        Args:
            context: `(B, T, C, H, W)` in [0, 1].
            images: The frames at every scale, coarse to fine, `(B, K, C, h, w)` in [0, 1]; only the finest are scored.
            with_features: Add the mean of each scale's last hidden features over places, a list of `(B, F)`.

        Returns:
            Logits `(B, scales, places)`, alone or in a tuple with the features. Coarser scales have fewer places and
            repeat them.
        """
        logits, features = [], []
        pyramid = build_pyramid(context, self.num_scales)[-self.scored :]
        for network, past, frames in zip(self.networks, pyramid, images[-self.scored :], strict=True):
            *hidden, last = network.children()
            values = as_channels_last(self.inputs(past * 2 - 1, frames * 2 - 1))
            for layer in hidden:
                values = layer(values)
            logits.append(last(values).float())
            features.append(values.mean((2, 3)))
        size = logits[-1].shape[2:]
        stacked = torch.cat([functional.interpolate(logit, size) for logit in logits], 1).flatten(2)
        return (stacked, features) if with_features else stacked

    def inputs(self, context: Tensor, frames: Tensor) -> Tensor:
        """Return the network's inputs, `(B, n, H, W)`.

        Args:
            context: `(B, T, C, H, W)` in [-1, 1].
            frames: `(B, K, C, H, W)` in [-1, 1].
        """
        parts = [frames]
        if self.settings.detail_gain:
            parts.append(self.settings.detail_gain * details(frames))
        if self.settings.motion_gain:
            parts.append(self.settings.motion_gain * torch.cat([context, frames], 1).diff(dim=1))
        return rearrange(torch.cat(parts, 1), "b k c h w -> b (k c) h w")


def details(frames: Tensor) -> Tensor:
    """Return frames `(B, K, C, H, W)` minus their 3x3 binomial blur, with replicated borders."""
    images = frames.flatten(0, 1)
    row = images.new_tensor(BINOMIAL)
    kernel = (row[:, None] * row).expand(images.shape[1], 1, 3, 3)
    blurred = functional.conv2d(functional.pad(images, (1, 1, 1, 1), "replicate"), kernel, groups=images.shape[1])
    return (images - blurred).view_as(frames)


def patch_layers(widths: list[int]) -> nn.Sequential:
    """Return convolutions of stride 2, one of stride 1, and one to the logits, initialized as by He et al. 2015."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
    layers += [nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
    layers.append(nn.Conv2d(widths[-1], 1, 3, padding=1))
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, SLOPE)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    nn.init.normal_(layers[-1].weight, std=LAST_STD)  # type: ignore[arg-type]
    return nn.Sequential(*layers)
