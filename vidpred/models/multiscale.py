"""Multi-scale generator of Mathieu, Couprie & LeCun 2016 ("Deep multi-scale video prediction beyond MSE")."""

from __future__ import annotations

from typing import Literal, Self

import torch
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.conditioned import ConditionedPredictor
from vidpred.models.pyramid import build_pyramid, clamp_straight_through, crop, upsample
from vidpred.models.settings import ModelSettings

# Hidden feature maps per scale, coarse to fine, of the paper and of the smaller released model.
FEATURE_MAPS: dict[str, list[list[int]]] = {
    "paper": [[128, 256, 128], [128, 256, 128], [128, 256, 512, 256, 128], [128, 256, 512, 256, 128]],
    "release": [[16, 32, 16], [16, 32, 16], [16, 32, 64, 32, 16], [16, 32, 64, 32, 16]],
}
KERNEL_SIZES: list[list[int]] = [[3, 3, 3, 3], [5, 3, 3, 5], [5, 3, 3, 3, 3, 5], [7, 5, 5, 5, 5, 7]]


class MultiscaleSettings(ModelSettings):
    """Settings of the multi-scale generator."""

    name: Literal["multiscale"] = Field(
        "multiscale", description="Frame predictor of Mathieu et al. 2016, coarse to fine."
    )
    size: Literal["paper", "release"] = Field(
        "release", description="Feature maps of the paper (12.57 M parameters) or of the authors' release (0.22 M)."
    )
    scales: int = Field(
        4,
        ge=1,
        le=8,
        description="Number of image sizes, each half the next finer one, with a network each. The layers are "
        "those of 4 scales: fewer have those of the finest scales, more repeat the coarsest scale's.",
    )
    feature_maps: list[list[int]] | None = Field(
        None,
        description="Feature maps of each scale's hidden layers, one list per scale, coarse to fine. "
        "null: those of size.",
    )
    kernel_sizes: list[list[int]] | None = Field(
        None,
        description="For each scale, coarse to fine, the kernel size of each convolution: one more than its entries "
        "in feature_maps. null: those of size.",
    )
    residual: Literal["coarse", "last_frame"] = Field(
        "coarse",
        description="What a scale's network adds to: the upsampled coarser prediction (as in the paper), or that with "
        "the details of the last context frame, so that a network that adds nothing copies it.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        maps, kernels = self.layers()
        if len(maps) != self.scales or len(kernels) != self.scales:
            raise ValueError(f"feature_maps and kernel_sizes need one list for each of the {self.scales} scales")
        for scale, (widths, sizes) in enumerate(zip(maps, kernels, strict=True), 1):
            if len(sizes) != len(widths) + 1:
                raise ValueError(f"scale {scale} has {len(widths)} feature maps, so it needs {len(widths) + 1} kernels")
            if any(size % 2 == 0 for size in sizes):
                raise ValueError(f"scale {scale}: kernel sizes must be odd to keep the image's size")
        return self

    @property
    def num_scales(self) -> int:
        return self.scales

    def build(self, data: DataSettings) -> MultiscaleGenerator:
        return MultiscaleGenerator(self, data.context_frames, data.pred_frames, data.lead, data.channels)

    def layers(self) -> tuple[list[list[int]], list[list[int]]]:
        """Return the hidden layers' feature maps, and all layers' kernel sizes: lists per scale, coarse to fine."""
        maps = self.feature_maps or choose_scales(FEATURE_MAPS[self.size], self.scales)
        return maps, self.kernel_sizes or choose_scales(KERNEL_SIZES, self.scales)


def choose_scales(table: list[list[int]], scales: int) -> list[list[int]]:
    """Return the finest `scales` rows of a table, repeating its coarsest row where it has too few."""
    return [table[0]] * max(0, scales - len(table)) + table[max(0, len(table) - scales) :]


def convolutions(channels: list[int], kernels: list[int], padding: Literal["same", "valid"]) -> nn.Sequential:
    """Return convolutions of stride 1 with ReLU between them and none after the last.

    Args:
        channels: Channels before the first convolution and after each one.
        kernels: Kernel side of each convolution.
        padding: "same" keeps the size.
    """
    layers: list[nn.Module] = []
    for index, kernel in enumerate(kernels):
        if index:
            layers.append(nn.ReLU(inplace=True))
        layers.append(
            nn.Conv2d(channels[index], channels[index + 1], kernel, padding=kernel // 2 if padding == "same" else 0)
        )
    return nn.Sequential(*layers)


class MultiscaleGenerator(ConditionedPredictor):
    """Coarse-to-fine predictor: G_k(X) = tanh(Net_k(X_k, up(Y_{k-1})) + up(Y_{k-1})).

    It predicts pred_frames frames at once, the first of them `lead` frames after the last context frame. Images of any
    height and width are padded internally and cropped back. With `residual: last_frame`, where L_k is the last context
    frame at scale k, outputs are clamped instead of squashed: G_k(X) = Net_k(...) + up(Y_{k-1}) + L_k - up(L_{k-1}).
    Every Net_k also takes one constant plane per noise value, per value of each action between the first context and
    the last future frame, and per value of the context frames' states. One noise draw is one coherent future at any
    image size.
    """

    def __init__(
        self, settings: MultiscaleSettings, context_frames: int, pred_frames: int = 1, lead: int = 1, channels: int = 3
    ) -> None:
        super().__init__(settings, context_frames, pred_frames, lead, channels)
        images = pred_frames * channels
        inputs = context_frames * channels + self.condition_size
        maps, kernels = settings.layers()
        self.networks = nn.ModuleList(
            convolutions([inputs + (images if index else 0), *widths, images], sizes, "same")
            for index, (widths, sizes) in enumerate(zip(maps, kernels, strict=True))
        )
        self.num_scales, self.copies = len(self.networks), settings.residual == "last_frame"

    @property
    def last_weight(self) -> Tensor:
        """The weight of the finest scale's last convolution."""
        *_, last = self.networks[-1].children()
        return last.weight  # type: ignore[return-value]

    def forward(
        self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None,
        states: Tensor | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Predict from `(B, T, C, H, W)` in [0, 1]; for conditions and their errors see `conditions`.

        Returns:
            Predictions at every scale, coarse to fine, `(B, K, C, h, w)` in [0, 1]. The last one has the size of the
            context, the others that of the padded pyramid.
        """
        height, width = context.shape[-2:]
        planes = self.planes(context, noise, actions, states)  # (B, n, 1, 1), None without any
        predictions: list[Tensor] = []
        previous: Tensor | None = None  # the coarser scale's prediction, (B, K*C, h, w) in [-1, 1]
        coarser: Tensor | None = None  # the coarser scale's last context frame, once per predicted frame
        for network, frames in zip(self.networks, build_pyramid(context * 2 - 1, self.num_scales), strict=True):
            inputs = rearrange(frames, "b t c h w -> b (t c) h w")
            last = frames[:, -1].repeat(1, self.pred_frames, 1, 1)
            if previous is not None:
                inputs = torch.cat([inputs, upsample(previous)], 1)
            if planes is not None:
                inputs = torch.cat([inputs, planes.expand(-1, -1, *inputs.shape[-2:])], 1)
            # Sum in float32: bfloat16 would round the residual to 8 bits.
            change = network(as_channels_last(inputs)).float()
            if previous is not None:
                change = change + upsample(previous)
            if self.copies:
                details = last if coarser is None else last - upsample(coarser)
                previous = clamp_straight_through(change + details, -1, 1)
            else:
                previous = torch.tanh(change)
            coarser = last
            predictions.append((rearrange(previous, "b (k c) h w -> b k c h w", c=self.channels) + 1) / 2)
        predictions[-1] = crop(predictions[-1], height, width)
        return predictions


def as_channels_last(images: Tensor) -> Tensor:
    """Convert images to the memory layout in which bfloat16 convolutions are fastest, on CPUs and GPUs."""
    if torch.compiler.is_exporting():  # other runtimes choose their own
        return images
    return images.contiguous(memory_format=torch.channels_last)
