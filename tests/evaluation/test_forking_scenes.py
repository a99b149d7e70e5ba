"""Metrics of forking scenes on images with known values, and on the world's images."""

from __future__ import annotations

import math

import pytest
import torch

from vidpred.data.sources import to_frames
from vidpred.data.worlds.forking_ball import ForkingBallWorld
from vidpred.evaluation.forking_ball import (
    ForkingScenes,
    both_occur,
    distance,
    find_certain_scenes,
    find_forking_scenes,
    goes_left,
    gradient_energy,
    is_near,
    is_sharp,
    map_draws,
    pooled_psnr,
    sharp_share,
)


@pytest.fixture(scope="module")
def forks() -> ForkingScenes:
    return find_forking_scenes(ForkingBallWorld(4, 1, seed=77), 40)


@pytest.fixture
def squares() -> ForkingScenes:
    """Two squares of 4 pixels of 64, white on black, on either side."""
    left, right = torch.zeros(2, 3, 3, 8, 8)
    left[..., 2:4, 0:2] = 1
    right[..., 2:4, 6:8] = 1
    return ForkingScenes(torch.zeros(3, 4, 3, 8, 8), left, right)


def test_only_forking_scenes_are_found(forks: ForkingScenes) -> None:
    assert forks.context.shape == (40, 4, 3, 32, 32)
    assert bool((distance(forks.left, forks.right) > 0.02).all())


def test_the_ghost_is_neither_near_nor_sharp(forks: ForkingScenes) -> None:
    assert not is_near(forks.ghost, forks).any()
    assert not is_sharp(forks.ghost, forks).any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_true_future_is_both(forks: ForkingScenes, side: str) -> None:
    future = getattr(forks, side)
    assert bool(is_near(future, forks).all())
    assert bool(is_sharp(future, forks).all())
    assert bool((goes_left(future, forks) == (side == "left")).all())


def test_thresholds_of_near_and_sharp(forks: ForkingScenes) -> None:
    """Halfway from a future to the ghost is the limit of sharp, and equally near to both."""
    for share, expected in ((0.49, True), (0.51, False)):
        mixed = torch.lerp(forks.left, forks.ghost, share)
        assert bool((is_sharp(mixed, forks) == expected).all())
        assert bool((is_near(mixed, forks) == expected).all())


def test_a_vanished_ball_is_not_near(squares: ForkingScenes) -> None:
    """A black image is 1 from a future (in units of the root of 4 white pixels) and sqrt(1/2) from the ghost."""
    assert not is_near(torch.zeros(3, 3, 8, 8), squares).any()


def test_pooled_psnr_by_hand(squares: ForkingScenes) -> None:
    """The ghost has an error of 1/2 on 8 of 64 pixels, mean 1/32; a future one of 1 on 8 pixels half of the time, 1/16.

    A mean of decibels would be infinite for a guess that is right half of the time.
    """
    assert pooled_psnr(squares.ghost, squares) == pytest.approx(10 * math.log10(32))
    assert pooled_psnr(squares.left, squares) == pytest.approx(10 * math.log10(16))


def test_gradient_energy_by_hand(squares: ForkingScenes) -> None:
    """Each square touches the border and has 6 visible edges; two half-bright squares have (1/2)^2 each."""
    assert gradient_energy(squares.left, squares) == gradient_energy(squares.right, squares) == 1
    assert gradient_energy(squares.ghost, squares) == pytest.approx(0.5)
    assert gradient_energy(torch.ones(3, 3, 8, 8), squares) == 0


def draws_of(forks: ForkingScenes, sides: list[str]) -> torch.Tensor:
    """Return draws `(N, S, C, H, W)`: for every scene the same sides in the same order."""
    return torch.stack([getattr(forks, side) for side in sides], 1)


@pytest.mark.parametrize(
    ("sides", "both", "sharp"),
    [
        (["left", "right", "left"], True, 1.0),
        (["left", "left", "left"], False, 1.0),
        (["ghost", "ghost", "ghost"], False, 0.0),
        (["ghost", "left", "ghost"], False, 1 / 3),
        (["right", "left", "ghost"], True, 2 / 3),
    ],
)
def test_draws_of_ideal_samplers(forks: ForkingScenes, sides: list[str], both: bool, sharp: float) -> None:
    draws = draws_of(forks, sides)
    assert bool((both_occur(draws, forks) == both).all())
    assert sharp_share(draws, forks) == pytest.approx(sharp)


def test_a_fair_coin_gives_both_futures_at_the_expected_rate(forks: ForkingScenes) -> None:
    """All draws of a scene are on one side with probability 2^(1-S); each scene has an independent coin."""
    heads = torch.rand(len(forks.left), 3, generator=torch.Generator().manual_seed(0)) < 0.5
    draws = torch.where(heads[..., None, None, None], forks.left[:, None], forks.right[:, None])
    assert torch.equal(both_occur(draws, forks), heads.any(1) & ~heads.all(1))


def test_of_each_draw_keeps_the_order_of_draws(forks: ForkingScenes) -> None:
    left = map_draws(goes_left, draws_of(forks, ["left", "right"]), forks)
    assert left.shape == (40, 2)
    assert bool(left[:, 0].all())
    assert not bool(left[:, 1].any())


def test_scenes_that_do_not_fork() -> None:
    world = ForkingBallWorld(4, 1, seed=77)
    context, future = find_certain_scenes(world, 30)
    assert context.shape == (30, 4, 3, 32, 32)
    certain = [scene for scene in range(200) if world.scene(scene).kind != "fork"]
    for number, scene in enumerate(certain[:30]):
        assert len(world.futures(scene)) == 1
        assert torch.equal(future[number], to_frames(world.futures(scene)[0])[0])


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_ghost_that_leans_to_a_side_does_not_count(forks: ForkingScenes, side: str) -> None:
    """One draw is a ghost with one half slightly brighter, the other a sharp image of the other future."""
    other = "right" if side == "left" else "left"
    leaning = torch.lerp(forks.ghost, getattr(forks, side), 0.4)
    assert bool((goes_left(leaning, forks) == (side == "left")).all())
    assert not bool(both_occur(torch.stack([leaning, getattr(forks, other)], 1), forks).any())
