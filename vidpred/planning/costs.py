"""Costs of predicted frames: `(N, K, C, H, W)` in [0, 1] -> `(N, K)`, for N plans of K steps.

A cost is any callable of that kind (or one that returns `(N,)`); these are the usual ones. Each may be limited to the
last step by `last_only`. All are differentiable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from vidpred.planning.world_model import Cost, summed


def last_only(cost: Cost) -> Cost:
    """The cost of a plan's last frame alone."""
    return lambda frames: summed(cost(frames[:, -1:]))


def best_step(cost: Cost, delay: float = 0.02) -> Cost:
    """For goals that count as soon as they are reached: the cost `(N,)` of the step of a plan that costs least; every
    step before it adds the share `delay`. A plan judged by its last step may put the goal off for ever."""

    def earliest(frames: Tensor) -> Tensor:
        costs = cost(frames)
        return (costs * (1 + delay * torch.arange(costs.shape[1], device=costs.device))).amin(1)

    return earliest


@dataclass(frozen=True)
class GoalImage:
    """Mean squared difference to a goal image `(C, H, W)`, averaged over blurred versions of both.

    scales: sides of the averaging windows, in pixels. Where thing and goal do not overlap yet, only the wide ones tell
    nearer from farther.
    """

    goal: Tensor
    scales: tuple[int, ...] = (1, 5, 11)

    def __call__(self, frames: Tensor) -> Tensor:
        difference = (frames - self.goal.to(frames)).flatten(0, 1)
        total = torch.zeros(frames.shape[:2], device=frames.device)
        for side in self.scales:
            total = total + (_blurred(difference, side) ** 2).mean((1, 2, 3)).unflatten(0, frames.shape[:2])
        return total / len(self.scales)


@dataclass(frozen=True)
class GoalObjects:
    """For things of known colours, how far they are from where a goal image `(C, H, W)` shows them: the distance of
    their mean places, all together one point, in widths of the image; and `shape` times how unlike their blurred maps
    of likeness to the colour are to the goal's (0: alike; 1: as an image without the thing), which tells turned from
    unturned. A thing's weight does not depend on its size, as it does in `GoalImage`.

    colours: each `(C,)` in [0, 1]; scales: sides of the averaging windows, in pixels; width: of colours, as below.
    """

    goal: Tensor
    colors: Sequence[Sequence[float]]
    shape: float = 0.05
    scales: tuple[int, ...] = (5, 11)
    width: float = 0.1

    def __call__(self, frames: Tensor) -> Tensor:
        goal = self.goal.to(frames)
        apart, unlike = torch.zeros((2, *frames.shape[:2]), device=frames.device).unbind()
        for color in self.colors:
            places = [color_centroid(seen, color, self.width) for seen in (frames, goal)]
            apart = apart + distance(*places) ** 2
            seen, wanted = (color_weights(image, color, self.width) for image in (frames, goal))
            for side in self.scales:
                is_one, shall_be = _blurred(seen, side), _blurred(wanted[None], side)
                share = ((is_one - shall_be) ** 2).sum((-2, -1)) / (shall_be**2).sum()
                unlike = unlike + share / (len(self.scales) * len(self.colors))
        return (apart + 1e-12).sqrt() + self.shape * (unlike + 1e-12).sqrt()


@dataclass(frozen=True)
class DesignatedPixel:
    """How far things of one colour are from a place, in widths of the image (compare Finn & Levine 2017, "Deep visual
    foresight": there the model moves a designated pixel; here its colour tells where it is).

    The place of a colour is the mean place of all pixels, weighted by exp(-squared distance of colours / (2 width^2)).
    colour: `(C,)` in [0, 1]; goal: (x, y) in [0, 1].
    """

    color: Sequence[float]
    goal: Sequence[float]
    width: float = 0.1

    def __call__(self, frames: Tensor) -> Tensor:
        goal = torch.tensor(list(self.goal), device=frames.device, dtype=frames.dtype)
        return distance(color_centroid(frames, self.color, self.width), goal)


@dataclass(frozen=True)
class RegionMask:
    """The share of a colour that lies outside a region. mask: `(H, W)`, 1 inside; colour and width as above."""

    color: Sequence[float]
    mask: Tensor
    width: float = 0.1

    def __call__(self, frames: Tensor) -> Tensor:
        weights = color_weights(frames, self.color, self.width)
        return 1 - (weights * self.mask.to(weights)).sum((-2, -1)) / weights.sum((-2, -1))


@dataclass(frozen=True)
class PushBehind:
    """For a tool that pushes a thing to a goal: the thing's distance from it, and `weight` times the tool's distance
    from the place behind the thing, as seen from the goal, from which to push it.

    tool, thing: colours `(C,)`; goal: (x, y); reach: how far behind the thing's middle the tool belongs.
    """

    tool: Sequence[float]
    thing: Sequence[float]
    goal: Sequence[float]
    reach: float
    weight: float = 0.3
    width: float = 0.1

    def __call__(self, frames: Tensor) -> Tensor:
        goal = torch.tensor(list(self.goal), device=frames.device, dtype=frames.dtype)
        thing = color_centroid(frames, self.thing, self.width)
        tool = color_centroid(frames, self.tool, self.width)
        missing = goal - thing
        far = distance(thing, goal)
        behind = thing - self.reach * missing / (far[..., None] + 1e-3)
        return far + self.weight * distance(tool, behind)


def _blurred(images: Tensor, side: int) -> Tensor:
    """Averages over windows of side x side pixels."""
    return functional.avg_pool2d(images, side, 1, side // 2) if side > 1 else images


def color_weights(frames: Tensor, color: Sequence[float], width: float) -> Tensor:
    """How alike every pixel is to a colour, `(..., H, W)`; a little everywhere, so that sums are never 0."""
    wanted = torch.tensor(list(color), device=frames.device, dtype=frames.dtype)[:, None, None]
    return torch.exp(-((frames - wanted) ** 2).sum(-3) / (2 * width**2)) + 1e-6


def color_centroid(frames: Tensor, color: Sequence[float], width: float = 0.1) -> Tensor:
    """The mean place of a colour in frames `(..., C, H, W)`: `(..., 2)`, x and y in [0, 1]."""
    weights = color_weights(frames, color, width)
    weights = weights / weights.sum((-2, -1), keepdim=True)
    height, wide = frames.shape[-2:]
    x = (torch.arange(wide, device=frames.device) + 0.5) / wide
    y = (torch.arange(height, device=frames.device) + 0.5) / height
    return torch.stack([(weights.sum(-2) * x).sum(-1), (weights.sum(-1) * y).sum(-1)], -1)


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Euclidean, with a gradient everywhere."""
    return ((one - other) ** 2).sum(-1).add(1e-12).sqrt()
