"""How blurred and how right one prediction is where two futures are possible and both are known.

Distances are root mean squares over an image's pixels and channels. All functions take predictions `(N, C, H, W)` in
[0, 1], one for each fork, and are pure.
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

SHARP_SHARE = 0.5  # of the way from a future to the mean of both


@dataclass(frozen=True)
class Forks:
    """Forking scenes: the known frames `(N, T, C, H, W)` and both true next frames `(N, C, H, W)`, in [0, 1]."""

    context: Tensor
    left: Tensor
    right: Tensor

    @property
    def ghost(self) -> Tensor:
        """The mean of both futures: what minimises the expected squared error."""
        return (self.left + self.right) / 2


def find_forks(world: ForkingBallWorld, count: int) -> Forks:
    """The first `count` forking scenes of a world."""
    indices: list[int] = []
    scene = 0
    while len(indices) < count:
        if world.scene(scene).kind == "fork":
            indices.append(scene)
        scene += 1
    left, right = (torch.stack([to_frames(world.clip(index, side)) for index in indices]) for side in (-1, 1))
    return Forks(left[:, : world.context_frames], left[:, world.context_frames], right[:, world.context_frames])


def find_certain(world: ForkingBallWorld, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` scenes with one future: known frames `(N, T, C, H, W)` and true next ones `(N, C, H, W)`."""
    indices = islice((scene for scene in count_up() if world.scene(scene).kind != "fork"), count)
    clips = torch.stack([to_frames(world.clip(index, 1)) for index in indices])
    return clips[:, : world.context_frames], clips[:, world.context_frames]


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Root mean squared difference, `(N, C, H, W)` each -> `(N,)`."""
    return (one.float() - other.float()).square().flatten(1).mean(1).sqrt()


def nearest_distance(prediction: Tensor, forks: Forks) -> Tensor:
    """The distance to the nearer future, `(N,)`."""
    return torch.minimum(distance(prediction, forks.left), distance(prediction, forks.right))


def is_near(prediction: Tensor, forks: Forks) -> Tensor:
    """Whether a prediction is nearer to one of the futures than to their mean, `(N,)` bool."""
    return nearest_distance(prediction, forks) < distance(prediction, forks.ghost)


def is_sharp(prediction: Tensor, forks: Forks) -> Tensor:
    """Whether a prediction's distance to the nearer future is under half of that future's to the mean, `(N,)` bool.

    Both futures are equally far from their mean.
    """
    return nearest_distance(prediction, forks) < SHARP_SHARE * distance(forks.left, forks.ghost)


def goes_left(prediction: Tensor, forks: Forks) -> Tensor:
    """Whether the nearer future is the left one, `(N,)` bool."""
    return distance(prediction, forks.left) < distance(prediction, forks.right)


def of_each_draw(measure: Callable[[Tensor, Forks], Tensor], draws: Tensor, forks: Forks) -> Tensor:
    """A measure `(N,)` for every one of several draws `(N, S, C, H, W)` of each fork's future -> `(N, S)`."""
    return torch.stack([measure(draw, forks) for draw in draws.unbind(1)], 1)


def both_occur(draws: Tensor, forks: Forks) -> Tensor:
    """Whether both futures are among the draws `(N, S, C, H, W)` of a fork, `(N,)` bool: a draw shows the future that
    it is nearest to, if it is nearer to that than to the mean of both (a ghost is no occurrence of either)."""
    near, left = of_each_draw(is_near, draws, forks), of_each_draw(goes_left, draws, forks)
    return (near & left).any(1) & (near & ~left).any(1)


def sharp_share(draws: Tensor, forks: Forks) -> float:
    """The share of all draws `(N, S, C, H, W)` that are sharp."""
    return float(of_each_draw(is_sharp, draws, forks).float().mean())


def pooled_psnr(prediction: Tensor, forks: Forks) -> float:
    """PSNR in dB of the squared error pooled over all pixels and both outcomes of the coin, peak 1.

    Pooled, because a mean of decibels rewards a gambler: the rare hit counts without bound.
    """
    errors = [distance(prediction, future).square().mean() for future in (forks.left, forks.right)]
    return float(-10 * torch.log10(torch.stack(errors).mean()))


def gradient_energy(prediction: Tensor, forks: Forks) -> float:
    """Squared differences of neighbouring pixels, as a share of the true frames': 1 is as sharp as the truth.

    Squared, because the absolute differences of two half-bright balls are those of one.
    """

    def energy(images: Tensor) -> Tensor:
        return images.float().diff(dim=-1).square().sum() + images.float().diff(dim=-2).square().sum()

    return float(energy(prediction) / (energy(forks.left) + energy(forks.right)) * 2)
