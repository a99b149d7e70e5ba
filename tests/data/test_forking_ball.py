"""The forking-ball world: two equally likely futures, both available; everything else is deterministic."""

from __future__ import annotations

import numpy as np
import pytest

from vidpred.data.settings import DataSettings
from vidpred.data.worlds.forking_ball import KIND_SHARES, KINDS, ForkingBallWorld, WorldWindows


def test_a_clip_is_a_function_of_its_index_and_side() -> None:
    world, again = ForkingBallWorld(4, 2, seed=5), ForkingBallWorld(4, 2, seed=5)
    assert np.array_equal(world.clip(7, 1), again.clip(7, 1))
    assert not np.array_equal(world.clip(7, 1), world.clip(8, 1))
    assert world.clip(0, 1).shape == (6, 32, 32, 3)


@pytest.mark.slow
def test_the_context_does_not_reveal_the_side() -> None:
    world = ForkingBallWorld(4, 3)
    for index in range(60):
        left, right = world.clip(index, -1), world.clip(index, 1)
        assert np.array_equal(left[:4], right[:4])
        forks = world.scene(index).kind == "fork"
        assert np.array_equal(left[4:], right[4:]) is not forks
        assert len(world.futures(index)) == (2 if forks else 1)


def test_the_two_futures_mirror_each_other() -> None:
    """Check that in the two futures of a fork, the ball is equally far left and right of its column."""
    world = ForkingBallWorld(4, 1)
    index = next(i for i in range(100) if world.scene(i).kind == "fork")
    scene = world.scene(index)
    left, right = world._positions(scene, -1)[-1], world._positions(scene, 1)[-1]
    assert np.isclose((left[0] + right[0]) / 2, scene.column)
    assert np.isclose(right[0] - scene.column, 1.5 * scene.radius + 0.8)
    assert left[1] == right[1]


@pytest.mark.slow
def test_shares_of_kinds() -> None:
    world = ForkingBallWorld(4, 1)
    kinds = [world.scene(index).kind for index in range(2000)]
    for kind, share in zip(KINDS, KIND_SHARES, strict=True):
        # Three standard deviations of a share of 2000 draws.
        assert abs(kinds.count(kind) / 2000 - share) < 3 * np.sqrt(share * (1 - share) / 2000)


@pytest.mark.slow
def test_samples_draw_a_side_and_windows_do_not() -> None:
    windows = WorldWindows(DataSettings(), [0, 1, 2, 3, 4], count=50, seed=3)
    index = next(i for i in range(50) if windows.world.scene(i).kind == "fork")
    assert np.array_equal(windows.window(index), windows.window(index))
    drawn = {windows.sample(index, np.random.default_rng(seed)).tobytes() for seed in range(40)}
    assert len(drawn) == 2
    heads = [windows.sample(index, np.random.default_rng(seed)).tobytes() == min(drawn) for seed in range(400)]
    assert abs(sum(heads) - 200) < 3 * np.sqrt(400) / 2


def test_size_and_channels() -> None:
    assert ForkingBallWorld(2, 1, side=64, channels=1).clip(0, 1).shape == (3, 64, 64, 1)
