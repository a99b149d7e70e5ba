"""Bouncing balls obey mechanics: energy, momentum, walls; clips are a function of (seed, index)."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.worlds.balls import RADIUS, Balls, make_balls, render


def test_a_central_collision_exchanges_velocities() -> None:
    """Check two balls 0.8 apart with radii of 0.2, approaching at 0.3 per frame: they touch after 4 / 3 frames."""
    balls = Balls(np.array([[-0.4, 0], [0.4, 0]]), np.array([[0.2, 0], [-0.1, 0]]), 0.2)
    later = balls.after(2)
    np.testing.assert_allclose(later.velocities, [[-0.1, 0], [0.2, 0]], atol=1e-12)
    touched = np.array([-0.4 + 0.2 * 4 / 3, 0.4 - 0.1 * 4 / 3])
    np.testing.assert_allclose(later.places[:, 0], touched + np.array([-0.1, 0.2]) * (2 - 4 / 3), atol=1e-12)


def test_an_oblique_collision_exchanges_the_normal_components() -> None:
    """Check balls that touch at time 0 along the diagonal: half of (0.1, 0) is passed on along it, half remains."""
    step = 0.4 / 2**0.5
    balls = Balls(np.array([[0.0, 0], [step, step]]), np.array([[0.1, 0], [0.0, 0]]), 0.2)
    np.testing.assert_allclose(balls.after(0.01).velocities, [[0.05, -0.05], [0.05, 0.05]], atol=1e-9)


def test_walls_reflect() -> None:
    balls = Balls(np.array([[0.5, -0.6]]), np.array([[0.3, -0.1]]), 0.2).after(4)
    np.testing.assert_allclose(balls.velocities, [[-0.3, 0.1]])
    np.testing.assert_allclose(balls.places, [[0.8 - (1.2 - 0.3), -0.8 + 0.2]])


def test_energy_and_momentum_are_conserved() -> None:
    """Check momentum only without walls, which do not conserve it."""
    for index in range(5):
        balls = make_balls(3, index)
        later = balls.after(100)
        assert not np.allclose(later.velocities, balls.velocities)
        assert (later.velocities**2).sum() == pytest.approx((balls.velocities**2).sum(), rel=1e-12)
    free = Balls(np.array([[-0.3, 0], [0.3, 0.1], [0.0, -0.4]]), np.array([[0.1, 0.02], [-0.1, 0], [0, 0.1]]), 0.2)
    later = free.after(4)
    assert not np.allclose(later.velocities, free.velocities)
    np.testing.assert_allclose(later.velocities.sum(0), free.velocities.sum(0), atol=1e-12)


def test_nothing_overlaps_or_leaves_the_box() -> None:
    balls = make_balls(4, 0)
    for _ in range(200):
        balls = balls.after(0.7)
        assert np.abs(balls.places).max() <= 1 - RADIUS + 1e-9
        assert all(np.linalg.norm(a - b) >= 2 * RADIUS - 1e-9 for a, b in combinations(balls.places, 2))


def test_times_add_up() -> None:
    balls = make_balls(5, 1)
    np.testing.assert_allclose(balls.after(7).after(13).places, balls.after(20).places, atol=1e-9)


def test_frames_show_where_the_balls_are() -> None:
    """Check that the center of brightness is that of a single ball, x to the right."""
    frame = render(Balls(np.array([[0.5, -0.25]]), np.zeros((1, 2))), 64)[..., 0].astype(float)
    middles = (np.arange(64) + 0.5) / 32 - 1
    assert (frame.sum(0) @ middles) / frame.sum() == pytest.approx(0.5, abs=0.01)
    assert (frame.sum(1) @ middles) / frame.sum() == pytest.approx(-0.25, abs=0.01)
    assert frame.max() == 255


def test_the_world_is_a_source() -> None:
    """Use five context frames and one future frame, as for the rotating solids."""
    settings = DataSettings(
        world={"name": "bouncing_balls"}, context_frames=5, channels=3, crop_size=16, augment={"horizontal_flip": False}
    )
    source = build_source(settings, "train", range(6))
    batch = source.draw([7, 8], [0, 1], 0)
    assert batch.context.shape == (2, 5, 3, 16, 16)
    assert batch.future.shape == (2, 1, 3, 16, 16)
    np.testing.assert_array_equal(source.window(7)[5].transpose(2, 0, 1), batch.future[0, 0].numpy())
    assert source.clip_name(7) == "bouncing balls"
    assert not np.array_equal(source.window(7), build_source(settings, "test", range(6)).window(7))
