"""A generator that moves pixels: per pixel a blend of copies, warps along the motion seen so far, and paint.

What it is made of is known from video coding and interpolation: several compensated predictions of a pixel, chosen by
what their disagreement tells (compare Liu et al. 2017, "Video frame synthesis using deep voxel flow", and Niklaus & Liu
2018, "Context-aware synthesis", which moves features along with the pixels as is done here).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as functional
from einops import rearrange, repeat
from pydantic import Field
from torch import Tensor, nn

from vidpred.data.flow import dense_flow
from vidpred.data.settings import DataSettings
from vidpred.models.actions import ActionScale
from vidpred.models.baselines import warp_backward
from vidpred.models.conditions import condition_planes
from vidpred.models.pyramid import pad_to_multiple
from vidpred.models.settings import ModelSettings

PADDING = 8  # pixels: half resolution, halved twice more
NUM_CANDIDATES = 7  # copy, half way, followed, pushed, corrected, its blur, t-1 moved
CARRIED = 16  # features that are carried along with the motion
FLOW_SCALE = 16.0  # pixels that count as 1 for the network


class MotionSettings(ModelSettings):
    """The motion-aware generator.

    widths: feature maps of its network at 1/2, 1/4 and 1/8 of the resolution. head_width: those of the small network
    that chooses, for every coming frame, between the candidates. paint: whether it may also add a residual of its own,
    in proportion to how much the candidates differ.
    """

    name: Literal["motion"] = "motion"
    widths: tuple[int, int, int] = (32, 64, 96)
    head_width: int = Field(32, ge=4)
    paint: bool = True

    def build(self, data: DataSettings) -> MotionGenerator:
        return MotionGenerator(self, data.context_frames, data.pred_frames, data.step, data.channels)


class Motion(NamedTuple):
    """What the last known frames say about motion. All `(B, ., H, W)` float32.

    last, before: frames t and t-1. flow: where every pixel of t was in t-1, in pixels. older: where what is there was
    from t-1 to t-2. doubt: how badly t-1 and t-2, moved along, agree with t, two channels.
    """

    last: Tensor
    before: Tensor
    flow: Tensor
    older: Tensor
    doubt: Tensor


class MotionGenerator(nn.Module):
    """Frames t+k for k = step, ..., step + pred_frames - 1, each straight from the known frames, whatever k is.

    Where a pixel of t+k comes from is found in two ways from the flow of what is seen at t: followed back k times
    (`follow`), and written to where it will be (`push`). A UNet at half resolution looks at the known frames once. For
    every k its features are carried along with the motion, and a head of three convolutions, which sees them where they
    were and where they arrive, the candidates and k, gives per pixel the shares of the candidates: the last frame; it
    moved half as far; moved as followed; as pushed; that with a correction; the blur of that; t-1 moved. And paint, in
    proportion to how much the candidates differ.
    The flow is OpenCV's DIS, of whole frames: at borders of patches it would be trusted too little.

    Any height and width, any number of known frames (three are looked at), 1 or 3 channels. Noise and actions are
    planes that the UNet sees.
    """

    def __init__(
        self, settings: MotionSettings, context_frames: int, pred_frames: int = 1, step: int = 1, channels: int = 3
    ) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.step, self.channels = context_frames, pred_frames, step, channels
        self.noise_channels, self.noise = settings.noise_channels, settings.noise
        self.action_size, self.moves = settings.action_size, context_frames + pred_frames + step - 2
        if settings.action_size:
            self.action_scale = ActionScale(settings.action_size)
        self.paints = settings.paint
        conditions = settings.noise_channels + self.moves * settings.action_size
        fine, middle, coarse = settings.widths
        self.enter = block(4 * (2 * channels + 2) + 4 + conditions, fine)
        self.down_1, self.down_2 = block(fine, middle, stride=2), block(middle, coarse, stride=2)
        self.up_2, self.up_1 = block(coarse + middle, middle), block(middle + fine, fine)
        self.carried = nn.Conv2d(fine, CARRIED, 1)
        width = settings.head_width
        outputs = 4 * NUM_CANDIDATES + 3 + (4 * channels if settings.paint else 0)
        self.head = nn.Sequential(
            convolution(2 * CARRIED + 12 * channels + 4 + 3, width), nn.ReLU(inplace=True),
            convolution(width, width), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.last = nn.Conv2d(width, outputs, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, context: Tensor, noise: Tensor | None = None, actions: Tensor | None = None) -> list[Tensor]:
        """`(B, T, C, H, W)` in [0, 1] -> a list of one, `(B, K, C, H, W)` in [0, 1]. noise and actions: see
        `condition_planes`, which raises ValueError where they do not fit."""
        height, width = context.shape[-2:]
        planes = condition_planes(self, noise, actions, context)
        motion = observe(context)
        features = self._look(motion, planes)
        last_lead = self.step + self.pred_frames - 1
        pictures = [
            self._predict(motion, features, lead, path)
            for lead, path in enumerate(follow(motion.flow, last_lead), 1)
            if lead >= self.step
        ]
        return [torch.stack(pictures, 1)[..., :height, :width]]

    def _look(self, motion: Motion, planes: Tensor | None) -> Tensor:
        """Features at half resolution of what is seen at t, `(B, F, h, w)`."""
        moved = warp_backward(motion.before, motion.flow)
        seen = unshuffle(torch.cat([motion.last - 0.5, (motion.last - moved) * 4, motion.doubt * 4], 1))
        flows = functional.avg_pool2d(torch.cat([motion.flow, motion.older - motion.flow], 1), 2) / FLOW_SCALE
        parts = [seen, flows]
        if planes is not None:
            parts.append(planes.expand(-1, -1, *seen.shape[-2:]))
        fine = self.enter(torch.cat(parts, 1).contiguous(memory_format=torch.channels_last))
        middle = self.down_1(fine)
        up: Tensor = torch.cat([enlarge(self.down_2(middle)), middle], 1)
        up = torch.cat([enlarge(self.up_2(up)), fine], 1)
        found: Tensor = self.carried(self.up_1(up))
        return found.float()

    def _predict(self, motion: Motion, features: Tensor, lead: int, path: Tensor) -> Tensor:
        """Frame t+lead, `(B, C, H, W)`; path: where its pixels come from, in pixels of t."""
        pushed_path = push(motion.flow, lead, path)
        copied, followed = motion.last, warp_backward(motion.last, path)
        half, pushed = warp_backward(motion.last, pushed_path / 2), warp_backward(motion.last, pushed_path)
        # From t on back to t-1: one step more along the flow that is found where the path ends.
        earlier = warp_backward(motion.before, path + sample(motion.flow, path))
        coarse_path = functional.avg_pool2d(pushed_path, 2) / 2
        carried = sample(features, coarse_path)
        doubt = sample(motion.doubt, pushed_path)
        seen = [
            features,
            carried,
            unshuffle(torch.cat([copied - pushed, followed - pushed, earlier - pushed], 1) * 4),
            unshuffle(doubt.mean(1, keepdim=True) * 4),
            coarse_path * 2 / FLOW_SCALE,
            torch.full_like(coarse_path[:, :1], lead / 8),
        ]
        out = self.last(self.head(torch.cat(seen, 1).contiguous(memory_format=torch.channels_last))).float()
        gates, correction, paint = out.split([4 * NUM_CANDIDATES, 3, out.shape[1] - 4 * NUM_CANDIDATES - 3], 1)
        stretch, shift = enlarge(correction).split([1, 2], 1)
        learned = warp_backward(motion.last, pushed_path * (1 + stretch) + shift * lead)
        blurred = enlarge(functional.avg_pool2d(learned, 2))
        candidates = torch.stack([copied, half, followed, pushed, learned, blurred, earlier], 1)
        shares = functional.pixel_shuffle(gates, 2).softmax(1)
        picture = (candidates * shares[:, :, None]).sum(1)
        if self.paints:
            differing = (copied - pushed).abs().mean(1, keepdim=True) + doubt.mean(1, keepdim=True)
            picture = picture + functional.pixel_shuffle(paint, 2) * enlarge(functional.avg_pool2d(differing, 2))
        return picture.clamp(0, 1)


def observe(context: Tensor) -> Motion:
    """The motion in the newest three of `(B, T, C, H, W)`; missing ones are taken to be like the first. Padded to
    multiples of `PADDING`."""
    frames = context[:, -3:].float()
    if frames.shape[1] < 3:
        missing = repeat(frames[:, :1], "b 1 c h w -> b n c h w", n=3 - frames.shape[1])
        frames = torch.cat([missing, frames], 1)
    with torch.no_grad():
        flows = flow_of(
            rearrange(frames[:, 1:], "b t c h w -> (b t) c h w"), rearrange(frames[:, :-1], "b t c h w -> (b t) c h w")
        )
        flows = rearrange(flows, "(b t) d h w -> t b d h w", t=2)
        flows = pad_to_multiple(flows, PADDING)
        oldest, before, last = pad_to_multiple(frames, PADDING).unbind(1)
        flow = flows[1]
        older = sample(flows[0], flow)
        doubts = [warp_backward(before, flow), warp_backward(oldest, flow + older)]
        doubt = torch.cat([(last - moved).abs().mean(1, keepdim=True) for moved in doubts], 1)
    return Motion(last, before, flow, older, doubt)


def flow_of(first: Tensor, second: Tensor) -> Tensor:
    """`dense_flow`, but shapes only where there is nothing but shapes (a plan counts memory so)."""
    if first.is_meta:
        return first.new_empty(len(first), 2, *first.shape[-2:])
    return dense_flow(first, second)


def follow(flow: Tensor, steps: int) -> Iterator[Tensor]:
    """Where the pixels of t+1, t+2, ... were at t, if everything keeps its velocity: paths in pixels `(B, 2, H, W)`.

    The path of t+k is that of t+k-1 and the flow where that one ends.
    """
    path = torch.zeros_like(flow)
    for _ in range(steps):
        path = path + sample(flow, path)
        yield path


def push(flow: Tensor, lead: int, elsewhere: Tensor) -> Tensor:
    """Paths like those of `follow`, found from the other end: what is at y at t will be at x = y - lead * flow(y).

    Following alone never brings a thing to where it has not been yet: there the ground's flow is read. Here every pixel
    writes its path where it arrives, into the four pixels around (weights bilinear); where several arrive, the faster
    ones count more, for what moves is mostly in front (softmax splatting: Niklaus & Liu 2020, arXiv 2003.05534). Where
    next to nothing arrives, the path is that of `elsewhere`, `(B, 2, H, W)`.
    """
    batch, _, height, width = flow.shape
    rows = torch.arange(height, dtype=torch.float32, device=flow.device)[:, None]
    columns = torch.arange(width, dtype=torch.float32, device=flow.device)
    across, down = columns - lead * flow[:, 0], rows - lead * flow[:, 1]  # where every pixel arrives
    urgency = torch.exp(torch.linalg.vector_norm(flow, dim=1).clamp(max=8))
    left, top = across.floor(), down.floor()
    written = flow.new_zeros(batch, 4, height * width)  # weighted path, weight, and weight without urgency
    for right, below in ((0, 0), (0, 1), (1, 0), (1, 1)):
        x, y = left + right, top + below
        weight = (1 - (across - x).abs()) * (1 - (down - y).abs())
        weight = weight * ((x >= 0) & (x < width) & (y >= 0) & (y < height))
        place = (y.clamp(0, height - 1) * width + x.clamp(0, width - 1)).long().flatten(1)
        values = torch.cat([flow * lead * (weight * urgency)[:, None], (weight * urgency)[:, None], weight[:, None]], 1)
        written.scatter_add_(2, place[:, None].expand(-1, 4, -1), values.flatten(2))
    path, total, arrived = written.unflatten(2, (height, width)).split([2, 1, 1], 1)
    return torch.where(arrived > 0.3, path / total.clamp(min=1e-6), elsewhere)


def sample(maps: Tensor, path: Tensor) -> Tensor:
    """`warp_backward` for maps of any values, `(B, F, H, W)`."""
    height, width = maps.shape[-2:]
    rows = torch.arange(height, dtype=torch.float32, device=maps.device)[:, None]
    columns = torch.arange(width, dtype=torch.float32, device=maps.device)
    horizontal = (columns + path[:, 0]) * (2 / max(width - 1, 1)) - 1
    vertical = (rows + path[:, 1]) * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([horizontal, vertical], -1)
    return functional.grid_sample(maps.float(), grid, "bilinear", padding_mode="border", align_corners=True)


def unshuffle(pictures: Tensor) -> Tensor:
    """`(B, C, H, W)` -> `(B, 4C, H/2, W/2)`."""
    return functional.pixel_unshuffle(pictures, 2)


def enlarge(maps: Tensor) -> Tensor:
    """Twice the height and width, bilinear."""
    return functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


def convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    # Zeros beyond the border would be seen as an edge; the border is repeated instead.
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, padding_mode="replicate")


def block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Two convolutions with ReLU; the first may halve the resolution."""
    return nn.Sequential(
        convolution(channels_in, channels_out, stride), nn.ReLU(inplace=True),
        convolution(channels_out, channels_out), nn.ReLU(inplace=True),
    )  # fmt: skip
