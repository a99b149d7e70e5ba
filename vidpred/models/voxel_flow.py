"""Voxel-flow predictor after DMVFN (Hu et al. 2023, "A dynamic multi-scale voxel flow network for video prediction").

Blocks from coarse to fine refine the displacements from a future frame to both last context frames and the mask that
blends the two moved frames. A small network chooses for every sample which blocks it needs.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

import torch
import torch.nn.functional as functional
from einops import rearrange
from pydantic import Field, model_validator
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.conditioned import ConditionedPredictor
from vidpred.models.optical_flow import warp_backward
from vidpred.models.pyramid import crop, pad_to_multiple
from vidpred.models.settings import ModelSettings

HALVED = 4  # side of the cells in which a block of scale 1 computes its coarse path
FINE = 8  # channels of the fine path
ROUTING = 32  # channels of the network that chooses blocks


class VoxelFlowSettings(ModelSettings):
    """Settings of the voxel-flow predictor."""

    name: Literal["voxel_flow"] = Field("voxel_flow", description="Voxel flow, coarse to fine (after Hu et al. 2023).")
    scales: list[int] = Field(
        [4, 4, 4, 2, 2, 2, 1, 1, 1],
        min_length=1,
        max_length=32,
        description="For each block, in order, the factor by which the height and width of the input of its coarse "
        "path are reduced; its fine path takes the full resolution. One block per entry.",
    )
    widths: list[int] = Field(
        [160, 160, 160, 80, 80, 80, 44, 44, 44],
        description="Channels of each block, one entry per entry of scales; multiples of 4.",
    )
    mean_blocks: float | None = Field(
        4.5,
        gt=0,
        description="Mean number of blocks that a sample passes; a small network chooses them for every "
        "sample. null: all blocks.",
    )
    block_decay: float = Field(
        0.8,
        ge=0,
        le=1,
        description="Weight of the absolute error of the frames after each block, relative to those after "
        "the next block.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.widths) != len(self.scales):
            raise ValueError(f"widths: {len(self.scales)} scales need as many widths, not {len(self.widths)}")
        if min(self.scales) < 1 or any(width % 4 or width < 4 for width in self.widths):
            raise ValueError("widths: they must be positive multiples of 4, and scales at least 1")
        if self.mean_blocks is not None and self.mean_blocks > len(self.scales):
            raise ValueError(f"mean_blocks: there are only {len(self.scales)} blocks; set null for all of them")
        return self

    def build(self, data: DataSettings) -> VoxelFlow:
        return VoxelFlow(self, data)


class Flow(NamedTuple):
    """Voxel flow of K future frames: displacements to the last frame but one and to the last, logits of the former."""

    displacements: Tensor  # (B, K * 4, H, W), in pixels
    logits: Tensor  # (B, K, H, W)


def resize(maps: Tensor, times: int, over: int) -> Tensor:
    """Resize maps `(B, C, H, W)` by the factor times / over, bilinear."""
    if torch.compiler.is_exporting():  # whole sides: the tracer cannot compare products with fractions
        sides = [side // over * times for side in maps.shape[-2:]]
        return functional.interpolate(maps, size=sides, mode="bilinear")
    return functional.interpolate(maps, scale_factor=times / over, mode="bilinear")


class FlowBlock(nn.Module):
    """Update of the voxel flow by a coarse path at 1 / scale of the resolution and a fine path."""

    def __init__(self, inputs: int, frames: int, width: int, scale: int) -> None:
        super().__init__()
        self.scale, self.frames = scale, frames

        def convolution(before: int, after: int, stride: int = 1) -> nn.Module:
            return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.PReLU(after))

        self.coarse = nn.Sequential(convolution(inputs, width // 2, 2), convolution(width // 2, width, 2))
        self.inner = nn.Sequential(*(convolution(width, width) for _ in range(3)))
        self.narrow = convolution(width, width // 4)
        self.fine = nn.Sequential(convolution(inputs, FINE, 2), convolution(FINE, FINE))
        self.readout = nn.ConvTranspose2d(width // 4 + FINE, 5 * frames, 4, 2, 1)

    def forward(self, images: Tensor, flow: Flow) -> Flow:
        """Return what is added to the flow.

        Args:
            images: `(B, C', H, W)`: context frames, moved frames and conditions.
            flow: The flow so far.
        """
        still = torch.cat([images, flow.logits], 1)
        small, displacements = still, flow.displacements
        if self.scale > 1:
            small, displacements = (resize(maps, 1, self.scale) for maps in (still, displacements))
        coarse = self.coarse(torch.cat([small, displacements / self.scale], 1))
        coarse = self.narrow(self.inner(coarse) + coarse)
        coarse = resize(coarse, 2 * self.scale, 1)
        fine = self.fine(torch.cat([still, flow.displacements], 1))
        output = self.readout(torch.cat([coarse, fine], 1)).float()
        return Flow(*output.split([4 * self.frames, self.frames], 1))


class VoxelFlow(ConditionedPredictor):
    """Predictor of K frames as blends of both last context frames, moved by learned displacements.

    Context frames before them are inputs of the blocks only; a single context frame counts as two.
    """

    takes_target = True

    def __init__(self, settings: VoxelFlowSettings, data: DataSettings) -> None:
        super().__init__(settings, data.context_frames, data.pred_frames, data.lead, data.channels)
        count, channels = data.pred_frames, data.channels
        self.multiple, self.decay, self.mean_blocks = (
            HALVED * max(settings.scales), settings.block_decay, settings.mean_blocks
        )  # fmt: skip
        inputs = (max(2, data.context_frames) + 2 * count) * channels + 5 * count + self.condition_size
        self.blocks = nn.ModuleList(
            FlowBlock(inputs, count, width, scale)
            for width, scale in zip(settings.widths, settings.scales, strict=True)
        )
        self.routing = None
        if settings.mean_blocks is not None:
            self.routing = nn.Sequential(
                nn.Conv2d(2 * channels, ROUTING, 3, 1, 1), nn.ReLU(), nn.Conv2d(ROUTING, ROUTING, 3, 1, 1),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(ROUTING, len(settings.scales)),
            )  # fmt: skip

    def forward(
        self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None,
        states: Tensor | None = None, target: Tensor | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """Predict from `(B, T, C, H, W)` in [0, 1]; for conditions and their errors see `conditions`.

        `target`, `(B, K, C, H, W)`: the true future frames, in training, where blocks are drawn by their chances.

        Returns:
            A list of one, `(B, K, C, H, W)` in [0, 1].
        """
        size, planes = context.shape[-2:], self.planes(context, noise, actions, states)
        padded = pad_to_multiple(context if context.shape[1] > 1 else context.expand(-1, 2, -1, -1, -1), self.multiple)
        still = padded.flatten(1, 2)
        if planes is not None:
            still = torch.cat([still, planes.expand(-1, -1, *padded.shape[-2:])], 1)
        chosen = self.choose(padded[:, -2:], draw=target is not None)
        flow = Flow(*(padded.new_zeros(padded.shape[0], self.pred_frames * n, *padded.shape[-2:]) for n in (4, 1)))
        self.extra_losses = {}
        if target is not None:
            frames, losses = self.learn(still, padded[:, -2:], flow, chosen, target)
            self.extra_losses = {"coarse": losses} if len(self.blocks) > 1 else {}
        else:
            for block, use in zip(self.blocks, chosen.unbind(1), strict=True):
                flow = self.refine(block, still, padded[:, -2:], flow, use > 0)
            frames, _ = self.render(padded[:, -2:], flow)
        return [crop(frames, size[0], size[1])]

    def choose(self, last: Tensor, draw: bool) -> Tensor:
        """Return which blocks a sample passes, `(B, blocks)`: 1 or 0, with the gradient of the chances.

        Args:
            last: The last two context frames, `(B, 2, C, H, W)`.
            draw: Whether to draw by the chances; else blocks with a chance above one half and the likeliest.
        """
        if self.routing is None or self.mean_blocks is None:
            return last.new_ones(last.shape[0], len(self.blocks))
        chances = self.routing(last.flatten(1, 2)).float().sigmoid()
        chances = (chances / (chances.sum(1, keepdim=True) + 1e-6) * self.mean_blocks).clamp(0, 1)
        taken = torch.bernoulli(chances) if draw else (chances > 0.5) | (chances >= chances.amax(1, keepdim=True))
        straight: Tensor = chances + (taken.to(chances) - chances).detach()
        return straight

    def learn(
        self, still: Tensor, last: Tensor, flow: Flow, chosen: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Pass all blocks, with gradients for each.

        Args:
            still: Inputs that all blocks share, `(B, C', H, W)`: context frames and conditions.
            last: The last two context frames, `(B, 2, C, H, W)`.
            flow: The flow before the first block.
            chosen: Which blocks count for a sample, `(B, blocks)`, see `choose`.
            target: True frames `(B, K, C, H, W)`.

        Returns:
            The frames `(B, K, C, H, W)` in [0, 1], and a scalar: the weighted error after every block except the last.
        """
        loss, target = last.new_zeros(()), pad_to_multiple(target, self.multiple)
        frames, moved = self.render(last, flow)
        for number, block in enumerate(self.blocks):
            added = block(torch.cat([still, moved], 1), flow)
            if number < len(self.blocks) - 1:
                frames, _ = self.render(last, Flow(*(a + b for a, b in zip(flow, added, strict=True))))
                weight = self.decay ** (len(self.blocks) - 1 - number)
                loss = loss + weight * 2 * functional.l1_loss(frames, target)  # of values in [-1, 1]
            use = chosen[:, number, None, None, None]
            flow = Flow(*(a + b * use for a, b in zip(flow, added, strict=True)))
            frames, moved = self.render(last, flow)
        return frames, loss

    def refine(self, block: nn.Module, still: Tensor, last: Tensor, flow: Flow, use: Tensor) -> Flow:
        """Return the flow after a block, unchanged for samples that do not pass it.

        Args:
            block: The block.
            still: See `learn`.
            last: See `learn`.
            flow: The flow before.
            use: `(B,)` bool, the samples that pass; the others are not computed.
        """
        if torch.compiler.is_exporting():  # a graph without branches computes all samples
            _, moved = self.render(last, flow)
            added = block(torch.cat([still, moved], 1), flow)
            share = use.to(still)[:, None, None, None]
            return Flow(*(a + share * b for a, b in zip(flow, added, strict=True)))
        if use.is_meta:  # without values: shapes for all samples
            use = torch.ones(len(use), dtype=torch.bool, device="cpu")
        if not bool(use.any()):
            return flow
        part = Flow(*(values[use] for values in flow))
        _, moved = self.render(last[use], part)
        added = block(torch.cat([still[use], moved], 1), part)
        return Flow(*(a.index_put((use.nonzero()[:, 0],), b + c) for a, b, c in zip(flow, part, added, strict=True)))

    def render(self, last: Tensor, flow: Flow) -> tuple[Tensor, Tensor]:
        """Move both last context frames `(B, 2, C, H, W)` along a flow, and blend them.

        Returns:
            Frames `(B, K, C, H, W)` in [0, 1], and the moved frames before blending, `(B, K * 2 * C, H, W)`.
        """
        batch, count = last.shape[0], self.pred_frames
        displacements = rearrange(flow.displacements, "b (k two xy) h w -> (b k two) xy h w", two=2, xy=2)
        copies = last[:, None].expand(-1, count, -1, -1, -1, -1).flatten(0, 2)
        moved = warp_backward(copies, displacements).unflatten(0, (batch, count, 2))
        share = flow.logits.sigmoid()[:, :, None]
        return share * moved[:, :, 0] + (1 - share) * moved[:, :, 1], moved.flatten(1, 3)
