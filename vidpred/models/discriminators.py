"""Conditional multi-scale discriminators: one per scale, each scoring (context, frames)."""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Discriminator
from vidpred.models.multiscale import as_channels_last, choose_scales
from vidpred.models.pyramid import build_pyramid
from vidpred.models.settings import DiscriminatorSettings
from vidpred.models.spectral_norm import add_spectral_norm

# Convolution feature maps and fully connected widths per scale, coarse to fine, of the paper and of its release.
CONVOLUTION_MAPS: dict[str, list[list[int]]] = {
    "paper": [[64], [64, 128, 128], [128, 256, 256], [128, 256, 512, 128]],
    "release": [[32], [32, 32, 64], [32, 32, 64], [32, 32, 64, 128]],
    "strided": [[48, 96], [48, 96], [48, 96, 128], [48, 96, 128]],
}
CONNECTED_WIDTHS: dict[str, list[list[int]]] = {
    "paper": [[512, 256], [1024, 512], [1024, 512], [1024, 512]],
    "release": [[256, 128], [256, 128], [256, 128], [256, 128]],
    "strided": [[128], [128], [128], [128]],
}
KERNEL_SIZES: list[list[int]] = [[3], [3, 3, 3], [5, 5, 5], [7, 7, 5, 5]]
STRIDED_KERNEL = 4


class MultiscaleDiscriminatorSettings(DiscriminatorSettings):
    """Settings of the multi-scale discriminators."""

    name: Literal["multiscale"] = Field(
        "multiscale", description="Discriminator of context and predicted frames at every scale (Mathieu et al. 2016)."
    )
    size: Literal["paper", "release", "strided"] = Field(
        "release",
        description="Layers: the valid convolutions of the paper or of the authors' release (Mathieu et al.), or 4x4 "
        "convolutions of stride 2 with LeakyReLU, which train more steadily with a gradient penalty.",
    )
    spectral_norm: bool = Field(False, description="Divide every layer's weight by its largest singular value.")

    def build(self, num_scales: int, data: DataSettings) -> MultiscaleDiscriminator:
        assert data.crop_size is not None  # the config refuses an adversary on whole frames
        return MultiscaleDiscriminator(
            self, num_scales, data.crop_size, data.context_frames, data.future_frames, data.channels
        )


class ScaleDiscriminator(nn.Module):
    """Discriminator of one scale: convolutions, fully connected layers, one logit."""

    def __init__(self, size: str, row: tuple[list[int], list[int], list[int]], channels: int, side: int, pool: bool):
        super().__init__()
        maps, connected, kernels = row
        strided = size == "strided"
        layers: list[nn.Module] = []
        for width, kernel in zip(maps, kernels, strict=True):
            if strided and side < 4:
                break  # too small to halve
            layers += [
                nn.Conv2d(channels, width, kernel, stride=2, padding=1)
                if strided
                else nn.Conv2d(channels, width, kernel)
            ]
            layers += [nn.LeakyReLU(0.2, inplace=True) if strided else nn.ReLU(inplace=True)]
            side, channels = (side // 2 if strided else side - kernel + 1), width
        if pool:
            layers.append(nn.MaxPool2d(2))
            side //= 2
        if side < 1:
            raise ConfigError(
                "[data.crop_size] the crops are too small for this discriminator; use a larger size, "
                "or fewer model.scales, or discriminator.size=strided"
            )
        features = channels * side * side
        layers.append(nn.Flatten())
        for width in connected:
            layers += [
                nn.Linear(features, width),
                nn.LeakyReLU(0.2, inplace=True) if strided else nn.ReLU(inplace=True),
            ]
            features = width
        layers.append(nn.Linear(features, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `(B,)` and the last hidden features `(B, F)`."""
        *hidden, last = self.layers
        features = as_channels_last(images)
        for layer in hidden:
            features = layer(features)
        return last(features).float().squeeze(1), features


class MultiscaleDiscriminator(Discriminator):
    """Discriminators D_k(X_k, Y_k) of every scale k: are these frames the true continuation of this context?"""

    def __init__(
        self,
        settings: MultiscaleDiscriminatorSettings,
        scales: int,
        crop_size: int,
        context_frames: int,
        pred_frames: int = 1,
        channels: int = 3,
    ) -> None:
        """Build one network per scale.

        Raises:
            ConfigError: The coarsest scale is too small for its convolutions.
        """
        super().__init__()
        if crop_size % 2 ** (scales - 1):
            raise ConfigError(
                f"data.crop_size: {crop_size} is no multiple of {2 ** (scales - 1)}, which {scales} scales need"
            )
        maps, connected = CONVOLUTION_MAPS[settings.size], CONNECTED_WIDTHS[settings.size]
        strided = settings.size == "strided"
        kernels = [[STRIDED_KERNEL] * len(row) for row in maps] if strided else KERNEL_SIZES
        rows = [choose_scales(table, scales) for table in (maps, connected, kernels)]
        inputs = (context_frames + pred_frames) * channels
        self.num_scales = scales
        self.networks = nn.ModuleList(
            # Only the finest scale of the paper's network ends in a 2x2 max-pooling.
            ScaleDiscriminator(
                settings.size, row, inputs, crop_size >> (scales - 1 - index), index == scales - 1 and not strided
            )
            for index, row in enumerate(zip(*rows, strict=True))
        )
        if settings.spectral_norm:
            add_spectral_norm(self)

    def forward(
        self, context: Tensor, images: list[Tensor], with_features: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Score frames as the continuation of their context.

        Args:
            context: `(B, T, C, H, W)` in [0, 1].
            images: The frames at every scale, coarse to fine, `(B, K, C, h, w)` in [0, 1].
            with_features: Add each scale's last hidden features, a list of `(B, F)`.

        Returns:
            Logits `(B, num_scales)`, alone or in a tuple with the features.
        """
        scores = []
        for network, past, frames in zip(self.networks, build_pyramid(context, self.num_scales), images, strict=True):
            pair = torch.cat([past, frames], 1) * 2 - 1
            scores.append(network(rearrange(pair, "b t c h w -> b (t c) h w")))
        logits = torch.stack([logit for logit, _ in scores], 1)
        return (logits, [features for _, features in scores]) if with_features else logits
