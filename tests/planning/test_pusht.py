"""PushT: criterion of success, policies; recording and planning if gym-pusht is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from vidpred.data.prepared.format import Manifest, PreparedFrames
from vidpred.data.resize import resize_frame
from vidpred.errors import ConfigError
from vidpred.planning.closed_loop import Episode, play, play_policy, summarize_episodes, summary_line
from vidpred.planning.envs import pusht
from vidpred.planning.envs.base import StepResult, to_image
from vidpred.planning.envs.pusht import PushTEnv, is_near
from vidpred.planning.envs.registry import make_env
from vidpred.planning.plan import PlanConfig, references
from vidpred.planning.record import Recording, record

needs_pusht = pytest.mark.skipif(find_spec("gym_pusht") is None, reason="gym-pusht (the extra sim) is not installed")


def test_success_equals_dino_wm() -> None:
    goal = np.array([100.0, 100, 200, 200, 6.2, 5, 5])
    for change, near in (
        ([19.9, 0, 0, 0, 0, 0, 0], True),
        ([0, 0, 0, 19.9, 0, 0, 0], True),
        ([15, 0, 0, 15, 0, 0, 0], False),  # 21.2 as one point in four dimensions
        ([0, 0, 0, 0, np.pi / 9 - 0.01, 0, 0], True),  # across a full turn
        ([0, 0, 0, 0, -np.pi / 9 - 0.01, 0, 0], False),
        ([0, 0, 0, 0, 2 * np.pi, 300, 300], True),  # velocities do not count
    ):
        assert bool(pusht.is_near(goal + np.array(change), goal)) is near, change


def test_paths_across_the_block_are_detected() -> None:
    middle = np.array([200.0, 200.0])
    assert pusht.crosses(np.array([50.0, 200.0]), np.array([350.0, 230.0]), middle)
    assert not pusht.crosses(np.array([50.0, 200.0]), np.array([120.0, 200.0]), middle)
    assert not pusht.crosses(np.array([50.0, 300.0]), np.array([350.0, 300.0]), middle)
    state = np.array([0.0, 0, 200, 200, np.pi / 2, 0, 0])
    np.testing.assert_allclose(pusht.block_center(state), [155, 200])


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    with pytest.raises(ConfigError, match=r"needs gym-pusht .*; install the extra \w+: pip install '\.\[sim\]'"):
        make_env(pusht.NAME)


@needs_pusht
@pytest.mark.parametrize("size", [32, 64, 96, 256])
def test_frames_equal_those_of_the_environment(size: int) -> None:
    """Also where agent and block overlap, and at and beyond the walls."""
    env, random = pusht.PushT(size), np.random.default_rng(size)
    env.env.obs_type = "pixels"
    for number in range(25):
        place = random.uniform(0, 512, 2)
        agent = place + random.normal(0, 40, 2) if number % 2 else random.uniform(0, 512, 2)
        env.state = np.array([*agent, *place, random.uniform(-9, 9), 0, 0])
        assert np.array_equal(env.render(), resize_frame(env.env.get_obs(), (size, size))), env.state


@needs_pusht
def test_motion_equals_that_of_the_environment() -> None:
    env, original = pusht.PushT(16), pusht.PushT(16)
    for seed in range(2):
        env.reset(seed)
        original.reset(seed)
        act, start = pusht.PushingPolicy(np.random.default_rng(seed)), env.state
        for _ in range(25):
            action = act(env)
            env.advance(action)
            for _ in range(pusht.HELD_STEPS):
                original.env.step(action)
            assert np.array_equal(env.state, original.state)
        assert np.abs(env.state - start)[2:4].max() > 20


@needs_pusht
def test_a_restored_state_continues_as_the_environment() -> None:
    env, other = pusht.PushT(16), pusht.PushT(16)
    env.reset(3)
    act = pusht.PushingPolicy(np.random.default_rng(0))
    moved = []
    for _ in range(12):
        action, before = act(env), env.state
        other.state = before
        np.testing.assert_allclose(other.state, before)
        other.advance(action)
        env.advance(action)
        # The physics engine keeps contacts from step to step, and they are not part of the state.
        np.testing.assert_allclose(other.state, env.state, atol=2)
        moved.append(np.abs(env.state - before)[[0, 2]].max())
    assert max(moved) > 20


@needs_pusht
def test_episodes_are_recorded_with_their_states(tmp_path: Path) -> None:
    summary = record(Recording(pusht.NAME, 10, "scripted", 16, steps=4), tmp_path / "set", workers=1, progress=False)
    assert (summary.manifest.action_size, summary.manifest.state_size) == (2, 7)
    manifest = Manifest.load(tmp_path / "set")
    assert manifest is not None
    prepared, env = PreparedFrames(tmp_path / "set", manifest, "train"), pusht.PushT(16)
    for clip in prepared.clips[:3]:
        states, actions, frames = prepared.states(clip), prepared.actions(clip), prepared.frames(clip)
        assert len(states) == 5
        for step in range(4):
            env.state = states[step].astype(float)
            assert np.abs(env.render().transpose(2, 0, 1).astype(int) - frames[step]).max() <= 2
            env.advance(actions[step])
            np.testing.assert_allclose(env.state[:5], states[step + 1][:5], atol=2)


@needs_pusht
def test_goals_are_reachable_and_not_reached_at_the_start() -> None:
    """Planning with the simulator reaches them by states, and mostly by images; random actions do not."""
    env = PushTEnv(32)
    first = env.reset_with_goal(7)
    assert np.array_equal(env.reset_with_goal(7), first), "an episode is a function of its seed"
    goal, start = env.goal, env.inner.state
    assert goal is not None
    assert env.steps == 10
    assert not pusht.is_near(np.array([*goal[:2], *start[2:]]), goal), "the block must move"
    context = to_image(first)[None, None]
    models = env.simulators()
    actions = torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 400 + 50
    frames = models["true simulator, cost of images"].rollout(context, actions)
    assert frames.shape == (1, 3, 2, 3, 32, 32)
    env.inner.advance(actions[0, 1, 0].double().numpy())
    torch.testing.assert_close(frames[0, 1, 0], to_image(env.inner.render()), rtol=0, atol=0.02)
    budget = PlanConfig(num_samples=32, iterations=3, horizon=5, receding_horizon=1)
    controller = budget.controller(models["true simulator, cost of states"], env)
    assert sum(play(env, controller, seed).success for seed in range(3)) >= 2
    assert not any(play_policy(env, "uniform", seed).success for seed in range(3))
    assert list(references(env, budget, 1, None)) == [
        "copy last", "true simulator, cost of images", "true simulator, cost of states", "uniform actions",
        "random actions", "scripted actions",
    ]  # fmt: skip


@needs_pusht
def test_the_protocol_looks_at_every_step_and_goes_on() -> None:
    plain, env = PushTEnv(16), PushTEnv(16, "dino-wm")
    env.reset_with_goal(3)
    start = env.inner.state
    plain.inner.state = start
    far = np.clip(start[:2] + np.where(start[:2] < 256, 150.0, -150.0), 20, 492)
    passed = []  # states after every step of the environment
    for _ in range(5):
        plain.inner.advance(far, 1)
        passed.append(plain.inner.state)
    env.goal = passed[1]
    assert not is_near(passed[-1], env.goal), "the agent must have left the goal at the end of the action"
    result = env.step(far)
    np.testing.assert_array_equal(env.inner.state, passed[-1])
    assert (result.success, result.at_goal, result.over) == (True, False, False)
    plain.inner.state = start
    plain.inner.advance(far)
    np.testing.assert_array_equal(plain.inner.state, passed[-1])

    env.goal = start
    episode = play_policy(env, "uniform", 0)
    assert (episode.steps, episode.at_goal is not None) == (10, True)


@needs_pusht
def test_the_protocol_draws_starts_without_a_filter_and_reports_all() -> None:
    env, unmoved = PushTEnv(16, "dino-wm"), 0
    for seed in range(12):
        env.reset_with_goal(seed)
        assert env.goal is not None
        unmoved += bool(is_near(np.array([*env.goal[:2], *env.inner.state[2:]]), env.goal))
    assert 0 < unmoved < 12
    about = env.about()
    assert (about["name"], about["goal_offset"], about["budget"]) == ("dino-wm", 25, 50)
    with pytest.raises(ConfigError, match=r"block_push has no such protocol \[protocol=dino-wm\]"):
        make_env("block_push", protocol="dino-wm")


def test_statistics_of_a_protocol_that_goes_on() -> None:
    hit, left, never = (Episode(seed) for seed in range(3))
    frame = np.zeros((1, 1, 3), np.uint8)
    for reached, at_goal in ((False, False), (True, True), (False, True)):
        hit.count_step(StepResult(frame, False, reached, at_goal))
        left.count_step(StepResult(frame, False, reached, False))
        never.count_step(StepResult(frame, False, False, False))
    result = summarize_episodes([hit, left, never])
    assert (result.successes, result.strict_successes, result.mean_steps) == (2, 1, 2)
    assert result.to_json()["strict_successes"] == 1
    assert "1 of them were there at the end" in summary_line("run", result)
