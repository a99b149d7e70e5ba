"""The motion in context frames, and how far it can be trusted: flows, their disagreement, and backtests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from einops import repeat
from torch import Tensor

from vidpred.models.optical_flow import Care, FlowCache, dense_flow, path_after, warp, warp_backward
from vidpred.models.pyramid import pad_to_multiple

PADDING = 8  # pixels: half resolution, halved twice more
FLOOR = 1e-5  # noise level of mean squared differences: 50 dB
LEADS = (1, 2, 4, 8)  # of the backtests on context frames
USUAL_TRUST = (0.95, 0.9, 0.75, 0.6)  # share of motion at those leads without a backtest
WHOLE, DRAWN = 1.0, 2.0  # backtest weights of the whole frame and of `USUAL_TRUST`, relative to a neighborhood's


class Motion(NamedTuple):
    """Motion in the context frames: maps `(B, ., H, W)` float32, trust and evidence at 1/8 of that resolution.

    Pixels are those of the maps, which are larger than the frames' in `halved` motion.

    Attributes:
        last: Frame t.
        before: Frame t-1.
        flow: Displacement (x, y) in pixels from each pixel of t to its place in t-1, two channels.
        older: Displacement (x, y) in pixels of the same content from t-1 to t-2, on the pixels of t, two channels.
        smooth: Like flow, but smoother.
        doubt: Difference between t and the warped frames t-1 and t-2, two channels.
        trust: See `backtest`.
        evidence: See `backtest`.
        activity: Root mean square change of the neighborhood from t-1 to t.
    """

    last: Tensor
    before: Tensor
    flow: Tensor
    older: Tensor
    smooth: Tensor
    doubt: Tensor
    trust: Tensor
    evidence: Tensor
    activity: Tensor

    @property
    def cell(self) -> int:
        """Pixels across a cell of trust and evidence: `PADDING`, or half of that in `halved` motion."""
        return int(self.last.shape[-1] // self.trust.shape[-1])

    @property
    def scale(self) -> int:
        """Pixels of the frame across a pixel of the maps: 1, or 2 in `halved` motion."""
        return PADDING // self.cell


@torch.no_grad()
def observe(context: Tensor, backtests: bool = True, cache: FlowCache | None = None) -> Motion:
    """Return the motion in the newest frames of `(B, T, C, H, W)`, padded to multiples of `PADDING`.

    With fewer than three frames, the first is repeated. Equal consecutive rows, as with a planner's candidates, are
    processed once. A cache is used for a batch of one.
    """
    if len(context) > 1 and not context.is_meta:
        rows, places = torch.unique_consecutive(context, dim=0, return_inverse=True)
        if len(rows) < len(context):
            return Motion(*(part[places] for part in observe(rows, backtests)))
    frames = context[:, -(LEADS[-1] + 2) :].float()
    origins = flow_origins(frames.shape[1], backtests)
    if frames.shape[1] < 3:
        missing = repeat(frames[:, :1], "b 1 c h w -> b n c h w", n=3 - frames.shape[1])
        frames = torch.cat([missing, frames], 1)
    padded = pad_to_multiple(frames, PADDING)
    if cache is None or len(frames) > 1:
        fine, (smooth, *old_flows) = flows_at(frames, [0, 1], "fine"), flows_at(frames, origins, "smooth")
        return motion_of(padded, fine, smooth, backtest(padded, paths_of(origins, old_flows)))
    newest_first = cache.numbers(frames[0])[::-1]
    pairs = {origin: (newest_first[origin], newest_first[origin + 1]) for origin in {0, 1, *origins}}
    cache.begin([pairs[0], pairs[1]], "fine")  # meanwhile, all that needs none of them
    smooth = cache.flow(pairs[0], "smooth")
    found = backtest(padded, {lead: cache.path(pairs[lead], "smooth", lead) for lead in origins[1:]})
    return motion_of(padded, [cache.flow(pairs[origin], "fine") for origin in (0, 1)], smooth, found)


@torch.no_grad()
def prepare(context: Tensor, ahead: int, context_frames: int, backtests: bool, cache: FlowCache) -> None:
    """Compute the flows and paths between frames `(1, T, C, H, W)` that `observe` needs when `ahead` more are there.

    It receives the newest `context_frames` then.
    """
    frames = context[0, -(LEADS[-1] + 2) :].float()
    newest_first = cache.numbers(frames)[::-1]
    pairs = dict(enumerate(pairwise(newest_first), ahead))  # by the distance of the first frame from t then
    count = min(len(frames) + ahead, context_frames, LEADS[-1] + 2)
    origins = [origin for origin in flow_origins(count, backtests) if origin in pairs]
    cache.begin([pairs[1]] if 1 in pairs else [], "fine")
    cache.begin([pairs[origin] for origin in origins], "smooth")
    if 1 in pairs:
        cache.flow(pairs[1], "fine")
    for lead in origins:
        cache.path(pairs[lead], "smooth", lead)


def flow_origins(num_frames: int, backtests: bool) -> list[int]:
    """Return the distances from t of the frames that smooth flows start at: 0, and the leads of the backtests."""
    return [0, *(lead for lead in LEADS if backtests and lead < num_frames - 1)]


def motion_of(frames: Tensor, fine: Sequence[Tensor], smooth: Tensor, backtests: tuple[Tensor, Tensor]) -> Motion:
    """Return the motion in frames of known flows.

    Args:
        frames: `(B, T, C, H, W)` with T >= 3, padded to multiples of `PADDING`.
        fine: Fine flows from t to t-1 and from t-1 to t-2, each `(B, 2, H, W)`, (x, y) in pixels.
        smooth: Smooth flow from t to t-1, of the same shape.
        backtests: Trust and evidence, see `backtest`.
    """
    flow, older = fine
    oldest, before, last = frames[:, -3:].unbind(1)
    older = warp(older, flow)
    doubts = [warp_backward(before, flow), warp_backward(oldest, flow + older)]
    doubt = torch.cat([(last - moved).abs().mean(1, keepdim=True) for moved in doubts], 1)
    change = (last - before).square().mean(1, keepdim=True)
    activity = enlarge((around(change) + FLOOR).sqrt(), PADDING)
    return Motion(last, before, flow, older, smooth, doubt, *backtests, activity)


def flows_at(frames: Tensor, origins: Sequence[int], care: Care) -> list[Tensor]:
    """Return the flows from t-o to the frame before it for every origin o, padded as in `observe`."""
    newest = frames.shape[1] - 1
    starts = torch.cat([frames[:, newest - origin] for origin in origins])
    ends = torch.cat([frames[:, newest - origin - 1] for origin in origins])
    # On the meta device, for memory estimates, the flow is empty.
    flows = starts.new_empty(len(starts), 2, *starts.shape[-2:]) if starts.is_meta else dense_flow(starts, ends, care)
    return list(pad_to_multiple(flows[:, None], PADDING)[:, 0].chunk(len(origins)))


def paths_of(origins: Sequence[int], old_flows: Sequence[Tensor]) -> dict[int, Tensor]:
    """Return for every lead of the backtests the path of frame t from that far back, see `follow`.

    Args:
        origins: Distances from t of the frames that the smooth flows start at, see `flow_origins`.
        old_flows: Smooth flow of each origin but 0 to the frame before it, `(B, 2, H, W)`, (x, y) in pixels.
    """
    return {lead: path_after(flow, lead) for lead, flow in zip(origins[1:], old_flows, strict=True)}


def backtest(frames: Tensor, paths: Mapping[int, Tensor]) -> tuple[Tensor, Tensor]:
    """Measure how well extrapolation predicts frame t from the frame `lead` frames before it.

    Args:
        frames: `(B, T, C, H, W)`.
        paths: For some of `LEADS`, the displacement (x, y) in pixels from each pixel of t to its place in t - lead,
            `(B, 2, H, W)`, extrapolated from the flow of t - lead to the frame before it.

    Returns:
        Two maps at 1/8 of the resolution. trust, `(B, leads, h, w)` in (0, 1): the share w of the moved frame with the
        least squared error of copy + w (moved - copy) around every place, drawn toward that of the whole frame and
        `USUAL_TRUST`, which applies where there is no path. evidence, `(B, 3 leads, h, w)`: trust minus the usual one,
        and the correlation of predicted and true change, there and in the whole frame; 0 where there is no path.
    """
    last = frames[:, -1]
    trusts, evidence = [], []
    for lead, usual in zip(LEADS, USUAL_TRUST, strict=True):
        if lead in paths:
            origin = frames[:, -1 - lead]
            predicted, true = warp_backward(origin, paths[lead]) - origin, last - origin
            products = [predicted.square(), predicted * true, true.square()]
            local = around(torch.cat([product.mean(1, keepdim=True) for product in products], 1))
            whole = local.mean((2, 3), keepdim=True)
            size, match, _ = (local + WHOLE * whole).split(1, 1)
            trust = ((match + usual * (DRAWN * size + FLOOR)) / ((1 + DRAWN) * size + FLOOR)).clamp(0.05, 0.98)
            agreements = [map_[:, 1:2] / (map_[:, :1] * map_[:, 2:] + FLOOR**2).sqrt() for map_ in (local, whole)]
            evidence += [trust - usual, agreements[0], agreements[1].expand_as(trust)]
        else:
            trust = torch.full_like(around(last[:, :1]), usual)
            evidence += [torch.zeros_like(trust)] * 3
        trusts.append(trust)
    return torch.cat(trusts, 1), torch.cat(evidence, 1)


def halved(motion: Motion) -> Motion:
    """Return the motion at half the resolution, in pixels of that."""
    maps = (motion.last, motion.before, motion.flow, motion.older, motion.smooth, motion.doubt, motion.activity)
    last, before, flow, older, smooth, doubt, activity = (functional.avg_pool2d(part, 2) for part in maps)
    flows = (flow / 2, older / 2, smooth / 2)
    return Motion(last, before, *flows, doubt, motion.trust, motion.evidence, activity)


def around(maps: Tensor, cell: int = PADDING) -> Tensor:
    """Return means over a neighborhood of about five cells of that many pixels, one value a cell."""
    maps = functional.avg_pool2d(maps, cell)
    for _ in range(2):
        maps = functional.avg_pool2d(functional.pad(maps, (1, 1, 1, 1), "replicate"), 3, 1)
    return maps


def enlarge(maps: Tensor, factor: int = 2) -> Tensor:
    """Resize maps `(B, C, h, w)` by a whole factor, bilinear."""
    return functional.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
