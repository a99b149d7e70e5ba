"""Baseline networks for the motion-aware generator, trained by the package like a user's modules."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from vidpred.models.base import Generator
from vidpred.models.multiscale import MultiscaleGenerator, MultiscaleSettings
from vidpred.models.optical_flow import dense_flow, warp_backward
from vidpred.models.pyramid import pad_to_multiple


def conv_block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Build a 3x3 convolution with group normalization and leaky ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, 1), nn.GroupNorm(2, channels_out), nn.LeakyReLU(0.2)
    )


class Inception(nn.Module):
    """SimVP's translator block: a 1x1 convolution, then the sum of grouped convolutions of four sizes."""

    def __init__(self, channels_in: int, hidden: int, channels_out: int, groups: int = 8) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels_in, hidden, 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(hidden, channels_out, size, padding=size // 2, groups=groups),
                nn.GroupNorm(groups, channels_out), nn.LeakyReLU(0.2),
            )
            for size in (3, 5, 7, 11)
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        squeezed = self.squeeze(maps)
        return torch.stack([branch(squeezed) for branch in self.branches]).sum(0)


class SimVP(Generator):
    """A network like SimVP (Gao, Tan, Wu & Li 2022, "SimVP: Simpler yet better video prediction", section 3).

    Frames are encoded one by one to a quarter of the resolution, a U-shaped stack of Inception blocks maps the features
    of all context frames to those of all future frames, and a decoder with a skip from the first layer generates these.
    `spatial` and `translator` are the feature maps of one frame and of the stack.
    """

    def __init__(
        self, context_frames: int, pred_frames: int, channels: int = 3, spatial: int = 32, translator: int = 128
    ) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = context_frames, pred_frames, 1, channels
        self.first = conv_block(channels, spatial)
        self.encoder = nn.Sequential(
            conv_block(spatial, spatial, 2), conv_block(spatial, spatial), conv_block(spatial, spatial, 2)
        )
        before, after = context_frames * spatial, pred_frames * spatial
        self.down = nn.ModuleList([Inception(before, translator // 2, translator)])
        self.down.append(Inception(translator, translator // 2, translator))
        self.up = nn.ModuleList([Inception(translator, translator // 2, translator)])
        self.up.append(Inception(2 * translator, translator // 2, after))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(spatial, spatial, 4, 2, 1), nn.GroupNorm(2, spatial), nn.LeakyReLU(0.2),
            conv_block(spatial, spatial),
            nn.ConvTranspose2d(spatial, spatial, 4, 2, 1), nn.GroupNorm(2, spatial), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.output = nn.Sequential(conv_block(2 * spatial, spatial), nn.Conv2d(spatial, channels, 1))

    def forward(self, context: Tensor) -> list[Tensor]:
        """Map `(B, T, C, H, W)` in [0, 1] to a list of one, `(B, K, C, H, W)` in [0, 1]."""
        height, width = context.shape[-2:]
        frames = pad_to_multiple(context, 4) - 0.5
        first = self.first(rearrange(frames, "b t c h w -> (b t) c h w"))
        maps = rearrange(self.encoder(first), "(b t) f h w -> b (t f) h w", b=len(context))
        before = self.down[0](maps)
        after = self.up[0](self.down[1](before))
        maps = self.up[1](torch.cat([after, before], 1))
        maps = self.decoder(rearrange(maps, "b (k f) h w -> (b k) f h w", k=self.pred_frames))
        skip = rearrange(first, "(b t) f h w -> b t f h w", b=len(context))[:, -1]
        skip = repeat(skip, "b f h w -> (b k) f h w", k=self.pred_frames)
        images = self.output(torch.cat([maps, skip], 1)).float() + 0.5
        images = rearrange(images, "(b k) c h w -> b k c h w", k=self.pred_frames)
        return [images[..., :height, :width].clamp(0, 1)]


class WarpedMultiscale(Generator):
    """The paper's multi-scale generator (release size) with the extrapolated frame as an additional context frame.

    It predicts a correction to that frame, which tests how much of the motion-aware generator's gain is its input.
    """

    def __init__(self, context_frames: int, channels: int = 3) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = context_frames, 1, 1, channels
        settings = MultiscaleSettings(residual="last_frame", scales=3)
        self.inner = MultiscaleGenerator(settings, context_frames + 1, 1, 1, channels)
        with torch.no_grad():  # begin as the extrapolation itself
            for network in self.inner.networks:
                for parameter in network[-1].parameters():  # type: ignore[index]
                    parameter.mul_(0.01)

    def forward(self, context: Tensor) -> list[Tensor]:
        """Map `(B, T, C, H, W)` in [0, 1] to a list of one, `(B, 1, C, H, W)` in [0, 1]: only the finest scale."""
        before, last = context[:, -2].float(), context[:, -1].float()
        moved = warp_backward(last, dense_flow(last, before))
        return [self.inner(torch.cat([context, moved[:, None]], 1))[-1]]
