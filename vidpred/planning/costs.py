"""Costs of predicted frames: `(N, K, C, H, W)` in [0, 1] -> `(N, K)`, for N plans of K steps.

A cost is any such callable (or one that returns `(N,)`); these are the usual ones. `last_only` limits a cost to the
last step. All are differentiable. `vidpred.planning.object_pose` has one more, `ObjectPose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from vidpred.planning.inputs import Cost, sum_over_steps


def last_only(cost: Cost) -> Cost:
    """Return the cost of a plan's last frame only."""
    return lambda frames: sum_over_steps(cost(frames[:, -1:]))


def best_step(cost: Cost, delay: float = 0.02, per_step: float = 0.0) -> Cost:
    """Return the cost `(N,)` of a plan's best step, for goals that count as soon as they are reached.

    With the cost of the last step, a plan may postpone the goal forever.

    Args:
        cost: Cost of frames, `(N, K)`.
        delay: Share of the cost to add for every step before the best one.
        per_step: Constant to add for every step before the best one.
    """

    def earliest(frames: Tensor) -> Tensor:
        costs = cost(frames)
        steps = torch.arange(costs.shape[1], device=costs.device)
        return (costs * (1 + delay * steps) + per_step * steps).amin(1)

    return earliest


@dataclass(frozen=True)
class GoalImage:
    """Mean squared difference to a goal image, averaged over blurred versions of both.

    Attributes:
        goal: `(C, H, W)` in [0, 1].
        scales: Sides of the averaging windows in pixels. Only the wide ones depend on the distance between an object
            and its goal while they do not overlap.
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
    """Distance of objects of known colors from their positions in a goal image.

    The distance is between the centroids of all objects, taken as one point, in widths of the image. Added to it is the
    difference of their blurred color maps (0: equal; 1: an image without the object), which depends on rotation. Unlike
    in `GoalImage`, an object's weight does not depend on its size.

    Attributes:
        goal: `(C, H, W)` in [0, 1].
        colors: Colors `(C,)` in [0, 1].
        shape: Weight of the difference of the color maps.
        scales: Sides of the averaging windows in pixels.
        width: Width of the colors, see `color_weights`.
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
            places = [color_centroid(images, color, self.width) for images in (frames, goal)]
            apart = apart + distance(*places) ** 2
            weights, goal_weights = (color_weights(images, color, self.width) for images in (frames, goal))
            for side in self.scales:
                blurred, target = _blurred(weights, side), _blurred(goal_weights[None], side)
                share = ((blurred - target) ** 2).sum((-2, -1)) / (target**2).sum()
                unlike = unlike + share / (len(self.scales) * len(self.colors))
        return (apart + 1e-12).sqrt() + self.shape * (unlike + 1e-12).sqrt()


@dataclass(frozen=True)
class DesignatedPixel:
    """Distance of the objects of one color from a position, in widths of the image.

    Compare Finn & Levine 2017, "Deep visual foresight", where the model moves a designated pixel; here the pixel is
    found by its color.

    Attributes:
        color: `(C,)` in [0, 1].
        goal: (x, y) in [0, 1].
        width: Width of the color, see `color_weights`.
    """

    color: Sequence[float]
    goal: Sequence[float]
    width: float = 0.1

    def __call__(self, frames: Tensor) -> Tensor:
        goal = torch.tensor(list(self.goal), device=frames.device, dtype=frames.dtype)
        return distance(color_centroid(frames, self.color, self.width), goal)


@dataclass(frozen=True)
class RegionMask:
    """Share of a color that lies outside a region.

    Attributes:
        color: `(C,)` in [0, 1].
        mask: `(H, W)`, 1 inside the region.
        width: Width of the color, see `color_weights`.
    """

    color: Sequence[float]
    mask: Tensor
    width: float = 0.1

    def __call__(self, frames: Tensor) -> Tensor:
        weights = color_weights(frames, self.color, self.width)
        return 1 - (weights * self.mask.to(weights)).sum((-2, -1)) / weights.sum((-2, -1))


@dataclass(frozen=True)
class PushBehind:
    """Cost of pushing an object to a goal with a tool.

    It is the object's distance from the goal, plus `weight` times the tool's distance from the position behind the
    object, on the line from the goal, from which to push it.

    Attributes:
        tool: Color `(C,)` of the tool.
        thing: Color `(C,)` of the object.
        goal: (x, y) in [0, 1].
        reach: Distance of the position behind the object from the object's center.
        weight: Weight of the tool's distance.
        width: Width of the colors, see `color_weights`.
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
    """Average over windows of side x side pixels."""
    return functional.avg_pool2d(images, side, 1, side // 2) if side > 1 else images


def color_weights(frames: Tensor, color: Sequence[float], width: float) -> Tensor:
    """Compute the similarity of every pixel to a color: exp(-squared distance / (2 width^2)), `(..., H, W)`.

    A small constant is added, so that sums are never 0.
    """
    target = torch.tensor(list(color), device=frames.device, dtype=frames.dtype)[:, None, None]
    return torch.exp(-((frames - target) ** 2).sum(-3) / (2 * width**2)) + 1e-6


def color_centroid(frames: Tensor, color: Sequence[float], width: float = 0.1) -> Tensor:
    """Compute the centroid `(..., 2)` of a color in frames `(..., C, H, W)`, x and y in [0, 1]."""
    weights = color_weights(frames, color, width)
    weights = weights / weights.sum((-2, -1), keepdim=True)
    height, wide = frames.shape[-2:]
    x = (torch.arange(wide, device=frames.device) + 0.5) / wide
    y = (torch.arange(height, device=frames.device) + 0.5) / height
    return torch.stack([(weights.sum(-2) * x).sum(-1), (weights.sum(-1) * y).sum(-1)], -1)


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Compute the Euclidean distance over the last dimension, `(..., n)` to `(...)`, with a gradient also at 0."""
    return ((one - other) ** 2).sum(-1).add(1e-12).sqrt()
