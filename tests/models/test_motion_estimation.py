"""The motion-aware generator: measured motion, the backtest, and paths by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tests.models.test_baselines import moving_clip
from vidpred.models.motion_candidates import ahead, trust_at
from vidpred.models.motion_estimation import LEADS, USUAL_TRUST, around, halved, observe
from vidpred.models.optical_flow import follow, push, warp


def test_a_path_follows_the_flow_where_it_leads() -> None:
    flow = torch.zeros(1, 2, 1, 8)
    flow[0, 0, 0] = torch.tensor([0.0, 1, 1, 2, 2, 1, 0, -1])
    paths = list(follow(flow, 3))
    # From 1 to 2, on by the flow at 2 to 3, by that at 3 to 5; from 3 to 5, to 6, where nothing moves.
    wanted = [[0, 1, 1, 2, 2, 1, 0, -1], [0, 2, 3, 3, 2, 1, 0, -1], [0, 4, 4, 3, 2, 1, 0, -1]]
    torch.testing.assert_close(torch.stack(paths)[:, 0, 0, 0], torch.tensor(wanted).float(), atol=1e-5, rtol=0)
    assert not torch.stack(paths)[:, 0, 1].any()


def test_pushing_brings_an_object_to_a_new_place() -> None:
    """Push an object two pixels wide that moves three pixels per frame over a still background.

    It arrives whole where following only finds background, and the uncovered part takes the path of `elsewhere`.
    """
    flow = torch.zeros(1, 2, 1, 10)
    flow[0, 0, 0, 1:3] = -3.0  # it came from three pixels to the left
    (followed,) = follow(flow, 1)
    path = push(flow, 1, torch.full_like(flow, 7.0))
    assert followed[0, 0, 0, 4:6].tolist() == [0, 0]
    assert path[0, 0, 0].tolist() == pytest.approx([0, 7, 7, 0, -3, -3, 0, 0, 0, 0], abs=0.2)
    assert push(flow, 2, flow)[0, 0, 0, 7:9].tolist() == pytest.approx([-6, -6], abs=0.4)
    # The background that also arrives there weighs e^3 times less, but not 0.
    assert path[0, 0, 0, 4] == pytest.approx(-3 * math.exp(3) / (math.exp(3) + 1), abs=1e-4)


def test_pushing_halfway_between_pixels_leaves_no_cracks() -> None:
    flow = torch.full((1, 2, 6, 6), -0.5)
    path = push(flow, 1, torch.full_like(flow, 9.0))
    torch.testing.assert_close(path[..., 1:, 1:], flow[..., 1:, 1:])


def test_the_observed_motion_of_a_translation() -> None:
    motion = observe(moving_clip(3, 64, 64, 2, -1))
    inside = (..., slice(12, -12), slice(12, -12))
    wanted = torch.tensor([-2.0, 1.0]).view(1, 2, 1, 1)  # back to its origin
    assert (motion.flow - wanted)[inside].abs().median() < 0.1
    assert (motion.older - wanted)[inside].abs().median() < 0.1
    assert motion.doubt[inside].mean() < 0.02


def test_the_backtest_raises_trust_for_steady_motion_and_lowers_it_for_turning_motion() -> None:
    steady = moving_clip(10, 64, 80, 1, 0)
    trust = observe(steady).trust[..., 2:-2, 2:-2]
    assert trust.shape[1] == len(LEADS)
    assert bool((trust.mean((0, 2, 3)) > torch.tensor(USUAL_TRUST) + 0.01).all())
    swaying = steady[:, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]]  # each flow reverts the previous one
    motion = observe(swaying)
    assert motion.trust.mean((0, 2, 3))[0] < 0.6
    assert motion.evidence[:, 1].mean() < 0  # from t-1, everything moved the other way


def test_without_a_backtest_trust_is_the_usual() -> None:
    clip = moving_clip(10, 32, 32, 1, 0)
    for motion, tried in ((observe(clip[:, -2:]), 0), (observe(clip[:, -4:]), 2), (observe(clip, backtests=False), 0)):
        assert motion.trust[:, tried:].amax((0, 2, 3)).tolist() == pytest.approx(USUAL_TRUST[tried:])
        assert not motion.evidence[:, 3 * tried :].any()
        assert bool(motion.evidence[:, : 3 * tried].any()) == bool(tried)


def test_trust_between_the_tested_leads() -> None:
    trust = torch.tensor([0.9, 0.8, 0.6, 0.2]).view(1, 4, 1, 1)
    found = trust_at(trust.expand(6, -1, -1, -1), ahead((1, 2, 3, 4, 8, 20), torch.zeros(6))).flatten().tolist()
    assert found == pytest.approx([0.9, 0.8, 0.8 - 0.2 * math.log2(1.5), 0.6, 0.2, 0.2])


def test_sampling_reads_where_the_path_points() -> None:
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    path = torch.zeros(1, 2, 3, 4)
    path[:, 0], path[:, 1] = 1.0, 0.5
    expected = torch.tensor([[3.0, 4, 5, 5], [7, 8, 9, 9], [9, 10, 11, 11]])
    torch.testing.assert_close(warp(maps, path)[0, 0], expected)


def test_half_the_resolution_has_the_same_neighborhoods() -> None:
    """Means over cells of 4 pixels of halved maps are those of 8 pixels; displacements are in their pixels."""
    whole = observe(torch.rand(1, 5, 3, 48, 64))
    half = halved(whole)
    assert (whole.cell, half.cell) == (8, 4)
    torch.testing.assert_close(around(half.last, half.cell), around(whole.last))
    torch.testing.assert_close(around(half.flow, half.cell) * 2, around(whole.flow))
    assert half.trust is whole.trust


def test_paths_of_a_steady_motion_are_those_of_the_whole_resolution() -> None:
    """Everything moves by (2, -4) pixels a frame: so do the paths at half the resolution, in its pixels."""
    flow = torch.tensor([2.0, -4.0])[None, :, None, None].expand(1, 2, 32, 48)
    elsewhere = torch.full_like(flow, 7.0)
    whole = push(flow, 3, elsewhere)
    half = push(flow[..., ::2, ::2] / 2, 3, elsewhere[..., ::2, ::2] / 2, scale=2)
    torch.testing.assert_close(half * 2, whole[..., ::2, ::2])


def test_faster_pixels_weigh_as_much_at_half_the_resolution() -> None:
    """One pixel moves onto a still one: the share of its path depends on its speed in pixels of the frame."""
    still = torch.zeros(1, 2, 16, 16)
    flow = still.clone()
    flow[0, 0, 8, 4] = 2.0
    arrived = push(flow, 1, still)[0, 0, 8, 2]
    half = push(flow / 2, 1, still, scale=2)[0, 0, 8, 3]
    expected = 2 * math.exp(2) / (math.exp(2) + 1)
    assert float(arrived) == pytest.approx(expected, rel=1e-5)
    assert float(half) == pytest.approx(expected / 2, rel=1e-5)
