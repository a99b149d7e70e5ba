"""Candidates for a future frame: the last frame and its warps along measured motion, and how they are blended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as functional
from torch import Tensor

from vidpred.models.motion_estimation import FLOOR, LEADS, PADDING, Motion, around, enlarge
from vidpred.models.optical_flow import push, smooth_displacements, warp, warp_backward

# Path smoothing in pixels per frame ahead. Tuned untrained at frame 8 on development and train clips: 25.3 dB at 0 and
# 0.25, 25.1 at 0.5, 24.7 at 1, 24.4 at 2. On the development clips alone, whose flow is noisy, 1 is best.
SMOOTHED = 0.35
# Power of the path's shares: a path half way between two likely ones ends at neither's place, so the likelier one
# counts more. Tuned at frame 8: powers 1, 2 and 4 have 24.6, 24.8 and 24.8 dB on four train clips, and 27.5 dB each on
# the development clips; the feature distance is smallest with 2.
DECISION = 2.0
# What one standard deviation of noise changes in the path of frame t+8, half of it in that of t+4: the logarithm of its
# length, its direction in radians, and the logarithm of the share of the last frame. Tuned for the best of 8 samples:
# over the single prediction it gains 0.45 dB on the development clips and 0.33 on five train clips at frame 8; about
# three times as much of the first two gains 0.55 and loses 0.15.
NOISE_EFFECTS, NOISE_LEAD = (0.15, 0.05, 1.0), 8
# Shares of the moved candidates in the share of motion before training; the last frame has the rest.
CANDIDATE_PRIORS = {
    "half way": 0.1, "pushed": 0.5, "steady": 0.2, "earlier": 0.17, "blurred": 0.02, "blurred mean": 0.003,
}  # fmt: skip
NUM_CANDIDATES = 1 + len(CANDIDATE_PRIORS)
PUSHED, STEADY = (1 + list(CANDIDATE_PRIORS).index(name) for name in ("pushed", "steady"))
# Position along the pushed path that each candidate's pixels come from; "steady" has a separate path.
ALONG = (0.0, 0.5, 1.0, 0.0, 1.0, 1.0, 0.5)
REGION_FEATURES, PIXEL_FEATURES = 12 + 3 * len(LEADS), 5  # input channels of the gate and of the detail network


class Scene(NamedTuple):
    """Candidates for one future frame, and features that weigh them.

    Differences are in units of the neighborhood's change, so features do not depend on the amount of motion.

    Attributes:
        path: Displacement (x, y) from each pixel of the future frame to its place in t, `(B, 2, H, W)` in pixels of
            the map, see `push`.
        steady: The same along the smooth flow, see `follow`.
        candidates: `(B, n, C, H, W)`, the last frame and those of `CANDIDATE_PRIORS`; n = 0 if only paths are used.
        prior: Logarithms of their shares at 1/8 of the resolution, `(B, n, h, w)`.
        region_features: Statistics of neighborhoods at 1/8 of the resolution, `(B, REGION_FEATURES, h, w)`.
        pixel_features: Statistics of every pixel, `(B, PIXEL_FEATURES, H, W)`.
    """

    path: Tensor
    steady: Tensor
    candidates: Tensor
    prior: Tensor
    region_features: Tensor
    pixel_features: Tensor

    @property
    def cell(self) -> int:
        """Pixels across a cell of the region features."""
        return int(self.path.shape[-1] // self.region_features.shape[-1])


@torch.no_grad()
def imagine(
    motion: Motion, energies: Tensor, leads: Sequence[int], paths: tuple[Tensor, Tensor], with_candidates: bool = True
) -> Scene:
    """Return the candidates for frames t+lead, see `ahead`, and what weighs them; `energies`: see `energies_of`.

    Sources of pixels come from the flow at t, written to its destination (`push`), from the first path where nothing
    arrives, and from the second one, along the smooth flow. The candidates: the last frame; it moved half as far; as
    pushed; along the smooth flow; t-1 moved; the pushed one slightly blurred; the strongly blurred mean of the first
    and the pushed one.
    """
    path, steady_path = paths
    lead = ahead(leads, path)
    cell, path = motion.cell, push(motion.flow, lead, path, motion.scale)
    copied, channels = motion.last, motion.last.shape[1]
    warped = warp(torch.cat([motion.last, motion.doubt, motion.flow], 1), path)
    pushed, doubt, flow = warped.split([channels, 2, 2], 1)
    pushed, steady = pushed.clamp(0, 1), warp_backward(motion.last, steady_path)
    # From t back to t-1: one more step along the flow where the path ends.
    earlier = warp_backward(motion.before, path + flow)
    candidates = []
    if with_candidates:
        half_way = warp_backward(motion.last, path / 2)
        blurred = enlarge(functional.avg_pool2d(pushed, 2))
        blurred_mean = enlarge(functional.avg_pool2d((copied + pushed) / 2, 4), 4)
        candidates = [copied, half_way, pushed, steady, earlier, blurred, blurred_mean]  # as in CANDIDATE_PRIORS
    trust = trust_at(motion.trust, lead)
    prior = torch.cat([1 - trust, *(share * trust for share in CANDIDATE_PRIORS.values())], 1).log()
    differences = [other - pushed for other in (copied, steady, earlier)]
    sizes = torch.cat([difference.abs().mean(1, keepdim=True) for difference in differences], 1)
    pixel_features = (torch.cat([sizes, doubt], 1) / motion.activity).clamp(max=4)
    squares = torch.cat([difference.square().mean(1, keepdim=True) for difference in differences], 1)
    far, unsteady, aged = around(squares, cell).split(1, 1)
    recent, old, speed, turn, unsmooth, activity, contrast = energies.split(1, 1)
    region_features = [
        compare(far, activity), compare(unsteady, far), compare(aged, far), compare(recent, activity),
        compare(old, activity), activity.log() / 4 + 2, (contrast + FLOOR).log() / 4 + 2,
        (speed + 1e-3).log() / 4, compare(turn, speed, 1e-3), compare(unsmooth, speed, 1e-3),
        trust * 2 - 1.5, (lead / 8).expand_as(trust), motion.evidence,
    ]  # fmt: skip
    images = torch.stack(candidates, 1) if candidates else copied[:, None, :0]
    return Scene(
        path, steady_path, images, prior,
        torch.cat(region_features, 1), pixel_features,
    )  # fmt: skip


def energies_of(motion: Motion) -> Tensor:
    """Return means of squares around every cell, the same at every lead, `(B, 7, h, w)`.

    They are of both channels of doubt, the speed, its change, the roughness of the flow, the activity and the edges.
    """
    flows = [motion.scale * part for part in (motion.flow, motion.older - motion.flow, motion.smooth - motion.flow)]
    squares = [part.square().mean(1, keepdim=True) for part in (*motion.doubt.split(1, 1), *flows)]
    edges = (motion.last - enlarge(functional.avg_pool2d(motion.last, 2))).square().mean(1, keepdim=True)
    return around(torch.cat([*squares, motion.activity.square(), edges], 1), motion.cell)


def compare(first: Tensor, second: Tensor, floor: float = FLOOR) -> Tensor:
    """Return half the logarithm of the ratio of two energies, first / second, clamped to [-3, 3].

    `floor` is added to both.
    """
    return (((first + floor) / (second + floor)).log() / 2).clamp(-3, 3)


def ahead(leads: Sequence[int], maps: Tensor) -> Tensor:
    """Return the lead of every sample, `(B, 1, 1, 1)`: a batch has all samples of the first lead, then of the next."""
    each = torch.tensor(leads, dtype=torch.float32, device=maps.device)
    return each.repeat_interleave(maps.shape[0] // len(leads)).view(-1, 1, 1, 1)


def repeat_batch(maps: Tensor, times: int) -> Tensor:
    """Return a batch that many times in a row, a view if it has one sample."""
    return maps.expand(times, *maps.shape).flatten(0, 1)


def split_repeated(maps: Tensor, times: int) -> tuple[Tensor, ...]:
    """Return the parts of a batch that `repeat_batch` made; unlike chunk, an exported program has any batch size."""
    parts: tuple[Tensor, ...] = maps.unflatten(0, (times, -1)).unbind()
    return parts


def trust_at(trust: Tensor, lead: Tensor) -> Tensor:
    """Interpolate trust `(B, leads, h, w)` between `LEADS`, in the logarithm of the leads `(B, 1, 1, 1)`.

    Returns:
        `(B, 1, h, w)`.
    """
    place = lead.log2().clamp(max=len(LEADS) - 1)
    low = place.floor().clamp(max=len(LEADS) - 2)
    index = low.long().expand(-1, 1, *trust.shape[-2:])
    return torch.lerp(trust.gather(1, index), trust.gather(1, index + 1), place - low)


def blend(candidates: Tensor, shares: Tensor) -> Tensor:
    """Blend candidates `(B, n, C, H, W)` by logarithms of shares `(B, n, H, W)` to `(B, C, H, W)`."""
    return (candidates * shares.softmax(1)[:, :, None]).sum(1)


def blend_paths(scene: Scene, shares: Tensor, leads: Sequence[int]) -> Tensor:
    """Return the source of the pixels of frames t+lead, `(B, 2, H, W)`: the mean of the candidates' paths, smoothed.

    Weights are the shares to the power `DECISION`; the Gaussian has `SMOOTHED` of the frame's pixels per frame ahead. A
    mean of values has a ghost at every candidate's place; a mean of places has one image, at a place in between.

    Args:
        scene: The candidates.
        shares: Logarithms, `(B, n, H, W)`.
        leads: Numbers of frames ahead, see `ahead`.
    """
    parts = (shares * DECISION).softmax(1)
    along = (parts * parts.new_tensor(ALONG).view(1, -1, 1, 1)).sum(1, keepdim=True)
    path = along * scene.path + parts[:, STEADY : STEADY + 1] * scene.steady
    sigma = SMOOTHED * scene.cell / PADDING
    each = zip(split_repeated(path, len(leads)), leads, strict=True)
    return torch.cat([smooth_displacements(part, sigma * lead) for part, lead in each])


def vary(scene: Scene, shares: Tensor, leads: Sequence[int], noise: Tensor) -> tuple[Scene, Tensor]:
    """Return another possible future: faster or slower, turned, and more or less likely to stay.

    One draw is one outcome: everything in the frame changes alike, and in all frames in the same direction.

    Args:
        scene: The candidates.
        shares: Logarithms, `(B, n, H, W)`.
        leads: Numbers of frames ahead, see `ahead`; the change grows in proportion.
        noise: `(B, 3, 1, 1)`, standard normal; 0 changes nothing.
    """
    effects = noise.new_tensor(NOISE_EFFECTS).view(1, 3, 1, 1) * ahead(leads, noise) / NOISE_LEAD
    stretch, turn, stay = (noise * effects).split(1, 1)
    along, across = stretch.exp() * turn.cos(), stretch.exp() * turn.sin()
    moved = (
        torch.cat([along * path[:, :1] - across * path[:, 1:], across * path[:, :1] + along * path[:, 1:]], 1)
        for path in (scene.path, scene.steady)
    )
    path, steady = moved
    return scene._replace(path=path, steady=steady), torch.cat([shares[:, :1] + stay, shares[:, 1:]], 1)
