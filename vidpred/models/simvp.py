"""SimVP: convolutions from frames to frames, without recurrence; and the gated translator of its second version.

Gao, Tan, Wu & Li 2022, "SimVP: simpler yet better video prediction"; Tan, Gao, Li & Li 2022, "SimVP: towards simple yet
powerful spatiotemporal predictive learning" (gSTA).
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal, Self

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.bounds import MOST_WIDTH
from vidpred.data.settings import DataSettings
from vidpred.models.base import Generator
from vidpred.models.multiscale import as_channels_last
from vidpred.models.pyramid import clamp_straight_through, crop, pad_to_multiple
from vidpred.models.settings import ModelSettings

INCEPTION_KERNELS = (3, 5, 7, 11)
GROUPS = 8  # of the inception convolutions, where they divide its channels
LAYER_SCALE = 0.01  # initial factor of what a gated block adds


class SimVPSettings(ModelSettings):
    """Settings of SimVP."""

    not_taken: ClassVar[tuple[str, ...]] = ("noise_channels", "noise", "action_size", "state_size")

    name: Literal["simvp"] = Field("simvp", description="SimVP (Gao et al. 2022): convolutions, no recurrence.")
    translator: Literal["inception", "gsta"] = Field(
        "inception",
        description="Network between encoder and decoder: the first paper's U-Net of inception blocks, or the second's "
        "gated spatiotemporal attention.",
    )
    spatial_width: int = Field(
        64, ge=2, le=MOST_WIDTH, description="Channels of the encoder and the decoder, per frame; even."
    )
    spatial_layers: int = Field(
        4, ge=1, le=12, description="Layers of the encoder and of the decoder; every second one halves the resolution."
    )
    translator_width: int = Field(
        512,
        ge=2,
        le=MOST_WIDTH,
        description="Channels of the translator, the network between encoder and decoder, which takes the encoder's "
        "features of all context frames, stacked along the channels.",
    )
    translator_layers: int = Field(
        8,
        ge=2,
        le=64,
        description="Number of blocks of the translator; for inception, of each half of its U-Net "
        "(encoder and decoder).",
    )
    mlp_ratio: float = Field(
        8.0,
        gt=0,
        le=64,
        description="Hidden channels of a block's feed-forward part relative to its input; only for translator=gsta.",
    )

    @model_validator(mode="after")
    def _even_width(self) -> Self:
        if self.spatial_width % 2:
            raise ValueError(f"spatial_width: it must be even, not {self.spatial_width}")
        return self

    def build(self, data: DataSettings) -> SimVP:
        return SimVP(self, data)


class ConvLayer(nn.Module):
    """3x3 convolution, group normalization, SiLU; at half, equal or twice the resolution."""

    def __init__(self, before: int, after: int, factor: float = 1.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(before, after * (4 if factor > 1 else 1), 3, stride=2 if factor < 1 else 1, padding=1),
            nn.PixelShuffle(2) if factor > 1 else nn.Identity(),
            nn.GroupNorm(2, after),
            nn.SiLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.layers(images)
        return result


class InceptionBlock(nn.Module):
    """1x1 convolution, then the sum of grouped convolutions of several kernel sizes."""

    def __init__(self, before: int, inner: int, after: int) -> None:
        super().__init__()
        groups = GROUPS if inner % GROUPS == 0 and after % GROUPS == 0 else 1
        self.first = nn.Conv2d(before, inner, 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inner, after, kernel, padding=kernel // 2, groups=groups),
                nn.GroupNorm(groups, after),
                nn.LeakyReLU(0.2),
            )
            for kernel in INCEPTION_KERNELS
        )

    def forward(self, features: Tensor) -> Tensor:
        inner = self.first(features)
        return torch.stack([branch(inner) for branch in self.branches]).sum(0)


class InceptionTranslator(nn.Module):
    """U-Net of inception blocks at one resolution: each block of the second half also takes one of the first."""

    def __init__(self, before: int, width: int, after: int, layers: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            InceptionBlock(width if number else before, width // 2, width) for number in range(layers)
        )
        self.up = nn.ModuleList(
            InceptionBlock(2 * width if number else width, width // 2, width if number < layers - 1 else after)
            for number in range(layers)
        )

    def forward(self, features: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            features = block(features)
            skips.append(features)
        features = self.up[0](skips.pop())
        for block in self.up[1:]:
            features = block(torch.cat([features, skips.pop()], 1))
        return features


class GatedAttention(nn.Module):
    """Large-kernel attention with a gate (gSTA, equation 6): a 21x21 field of depthwise 5x5 and dilated 7x7 kernels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.field = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width),
            nn.Conv2d(width, width, 7, padding=9, dilation=3, groups=width),
            nn.Conv2d(width, 2 * width, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        value, gate = self.field(nn.functional.gelu(self.first(features))).chunk(2, 1)
        result: Tensor = self.last(gate.sigmoid() * value)
        return result + features


class GatedBlock(nn.Module):
    """Gated attention and a convolutional feed-forward network, each added after a factor per channel."""

    def __init__(self, before: int, after: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(before * mlp_ratio)
        self.attention = nn.Sequential(nn.BatchNorm2d(before), GatedAttention(before))
        self.mlp = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, hidden, 1),
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
            nn.GELU(),
            nn.Conv2d(hidden, before, 1),
        )
        self.scales = nn.Parameter(torch.full((2, before, 1, 1), LAYER_SCALE))
        self.resize = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        features = features + self.scales[0] * self.attention(features)
        features = features + self.scales[1] * self.mlp(features)
        result: Tensor = self.resize(features)
        return result


