"""Poses of rigid objects, read from images that were painted at known poses."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor

from vidpred.planning.costs import GoalObjects, best_step
from vidpred.planning.envs import pusht
from vidpred.planning.envs.base import to_image
from vidpred.planning.object_pose import ObjectPose, PoseReader, median_image

needs_pusht = pytest.mark.skipif(find_spec("gym_pusht") is None, reason="gym-pusht (the extra sim) is not installed")
COLORS = ((0.3, 0.45, 0.95), (0.55, 0.6, 0.3))
L_SHAPE = ((-9.0, -9.0, -2.0, 9.0), (-2.0, 3.0, 9.0, 9.0))  # rectangles: x and y of two corners, in pixels
DISC, SIZE, FINE = 4.0, (60, 80), 4
L_CENTER = np.array([(-5.5 * 126 + 3.5 * 66) / 192, (0 * 126 + 6 * 66) / 192])


def background() -> Tensor:
    """Return a shaded image with a green square."""
    image = torch.linspace(0.8, 1, SIZE[1]).expand(3, *SIZE).clone()
    image[:, 20:40, 30:50] = torch.tensor([0.56, 0.93, 0.56])[:, None, None]
    return image


def painted(disc: tuple[float, float], place: tuple[float, float], angle: float) -> Tensor:
    """Paint a disc, and an L whose center of rotation is at a place, with 4 x 4 samples a pixel."""
    height, width = SIZE
    y, x = torch.meshgrid(*((torch.arange(n * FINE) + 0.5) / FINE for n in (height, width)), indexing="ij")
    across, down = x - place[0], y - place[1]
    cos, sin = math.cos(angle), math.sin(angle)
    own_x, own_y = cos * across + sin * down, cos * down - sin * across
    inside = torch.zeros_like(x, dtype=torch.bool)
    for left, top, right, bottom in L_SHAPE:
        inside |= (own_x >= left) & (own_x < right) & (own_y >= top) & (own_y < bottom)
    round_one = torch.hypot(x - disc[0], y - disc[1]) < DISC
    image = background().repeat_interleave(FINE, 1).repeat_interleave(FINE, 2)
    for color, mask in zip(COLORS, (round_one, inside), strict=True):
        image = torch.where(mask, torch.tensor(color)[:, None, None], image)
    return torch.nn.functional.avg_pool2d(image, FINE)


def center(place: tuple[float, float], angle: float) -> np.ndarray:
    """Return the centroid of the L, in pixels."""
    return np.array(place) + pusht.rotate_points(L_CENTER, np.array(angle))


POSES = [
    ((15.3, 12.2), (40.0, 31.0), 0.0), ((62.1, 44.6), (41.7, 28.4), 0.4), ((12.0, 40.0), (55.5, 20.2), 3.0),
    ((70.2, 50.0), (20.3, 44.0), -1.7), ((9.0, 51.0), (39.2, 30.9), -2.9),
]  # fmt: skip


def test_poses_are_read_to_a_small_part_of_a_pixel_and_a_degree() -> None:
    reader = PoseReader(painted(*POSES[0]), COLORS, background())
    poses = reader.read(torch.stack([painted(*pose) for pose in POSES]))
    expected = np.array([[disc, center(place, angle)] for disc, place, angle in POSES]) / SIZE[1]
    np.testing.assert_allclose(poses.position * SIZE[1], expected * SIZE[1], atol=0.15)
    np.testing.assert_allclose(poses.angle[:, 1], [angle for _, _, angle in POSES], atol=math.radians(1))
    np.testing.assert_allclose(poses.area, 1, atol=0.05)


def test_what_is_farther_than_an_object_is_large_does_not_count() -> None:
    """A model's predictions have specks of objects' colors, near them and elsewhere."""
    disc, place, _ = POSES[0]
    clean = painted(disc, place, 0.3)
    specks = clean.clone()
    for x, y in ((int(place[0]) + 12, int(place[1]) + 12), (5, 55)):
        specks[:, y : y + 2, x : x + 2] = torch.tensor(COLORS[1])[:, None, None]
    poses = PoseReader(painted(*POSES[0]), COLORS, background()).read(torch.stack([clean, specks]))
    torch.testing.assert_close(poses.position[0], poses.position[1], rtol=0, atol=0.01 / SIZE[1])
    torch.testing.assert_close(poses.angle[0, 1], poses.angle[1, 1], rtol=0, atol=1e-3)


def test_images_are_averaged_before_they_are_read_so_large_ones_are_as_fast() -> None:
    images = torch.stack([painted(*pose) for pose in POSES]).repeat_interleave(3, 2).repeat_interleave(3, 3)
    large = PoseReader(images[0], COLORS, background().repeat_interleave(3, 1).repeat_interleave(3, 2))
    assert large.square == 5
    small = PoseReader(painted(*POSES[0]), COLORS, background()).read(torch.stack([painted(*pose) for pose in POSES]))
    found = large.read(images)
    torch.testing.assert_close(found.position, small.position, rtol=0, atol=0.2 / SIZE[1])
    torch.testing.assert_close(found.angle[:, 1], small.angle[:, 1], rtol=0, atol=math.radians(2))


def test_the_cost_is_the_misses_in_units_of_the_tolerances() -> None:
    cost = ObjectPose(painted(*POSES[0]), COLORS, background(), (False, True), 4 / SIZE[1], math.radians(20))
    disc, place, angle = POSES[0]
    moved = painted((disc[0] + 3, disc[1]), (place[0], place[1] + 4), angle)
    turned = painted(disc, place, math.radians(10))
    frames = torch.stack([torch.stack([painted(*POSES[0]), moved, turned, background()])])
    values = cost(frames)
    assert values.shape == (1, 4)
    away = np.linalg.norm(center(place, math.radians(10)) - center(place, 0)) / 4  # the L turns about its corner
    np.testing.assert_allclose(values[0, :3], [0, 5 / 4, math.hypot(away, 0.5)], atol=0.05)
    assert values[0, 3] > 20, "objects that a model loses cost an image's width"
    assert torch.equal(best_step(cost, delay=0, per_step=0.1)(frames), values[:, 0])
    assert torch.allclose(best_step(cost, delay=0, per_step=0.1)(frames[:, 1:3]), values[:, 2] + 0.1)


def test_gradients_point_to_the_goal() -> None:
    cost = ObjectPose(painted(*POSES[0]), COLORS, background(), (False, True))
    (disc, place, angle), change = POSES[0], 1e-2
    frame = painted(disc, (place[0] + 3, place[1]), angle + 0.3)[None, None].requires_grad_(True)
    cost(frame).sum().backward()
    assert frame.grad is not None
    nearer = painted(disc, (place[0] + 2, place[1]), angle + 0.3)[None, None] - frame.detach()
    turned = painted(disc, (place[0] + 3, place[1]), angle + 0.2)[None, None] - frame.detach()
    for way in (nearer, turned):
        slope = float((frame.grad * way).sum())
        actual = float(cost(frame.detach() + change * way).sum() - cost(frame.detach()).sum()) / change
        assert slope < -0.01
        assert slope == pytest.approx(actual, rel=0.1)


def test_a_symmetric_object_is_not_turned() -> None:
    square = torch.ones(3, 40, 40)
    square[:, 10:20, 10:20] = torch.tensor(COLORS[0])[:, None, None]
    moved = square.roll((9, 4), (1, 2))
    poses = PoseReader(square, COLORS[:1], torch.ones(3, 40, 40)).read(torch.stack([square, moved]))
    torch.testing.assert_close(poses.angle, torch.zeros(2, 1), rtol=0, atol=1e-3)


def test_the_background_is_the_median_of_recorded_images() -> None:
    images = torch.stack([painted(*POSES[number]) for number in (0, 2, 3)])  # no two cover the same place
    torch.testing.assert_close(median_image(images), background())


def test_arguments_that_do_not_fit_are_named() -> None:
    goal = painted(*POSES[0])
    with pytest.raises(ValueError, match=r"object 0 \(from 0\) is not in the reference image"):
        PoseReader(painted((-50, -50), *POSES[0][1:]), COLORS, background())
    with pytest.raises(ValueError, match=r"background \(3, 30, 30\)"):
        PoseReader(goal, COLORS, torch.ones(3, 30, 30))
    with pytest.raises(ValueError, match="4 colors cannot be separated in 3 channels"):
        PoseReader(goal, COLORS * 2, background())
    with pytest.raises(ValueError, match=r"\(N, 3, 60, 80\), not \(1, 3, 30, 30\)"):
        PoseReader(goal, COLORS, background()).read(torch.ones(1, 3, 30, 30))
    with pytest.raises(ValueError, match="rotating has 1 entries for 2 colors"):
        ObjectPose(goal, COLORS, background(), (True,))


@needs_pusht
def test_poses_of_recorded_pusht_images() -> None:
    """The 99th percentiles of the errors, with the goal that planning uses as the reference."""
    env = pusht.PushTEnv(32)
    env.reset_with_goal(0)
    goal, reference = env.goal, env.goal_image(None)
    assert goal is not None
    states, images = [], []
    for seed in range(10, 20):
        env.reset(seed)
        act = env.policy("scripted", np.random.default_rng(seed))
        for _ in range(30):
            env.inner.advance(act())
            states.append(env.inner.state)
            images.append(to_image(env.inner.render()))
    known = np.array(states)
    reader = pusht.pose_cost(reference, env.background).reader
    poses = reader.read(torch.stack(images))
    places = poses.position.double().numpy() * pusht.ARENA
    agent = np.linalg.norm(places[:, 0] - known[:, :2], axis=1)
    block = np.linalg.norm(places[:, 1] - known[:, 2:4] - pusht.rotate_points(np.array([0, 41.1]), known[:, 4]), axis=1)
    angle = np.degrees(pusht.angle_between(poses.angle[:, 1].double().numpy(), known[:, 4] - goal[4]))
    found = [float(np.percentile(errors, 99)) for errors in (agent, block, angle)]
    assert all(error <= limit for error, limit in zip(found, (1.7, 2.6, 1.4), strict=True)), found
    nominal = GoalObjects(reference, (pusht.AGENT.tolist(), pusht.BLOCK.tolist()))
    assert nominal(reference[None, None]) < 1e-3
