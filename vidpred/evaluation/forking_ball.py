"""Measure how sharp and how accurate predictions are in scenes with two possible futures, both known.

Distances are root mean squares over an image's pixels and channels. All functions take predictions `(N, C, H, W)` in
[0, 1], one for each scene, and are pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count as count_up
from itertools import islice

import torch
from torch import Tensor

from vidpred.data.sources import to_frames
from vidpred.data.worlds.forking_ball import ForkingBallWorld

SHARP_SHARE = 0.5  # maximum distance of a sharp prediction, as a share of the distance from a future to the mean


@dataclass(frozen=True)
class ForkingScenes:
    """Forking scenes: context frames `(N, T, C, H, W)` and both true next frames `(N, C, H, W)`, in [0, 1]."""

    context: Tensor
    left: Tensor
    right: Tensor

    @property
    def ghost(self) -> Tensor:
        """The mean of both futures, `(N, C, H, W)`, which minimizes the expected squared error."""
        return (self.left + self.right) / 2


def find_forking_scenes(world: ForkingBallWorld, count: int) -> ForkingScenes:
    """Return the first `count` scenes of a world whose ball may fall to either side."""
    indices: list[int] = []
    scene = 0
    while len(indices) < count:
        if world.scene(scene).kind == "fork":
            indices.append(scene)
        scene += 1
    left, right = (torch.stack([to_frames(world.clip(index, side)) for index in indices]) for side in (-1, 1))
    return ForkingScenes(left[:, : world.context_frames], left[:, world.context_frames], right[:, world.context_frames])


def find_certain_scenes(world: ForkingBallWorld, count: int) -> tuple[Tensor, Tensor]:
    """Return the first `count` scenes with one future: contexts `(N, T, C, H, W)` and next frames `(N, C, H, W)`."""
    indices = islice((number for number in count_up() if world.scene(number).kind != "fork"), count)
    clips = torch.stack([to_frames(world.clip(index, 1)) for index in indices])
    return clips[:, : world.context_frames], clips[:, world.context_frames]


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Compute the root mean squared difference `(N,)` of images `(N, C, H, W)`."""
    return (one.float() - other.float()).square().flatten(1).mean(1).sqrt()


def nearest_distance(prediction: Tensor, scenes: ForkingScenes) -> Tensor:
    """Compute the distance of predictions `(N, C, H, W)` to the nearer of both futures, `(N,)`, see `distance`."""
    return torch.minimum(distance(prediction, scenes.left), distance(prediction, scenes.right))


def is_near(prediction: Tensor, scenes: ForkingScenes) -> Tensor:
    """Return whether each prediction `(N, C, H, W)` is nearer to one of the futures than to their mean, `(N,)` bool."""
    return nearest_distance(prediction, scenes) < distance(prediction, scenes.ghost)


def is_sharp(prediction: Tensor, scenes: ForkingScenes) -> Tensor:
    """Return whether each prediction is less than half as far from the nearer future as the mean is, `(N,)` bool.

    Both futures are equally far from their mean.
    """
    return nearest_distance(prediction, scenes) < SHARP_SHARE * distance(scenes.left, scenes.ghost)


def goes_left(prediction: Tensor, scenes: ForkingScenes) -> Tensor:
    """Return whether the future nearer to each prediction `(N, C, H, W)` is the left one, `(N,)` bool."""
    return distance(prediction, scenes.left) < distance(prediction, scenes.right)


def map_draws(measure: Callable[[Tensor, ForkingScenes], Tensor], draws: Tensor, scenes: ForkingScenes) -> Tensor:
    """Apply a function that returns `(N,)` to each of S draws `(N, S, C, H, W)` of every scene's future: `(N, S)`."""
    return torch.stack([measure(draw, scenes) for draw in draws.unbind(1)], 1)


def both_occur(draws: Tensor, scenes: ForkingScenes) -> Tensor:
    """Return whether both futures are among the draws `(N, S, C, H, W)` of each scene, `(N,)` bool.

    A draw counts for its nearest future if it is nearer to that than to the mean of both.
    """
    near, left = map_draws(is_near, draws, scenes), map_draws(goes_left, draws, scenes)
    return (near & left).any(1) & (near & ~left).any(1)


def sharp_share(draws: Tensor, scenes: ForkingScenes) -> float:
    """Compute the share in [0, 1] of all draws `(N, S, C, H, W)` that are sharp, see `is_sharp`."""
    return float(map_draws(is_sharp, draws, scenes).float().mean())


def pooled_psnr(prediction: Tensor, scenes: ForkingScenes) -> float:
    """Compute the PSNR in dB, peak 1, of the squared error pooled over all pixels and both futures.

    The error is pooled because a mean of decibels rewards guessing: a single exact hit is worth infinitely many dB.
    """
    errors = [distance(prediction, future).square().mean() for future in (scenes.left, scenes.right)]
    return float(-10 * torch.log10(torch.stack(errors).mean()))


def gradient_energy(prediction: Tensor, scenes: ForkingScenes) -> float:
    """Compute the squared differences of neighboring pixels relative to the true frames: 1 is as sharp as they are.

    The differences are squared because the absolute differences of two half-bright balls are those of one ball.
    """

    def energy(images: Tensor) -> Tensor:
        return images.float().diff(dim=-1).square().sum() + images.float().diff(dim=-2).square().sum()

    return float(energy(prediction) / (energy(scenes.left) + energy(scenes.right)) * 2)
