"""The physics of block_push by hand, its invariants and its images."""

from __future__ import annotations

import numpy as np
import pytest

from vidpred.planning.envs.block_push import (
    BLOCK,
    HALF,
    POLICIES,
    RADIUS,
    REACH,
    START_DISTANCE,
    SUCCESS_DISTANCE,
    BlockPush,
    BlockPushState,
    advance,
    paint,
)


def state(disc: tuple[float, float], block: tuple[float, float]) -> BlockPushState:
    return BlockPushState(np.array(disc), np.array(block))


def test_a_push_on_a_face_moves_the_block_by_the_overlap() -> None:
    touching = state((0.5 - HALF - RADIUS, 0.53), (0.5, 0.5))  # off-center, which does not matter without friction
    after = advance(touching, np.array([0.5, 0.0]))
    np.testing.assert_allclose(after.disc, [0.5 - HALF - RADIUS + REACH / 2, 0.53])
    np.testing.assert_allclose(after.block, [0.5 + REACH / 2, 0.5])


def test_without_contact_the_block_stays_and_actions_are_clipped() -> None:
    after = advance(state((0.2, 0.2), (0.6, 0.6)), np.array([7.0, -0.25]))
    np.testing.assert_allclose(after.disc, [0.2 + REACH, 0.2 - REACH / 4])
    np.testing.assert_allclose(after.block, [0.6, 0.6])


def test_a_corner_moves_aside_and_the_disc_slips_off() -> None:
    grazing = state((0.5 - HALF - RADIUS, 0.5 - HALF - 0.6 * RADIUS), (0.5, 0.5))
    for _ in range(6):
        grazing = advance(grazing, np.array([1.0, 0.0]))
    assert grazing.block[0] > 0.5
    assert grazing.block[1] > 0.5, "the normal at a corner is slanted"
    assert grazing.disc[0] > grazing.block[0], "the disc has passed the block"


def test_a_block_at_the_wall_stops_the_disc() -> None:
    stuck = state((1 - 2 * HALF - RADIUS, 0.5), (1 - HALF, 0.5))
    after = advance(stuck, np.array([1.0, 0.0]))
    np.testing.assert_allclose(after.block, [1 - HALF, 0.5])
    np.testing.assert_allclose(after.disc, [1 - 2 * HALF - RADIUS, 0.5])


def test_nothing_overlaps_or_leaves_the_arena_and_batch_items_are_independent() -> None:
    random = np.random.default_rng(0)
    many = BlockPushState(random.uniform(RADIUS, 0.25, (500, 2)), random.uniform(0.45, 0.8, (500, 2)))
    one = state(tuple(many.disc[7]), tuple(many.block[7]))
    moved, squeezed = np.zeros(500, bool), 0
    for _ in range(60):
        pull = many.block - many.disc + random.normal(0, 0.15, (500, 2))
        actions = pull / REACH
        before = many.block
        many, one = advance(many, actions), advance(one, actions[7])
        moved |= np.abs(many.block - before).max(1) > 0
        reach = np.maximum(np.abs(many.disc - many.block) - HALF, 0)
        free = np.linalg.norm(reach, axis=1)
        assert (free > RADIUS - 0.01).all()
        squeezed += int((free < RADIUS - 1e-6).sum())
        assert ((many.block >= HALF - 1e-9) & (many.block <= 1 - HALF + 1e-9)).all()
        assert ((many.disc >= RADIUS - 1e-9) & (many.disc <= 1 - RADIUS + 1e-9)).all()
    assert squeezed < 0.002 * 60 * 500, "only discs that are trapped in a corner of the arena"
    assert moved.mean() > 0.9, "too few contacts for a meaningful test"
    np.testing.assert_allclose(one.disc, many.disc[7])
    np.testing.assert_allclose(one.block, many.block[7])


def test_episodes_start_far_from_their_goals_and_are_functions_of_the_seed() -> None:
    env = BlockPush()
    for seed in range(100):
        _, info = env.reset(seed)
        assert info["distance"] >= START_DISTANCE
        assert not info["success"]
    first, again = BlockPush().reset(5)[0], BlockPush().reset(5)[0]
    assert np.array_equal(first, again)
    env.state = state((0.1, 0.1), (env.goal[0] + SUCCESS_DISTANCE * 0.9, env.goal[1]))
    assert env.info()["success"]
    with pytest.raises(ValueError, match="two finite numbers"):
        env.step(np.array([np.nan, 0]))


@pytest.mark.parametrize("size", [32, 48])
def test_images_have_the_objects_at_their_positions(size: int) -> None:
    image = paint(state((0.2, 0.75), (0.55, 0.4)), size)
    assert image.shape == (size, size, 3)
    cover = (BLOCK * 255 - image.astype(float)).__abs__().sum(-1) < 6
    rows, columns = np.nonzero(cover)
    np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], np.array([0.55, 0.4]) * size, atol=0.6)
    assert cover.mean() == pytest.approx((2 * HALF) ** 2, abs=2 * HALF * 4 / size)
    alone = paint(state((0.2, 0.75), (0.55, 0.4)), size, with_disc=False)
    assert (alone != image).any(-1).mean() == pytest.approx(np.pi * RADIUS**2, abs=4 * RADIUS * 4 / size)


@pytest.mark.slow
def test_the_scripted_policy_reaches_every_goal_and_the_random_one_does_not() -> None:
    reached = {}
    for name, make in POLICIES.items():
        reached[name] = 0
        for seed in range(20):
            env = BlockPush(8)
            env.reset(seed)
            policy, over, success = make(np.random.default_rng(seed)), False, False
            while not (over or success):
                _, _, success, over, _ = env.step(policy(env))
            reached[name] += success
    assert reached["scripted"] == 20
    assert reached["random"] <= 3