class SimVP(Generator):
    """Encoder of every frame, translator of all frames together, decoder of every future frame.

    The decoder also takes the encoder's first features. In the paper, which has as many future as context frames, those
    of future frame k come from context frame k. Fewer future frames use the newest context frames, and more repeat the
    last one.
    """

    def __init__(self, settings: SimVPSettings, data: DataSettings) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead = data.context_frames, data.pred_frames, data.lead
        self.channels = data.channels
        width, depth = settings.spatial_width, settings.spatial_layers
        halves = [number % 2 == 1 for number in range(depth)]  # of the encoder's layers; the decoder mirrors them
        self.multiple = 2 ** sum(halves)
        self.encoder = nn.ModuleList(
            ConvLayer(width if number else data.channels, width, 0.5 if half else 1.0)
            for number, half in enumerate(halves)
        )
        self.decoder = nn.ModuleList(ConvLayer(width, width, 2.0 if half else 1.0) for half in reversed(halves))
        self.readout = nn.Conv2d(width, data.channels, 1)
        before, after = data.context_frames * width, data.pred_frames * width
        inner, layers = settings.translator_width, settings.translator_layers
        self.translator: nn.Module
        if settings.translator == "inception":
            self.translator = InceptionTranslator(before, inner, after, layers)
        else:
            widths = [before, *[inner] * (layers - 1), after]
            self.translator = nn.Sequential(*(GatedBlock(a, b, settings.mlp_ratio) for a, b in pairwise(widths)))

    @property
    def last_weight(self) -> Tensor:
        """The weight of the last convolution, see `Generator.last_weight`."""
        return self.readout.weight

    def forward(self, context: Tensor) -> list[Tensor]:
        """Predict from `(B, T, C, H, W)` in [0, 1].

        Returns:
            A list of one, `(B, K, C, H, W)` in [0, 1].
        """
        height, width = context.shape[-2:]
        level = as_channels_last(rearrange(pad_to_multiple(context, self.multiple), "b t c h w -> (b t) c h w"))
        level = first = self.encoder[0](level)
        for layer in self.encoder[1:]:
            level = layer(level)
        joined = self.translator(rearrange(level, "(b t) c h w -> b (t c) h w", b=context.shape[0]))
        level = rearrange(joined, "b (k c) h w -> (b k) c h w", k=self.pred_frames)
        for layer in self.decoder[:-1]:
            level = layer(level)
        skips = torch.unflatten(first, 0, (context.shape[0], -1))[:, self.skips()].flatten(0, 1)
        images = self.readout(self.decoder[-1](level + skips)).float()
        return [clamp_straight_through(torch.unflatten(crop(images, height, width), 0, (context.shape[0], -1)))]

    def skips(self) -> list[int]:
        """Return, for each future frame, the index of the context frame whose first features the decoder takes."""
        missing = max(0, self.context_frames - self.pred_frames)
        return [min(number + missing, self.context_frames - 1) for number in range(self.pred_frames)]
