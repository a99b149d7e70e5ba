"""A trained model as a Gymnasium environment."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from tests.planning.worlds_for_tests import Brighten, Stateful
from vidpred.planning import Bounds, WorldModel, WorldModelEnv, WorldModelVectorEnv
from vidpred.planning.costs import GoalImage

BOUNDS = Bounds.of([-0.5, -0.25], [0.5, 0.25])
STARTS = torch.linspace(0.3, 0.6, 4)[:, None, None, None, None].expand(-1, 1, 3, 6, 8)
COST = GoalImage(torch.full((3, 6, 8), 0.5), scales=(1,))
PARTIAL = {"reset_mask": np.array([False, False, True])}


def env(steps: int = 5) -> WorldModelEnv:
    return WorldModelEnv(WorldModel(Brighten()), STARTS, BOUNDS, COST, steps=steps)


def test_a_model_that_takes_states_predicts_them() -> None:
    """Observations have an image and a state by key; Stateful checks that states and actions match."""
    context = torch.cat([STARTS, STARTS], 1)
    states = torch.tensor([0.02, 0.03]) * torch.arange(1, 5)[:, None, None].expand(4, 2, 2)
    given = (WorldModel(Stateful(2)), context, BOUNDS, COST, torch.zeros(4, 1, 2))
    many = WorldModelVectorEnv(3, *given, steps=2, states=states)
    seen, _ = many.reset(options={"start": [2, 0, 1]})
    assert many.observation_space.contains(seen)
    np.testing.assert_allclose(seen["state"], states[[2, 0, 1], 0])
    assert np.array_equal(seen["image"][1, 0, 0], [round(255 * 0.3)] * 3)
    actions = np.array([[0.1, 0.2], [-0.1, 0.0], [0.0, -0.2]], np.float32)
    seen, *_ = many.step(actions)
    np.testing.assert_allclose(seen["state"], states[[2, 0, 1], 0].numpy() + actions, atol=1e-6)
    many.step(actions)
    seen, *_ = many.step(actions)  # episodes restart
    assert {round(float(value), 4) for value in seen["state"][:, 0]} <= {0.02, 0.04, 0.06, 0.08}
    alone = WorldModelEnv(*given, steps=2, states=states)
    frame, _ = alone.reset(options={"start": 3})
    assert alone.observation_space.contains(frame)
    np.testing.assert_allclose(alone.step(actions[0])[0]["state"], states[3, 0].numpy() + actions[0], atol=1e-6)
    with pytest.raises(ValueError, match=r"states must be \(B, T, state_size\) = \(4, 2, 2\), not None; pass states="):
        WorldModelEnv(*given)


def test_it_passes_the_checker_of_gymnasium() -> None:
    with warnings.catch_warnings():
        # Actions keep the units of the data, not -1 to 1; an environment that gymnasium.make did not make has no spec.
        warnings.filterwarnings("ignore", message=".*recommend.*symmetric and normalized.*")
        warnings.filterwarnings("ignore", message=".*Not able to test alternative render modes.*")
        check_env(env())


def test_a_step_is_a_prediction_of_the_model() -> None:
    one = env(steps=2)
    frame, info = one.reset(seed=1)
    value = float(STARTS[info["start"], 0, 0, 0, 0])
    assert frame.shape == (6, 8, 3)
    assert (frame == round(value * 255)).all()
    frame, reward, terminated, truncated, _ = one.step(np.array([0.1, -0.2], np.float32))
    expected = np.array([value + 0.1, value - 0.2, value])
    np.testing.assert_allclose(frame[2, 3], expected * 255, atol=0.51)
    assert reward == pytest.approx(-((expected - 0.5) ** 2).mean(), abs=1e-6)
    assert not terminated
    assert not truncated
    assert one.step(np.zeros(2, np.float32))[3], "an episode has two steps"
    with pytest.raises(ValueError, match="are not in"):
        one.step(np.array([0.6, 0.0]))
    assert one.reset(options={"start": 3})[1]["start"] == 3
    with pytest.raises(ValueError, match="there are 4 starts"):
        one.reset(options={"start": 4})
    with pytest.raises(gymnasium.error.ResetNeeded):
        env().step(np.zeros(2))


def test_the_vector_environment_restarts_ended_episodes() -> None:
    many = WorldModelVectorEnv(3, WorldModel(Brighten()), STARTS, BOUNDS, COST, steps=2)
    frames, info = many.reset(seed=2)
    assert frames.shape == many.observation_space.shape == (3, 6, 8, 3)
    actions = np.array([[0.1, 0.2], [-0.1, 0.0], [0.0, -0.2]], np.float32)
    seen, rewards, _, truncated, _ = many.step(actions)
    for row in range(3):
        alone = env(steps=2)
        alone.reset(options={"start": info["start"][row]})
        frame, reward, _, _, _ = alone.step(actions[row])
        assert np.array_equal(seen[row], frame)
        assert rewards[row] == pytest.approx(reward)
    assert not truncated.any()
    *_, truncated, _ = many.step(actions * 0)
    assert truncated.all()
    fresh, rewards, _, truncated, _ = many.step(actions)
    assert not truncated.any()
    assert (rewards == 0).all()
    starts = {round(float(value) * 255) for value in STARTS[:, 0, 0, 0, 0]}
    assert {int(value) for value in fresh[:, 0, 0, 2]} <= starts


class Foggy(Brighten):
    """A Brighten whose noise, between 0 and 0.1, makes blue brighter in every step."""

    noise_channels = 1

    def forward(self, context: torch.Tensor, noise: torch.Tensor, actions: torch.Tensor) -> list[torch.Tensor]:  # type: ignore[override]
        grown = context[:, -1:].clone()
        grown[:, :, 2] += 0.1 * noise.sigmoid()[:, :, None, None]
        return [grown]


def test_the_seed_determines_the_outcome_of_an_episode_for_a_model_that_takes_noise() -> None:
    model, still = WorldModel(Foggy()), np.zeros(2, np.float32)
    one = WorldModelEnv(model, STARTS, BOUNDS, COST, steps=3)

    def blue(seed: int) -> list[float]:
        one.reset(seed=seed, options={"start": 0})
        frames = [one.dynamics.starts.frames[0, 0]]
        for _ in range(3):
            one.step(still)
            assert one.context_state is not None
            frames.append(one.context_state.frames[0, 0])
        return torch.stack(frames)[:, 2, 0, 0].diff().tolist()

    first = blue(seed=1)
    assert blue(seed=1) == first
    assert first == pytest.approx([first[0]] * 3, abs=1e-6), "an outcome is kept through all steps"
    assert blue(seed=2) != pytest.approx(first, abs=1e-3)
    many = WorldModelVectorEnv(2, model, STARTS, BOUNDS, COST, steps=1)
    many.reset(seed=1, options={"start": 0})
    seen, *_ = many.step(np.zeros((2, 2), np.float32))
    assert int(seen[0, 0, 0, 2]) != int(seen[1, 0, 0, 2]), "environments have different outcomes"


def test_starts_of_restarted_episodes_are_reported() -> None:
    many = WorldModelVectorEnv(3, WorldModel(Brighten()), STARTS, BOUNDS, COST, steps=1)
    many.reset(seed=0, options={"start": 0})
    many.step(np.zeros((3, 2), np.float32))
    seen, *_ = many.step(np.zeros((3, 2), np.float32))  # all restart
    _, info = many.reset(options={**PARTIAL, "start": 1})
    expected = [round(255 * float(STARTS[start, 0, 0, 0, 0])) for start in info["start"][:2]]
    assert seen[:2, 0, 0, 0].tolist() == expected
    assert info["start"][2] == 1


def test_invalid_starts_raise() -> None:
    with pytest.raises(ValueError, match=r"context must be \(B, T, C, H, W\) with T >= 2"):
        WorldModelEnv(WorldModel(Brighten(2)), STARTS, BOUNDS, COST)


def test_the_vector_environment_takes_starts_and_masks() -> None:
    many = WorldModelVectorEnv(3, WorldModel(Brighten()), STARTS, BOUNDS, COST, steps=2)
    for early in (lambda: many.step(np.zeros((3, 2), np.float32)), many.render, lambda: many.reset(options=PARTIAL)):
        with pytest.raises(gymnasium.error.ResetNeeded, match="call reset for all"):
            early()
    last = len(STARTS) - 1
    frames, info = many.reset(options={"start": [0, last, 0]})
    assert info["start"].tolist() == [0, last, 0]
    assert np.array_equal(frames[1], env().reset(options={"start": last})[0])
    moved, *_ = many.step(np.full((3, 2), 0.1, np.float32))
    frames, info = many.reset(options={**PARTIAL, "start": last})
    assert info["start"].tolist() == [0, last, last]
    assert np.array_equal(frames[0], moved[0])
    assert np.array_equal(frames[2], env().reset(options={"start": last})[0])
    *_, truncated, _ = many.step(np.zeros((3, 2), np.float32))
    assert truncated.tolist() == [True, True, False]
    for options, message in (
        ({"start": last + 1}, "there are"),
        ({"start": [0, 1]}, r"integers \(3,\)"),
        ({"start": 0.5}, "must be an integer"),
        ({"reset_mask": np.ones(2, bool)}, r"booleans \(3,\), not bool \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            many.reset(options=options)
    with pytest.raises(ValueError, match=r"actions must be \(3, 2\), not \(2,\)"):
        many.step(np.zeros(2, np.float32))
