"""Costs on images with hand-computed values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vidpred.errors import ConfigError
from vidpred.planning.costs import (
    DesignatedPixel,
    GoalImage,
    GoalObjects,
    PushBehind,
    RegionMask,
    best_step,
    color_centroid,
    last_only,
)
from vidpred.planning.envs.base import to_image
from vidpred.planning.envs.block_push import BlockPush
from vidpred.planning.learned_cost import StateReader, fit_state_reader
from vidpred.planning.record import Recording, record

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def image(**places: tuple[int, int]) -> Tensor:
    """Return a black image `(3, 10, 20)` with 2x2 squares of colors at their upper left (row, column)."""
    frame = torch.zeros(3, 10, 20)
    for name, (row, column) in places.items():
        frame[0 if name == "red" else 2, row : row + 2, column : column + 2] = 1
    return frame


def test_the_centroid_of_a_color() -> None:
    found = color_centroid(image(red=(4, 10), blue=(0, 0)), RED)
    torch.testing.assert_close(found, torch.tensor([11 / 20, 5 / 10]), rtol=0, atol=1e-3)


def test_designated_pixel_is_the_distance_at_every_step() -> None:
    frames = torch.stack([torch.stack([image(red=(4, 2)), image(red=(4, 10))])])
    cost = DesignatedPixel(RED, (11 / 20, 0.5))
    torch.testing.assert_close(cost(frames), torch.tensor([[8 / 20, 0.0]]), rtol=0, atol=2e-3)
    torch.testing.assert_close(last_only(cost)(frames), torch.tensor([0.0]), rtol=0, atol=2e-3)


def test_goal_image_is_zero_at_the_goal_and_grows_with_distance() -> None:
    goal = image(blue=(4, 10))
    near, far = image(blue=(4, 13)), image(blue=(4, 16))
    cost = GoalImage(goal)
    values = cost(torch.stack([goal, near, far])[None])[0]
    assert values[0] == 0
    assert values[0] < values[1] < values[2]
    pixels = GoalImage(goal, scales=(1,))(torch.stack([goal, near, far])[None])[0]
    assert pixels[1] == pytest.approx(2 * 4 / 600), "two squares of 4 pixels in one of 3 channels"
    assert pixels[1] == pixels[2], "the cost of single pixels does not depend on distance"


def test_goal_objects_has_a_distance_of_positions_and_of_shapes() -> None:
    goal = image(blue=(4, 10), red=(4, 2))
    blue, both = image(blue=(4, 13), red=(4, 2)), image(blue=(4, 13), red=(8, 2))
    frames = torch.stack([goal, blue, both])[None]
    places = GoalObjects(goal, (RED, BLUE), shape=0.0)(frames)[0]
    assert places.tolist() == pytest.approx([0, 3 / 20, ((3 / 20) ** 2 + (4 / 10) ** 2) ** 0.5], abs=3e-3)
    turned = goal.clone()
    turned[2] = 0
    turned[2, 5, 9:13] = 1  # as many blue pixels with the same center up to half a row
    turned[2, 4, 9:13] = 0
    unlike = GoalObjects(goal, (RED, BLUE), shape=1.0, scales=(1,))
    assert float(unlike(goal[None, None])) == pytest.approx(0, abs=1e-5)
    shape = unlike(turned[None, None]) - GoalObjects(goal, (RED, BLUE), shape=0.0)(turned[None, None])
    assert float(shape) == pytest.approx((4 / 4 / 2) ** 0.5, abs=1e-3), "2 of 4 blue pixels are gone and 2 are new"
    gone = goal.clone()
    gone[2] = 0
    shape = unlike(gone[None, None]) - GoalObjects(goal, (RED, BLUE), shape=0.0)(gone[None, None])
    assert float(shape) == pytest.approx(0.5**0.5, abs=1e-3), "one of two objects is missing"


def test_best_step_prefers_early_steps() -> None:
    cost = best_step(lambda frames: frames.mean((-3, -2, -1)), delay=0.1)
    frames = torch.tensor([[3.0, 1.0, 2.0], [1.0, 0.95, 3.0]])[:, :, None, None, None].expand(-1, -1, 3, 4, 4)
    torch.testing.assert_close(cost(frames), torch.tensor([1.1, 1.0]))


def test_region_mask_is_the_share_outside() -> None:
    mask = torch.zeros(10, 20)
    mask[:, :11] = 1
    cost = RegionMask(RED, mask)
    frames = torch.stack([image(red=(4, 2)), image(red=(4, 10)), image(red=(4, 15))])[None]
    torch.testing.assert_close(cost(frames), torch.tensor([[0.0, 0.5, 1.0]]), rtol=0, atol=1e-3)


def test_push_behind_is_lowest_with_the_tool_behind_the_object() -> None:
    cost = PushBehind(RED, BLUE, goal=(0.95, 0.5), reach=0.2, weight=0.5)
    behind, before = image(blue=(4, 10), red=(4, 6)), image(blue=(4, 10), red=(4, 14))
    values = cost(torch.stack([behind, before])[None])[0]
    torch.testing.assert_close(values, torch.tensor([0.4, 0.4 + 0.5 * 0.4]), rtol=0, atol=5e-3)


def test_costs_have_gradients() -> None:
    frames = (image(red=(4, 6), blue=(4, 10)) * 0.9).expand(1, 2, -1, -1, -1).clone().requires_grad_(True)
    for cost in (
        GoalImage(image(red=(2, 2))), DesignatedPixel(RED, (0.1, 0.1)), PushBehind(RED, BLUE, (0.9, 0.9), 0.2),
        RegionMask(RED, torch.ones(10, 20).triu()), GoalObjects(image(red=(2, 2)), (RED,)),
    ):  # fmt: skip
        (gradient,) = torch.autograd.grad(cost(frames).sum(), frames)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_a_learned_cost_is_computed_where_its_network_is() -> None:
    """Frames of a model on a GPU reach a reader on the CPU; here the reader is on the other device."""
    reader, frames = StateReader(3, (16, 16), 2).to("meta"), torch.rand(5, 2, 3, 16, 16)
    costs = reader.cost(frames[0, 0])(frames)
    assert (costs.shape, costs.device.type) == ((5, 2), "meta")


@pytest.mark.slow
def test_a_learned_cost_grows_with_the_distance_of_states(tmp_path: Path) -> None:
    """Fitted to few episodes, on frames of others: the block's distance from its goal, with the disc anywhere."""
    record(Recording("block_push", 50, size=16), tmp_path, workers=1, progress=False)
    reader = fit_state_reader(tmp_path, values=(2, 3), steps=150)
    world = BlockPush(16)
    frames, goals = [], []
    for seed in range(40):
        frames.append(to_image(world.reset(seed=10_000 + seed)[0]))
        goals.append(np.linalg.norm(world.state.block - [0.3, 0.6]))
    world.goal = np.array([0.3, 0.6])
    cost = reader.cost(to_image(world.goal_image()))
    found = cost(torch.stack(frames)[None])
    assert found.shape == (1, 40)
    assert np.corrcoef(found[0].numpy(), goals)[0, 1] > 0.7
    with pytest.raises(ConfigError, match="no prepared data set with states"):
        fit_state_reader(tmp_path / "absent")
