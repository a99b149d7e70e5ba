"""Receding-horizon control in closed loop, with models of known quality; the command."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.planning.worlds_for_tests import UNIT, Brighten, Stateful
from vidpred.commands.app import main
from vidpred.config import load_config
from vidpred.errors import ConfigError, DataError
from vidpred.planning.baselines import CopyLastModel
from vidpred.planning.closed_loop import play, play_all, play_policy, summarize_episodes, wilson_interval
from vidpred.planning.controller import MPCController
from vidpred.planning.costs import DesignatedPixel, GoalImage, PushBehind
from vidpred.planning.envs.base import to_image
from vidpred.planning.envs.block_push import BlockPush, BlockPushEnv, BlockPushSimulator
from vidpred.planning.plan import PlanConfig, PlanRequest, load_model, make_matching_env, play_model, read_goal
from vidpred.planning.record import Recording, record
from vidpred.planning.solvers import CEMSolver, Plan, Problem
from vidpred.planning.world_model import WorldModel
from vidpred.run import train


def test_wilson_interval_equals_published_values() -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    for successes, trials, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                         (1, 29, 0.0061, 0.1718)):  # fmt: skip
        assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_the_simulator_as_a_model_is_exact() -> None:
    env = BlockPush(16)
    env.reset(3)
    actions = torch.rand(1, 2, 5, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    frames = BlockPushSimulator(env).rollout(torch.zeros(1, 1, 3, 16, 16), actions)
    for step in range(5):
        frame = env.step(actions[0, 1, step].double().numpy())[0]
        torch.testing.assert_close(frames[0, 1, step], to_image(frame))


@pytest.mark.slow
def test_planning_succeeds_with_the_simulator_and_fails_with_copy_last() -> None:
    env, budget = BlockPushEnv(16), PlanConfig()
    true = budget.controller(BlockPushSimulator(env.inner), env)
    still = budget.controller(CopyLastModel(2), env)
    knowing = play_all(lambda _, seed: play(env, true, seed), 4)
    result = summarize_episodes(knowing)
    assert result.successes == 4
    assert result.mean_steps is not None
    assert result.mean_steps < 30
    assert [len(episode.seconds) for episode in knowing] == [-(-episode.steps // 2) for episode in knowing]
    assert summarize_episodes(play_all(lambda _, seed: play(env, still, seed), 4)).successes == 0
    assert summarize_episodes([play_policy(env, "uniform", seed) for seed in range(10)]).successes == 0
    again = play(env, true, knowing[1].seed)
    assert np.array_equal(again.observed[-1], knowing[1].observed[-1]), "an episode is a function of its seed"


class Spy:
    """A solver that stores its problems and plans 1/100, 2/100, ..."""

    needs_gradient = False

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        self.problems.append(problem)
        problem.evaluate(torch.zeros(1, 1, problem.horizon, 2))  # Brighten checks that frames and actions match
        steps = torch.arange(1, problem.horizon + 1)[None, :, None] / 100 + 0.3 * (len(self.problems) - 1)
        return Plan(steps.expand(1, -1, 2), torch.zeros(1))


def test_a_search_starts_from_the_rest_of_the_last_plan() -> None:
    spy = Spy()
    controller = MPCController(WorldModel(Brighten(3)), spy, UNIT, horizon=5, receding_horizon=2)
    frame, done = torch.full((3, 4, 4), 0.1), []
    cost = DesignatedPixel((1, 1, 1), (0.5, 0.5))
    for _ in range(4):
        action = controller.act(frame, cost)
        done.append(round(float(action[0]), 2))
        frame = frame + torch.tensor([*action, 0.0])[:, None, None]
    assert done == [0.01, 0.02, 0.31, 0.32]
    assert spy.problems[0].start is None
    start = spy.problems[1].start
    assert start is not None
    torch.testing.assert_close(start[0, :, 0], torch.tensor([0.03, 0.04, 0.05, 0.05, 0.05]))
    controller.reset(0)
    controller.act(frame, cost)
    assert spy.problems[-1].start is None, "another episode's plan was used"
    controller.reset(0, torch.tensor([0.25, -0.5]))
    controller.act(frame, cost)
    assert spy.problems[-1].start is not None
    assert spy.problems[-1].start.tolist() == [[[0.25, -0.5]] * 5]
    with pytest.raises(ValueError, match="receding_horizon must be 1 to horizon=2, not 3"):
        MPCController(WorldModel(Brighten()), CEMSolver(), UNIT, horizon=2, receding_horizon=3)


def test_the_controller_keeps_the_states_of_its_frames() -> None:
    controller = MPCController(WorldModel(Stateful(3)), Spy(), UNIT, horizon=3, receding_horizon=2)
    frame, state, cost = torch.full((3, 4, 4), 0.1), torch.tensor([0.02, 0.03]), DesignatedPixel((1, 1, 1), (0.5, 0.5))
    for number in range(4):  # Stateful checks that states and actions match
        action = controller.act(frame, cost, state)
        if number == 2:
            assert controller.predicted_frames()[0, 2, 0, 0] == pytest.approx(0.1 + 0.02 + 0.03)
        state = state + action
    controller.reset(0)
    controller.act(frame, cost, torch.zeros(2))  # the previous episode is discarded
    for wrong, words in ((None, "not None"), (torch.zeros(3), r"not \(3,\)")):
        with pytest.raises(ValueError, match=rf"takes a state \(2,\), {words}"):
            controller.act(frame, cost, wrong)
    with pytest.raises(ValueError, match=r"takes no state, not \(2,\)"):
        MPCController(WorldModel(Brighten()), Spy(), UNIT).act(frame, cost, state)


def test_plans_stay_within_reach_of_the_last_action() -> None:
    spy, frame = Spy(), torch.full((3, 4, 4), 0.1)
    controller = MPCController(WorldModel(Brighten(1)), spy, UNIT, horizon=3, receding_horizon=1, reach=0.2)
    controller.reset(0, torch.tensor([0.25, -0.5]))
    cost = DesignatedPixel((1, 1, 1), (0.5, 0.5))
    assert controller.act(frame, cost).tolist() == pytest.approx([0.05, -0.3])  # 0.01 was planned for both
    assert controller.plan is not None
    assert controller.plan.actions[0].flatten().tolist() == pytest.approx([0.05, -0.3, 0.02, -0.1, 0.03, 0.03])
    assert controller.act(frame, cost).tolist() == pytest.approx([0.25, -0.1])  # 0.31 was planned


@pytest.mark.slow
def test_a_model_that_takes_states_receives_those_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From recording and training to episodes: the states are those that a recording would contain."""
    record(Recording("block_push", 10, size=16), tmp_path / "set", workers=1, progress=False)
    train(load_config("block_push.yaml", {
        "data.root": str(tmp_path / "set"), "run": str(tmp_path / "run"), "training.steps": 2, "model.state_size": 4,
        "training.validation_windows": 1, "model.widths": (4, 4), "training.device": "cpu",
    }))  # fmt: skip
    model, size = load_model(tmp_path / "run", "best", "cpu", "float32")
    env = make_matching_env("block_push", size, model)
    given: list[list[float]] = []
    costs = model.costs
    monkeypatch.setattr(model, "costs", lambda *a, **k: (given.append(k["states"][0, -1].tolist()), costs(*a, **k))[1])
    monkeypatch.setattr(env, "steps", 3, raising=False)
    budget = PlanConfig(num_samples=4, iterations=1, horizon=2, receding_horizon=1)
    episode = play(env, budget.controller(model, env), 5, keep_images=True)
    env.reset(5)
    assert given[0] == pytest.approx(env.state().tolist())
    assert len({tuple(state) for state in given}) == episode.steps == 3, "one state for each frame"
    model.state_size = 3
    with pytest.raises(ConfigError, match=r"block_push has states of 4 values, the model takes 3 \[model.state_size\]"):
        make_matching_env("block_push", size, model)


def command(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["vidpred", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


@pytest.mark.slow
def test_from_recording_to_a_plan_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, numbers, video = (tmp_path / name for name in ("data", "run", "plan.json", "plan.mp4"))
    assert (
        command(monkeypatch, "record", data, "--env", "block_push", "--episodes", 10, "--size", 16, "--workers", 1) == 0
    )
    assert command(
        monkeypatch, "train", "--config", "block_push.yaml", f"data.root={data}", f"run={run}", "training.steps=2",
        "training.validation_windows=1", "model.widths=[4, 4]",
    ) == 0  # fmt: skip
    words = ["plan", "--run", run, "--episodes", 1, "--num-samples", 4, "--iterations", 1, "--horizon", 3]
    assert command(monkeypatch, *words, "--baselines", "--json", numbers, "--video", video) == 0
    found = json.loads(numbers.read_text())
    assert list(found["results"]) == [
        "run", "copy last", "true simulator", "uniform actions", "random actions", "scripted actions",
    ]  # fmt: skip
    assert found["results"]["scripted actions"]["rate"] == 1
    assert found["results"]["run"]["episodes"] == 1
    assert video.stat().st_size > 1000
    assert "episodes reached the goal" in capsys.readouterr().out
    for option, words_wanted in (
        (["--solver", "newton"], "choose from cem, mppi, random, gradient"),
        (["--receding-horizon", 4], "must be at most --horizon 3"),
        (["--env", "nowhere-v0"], "no such environment"),
        (["--precision", "int4"], "choose from auto, float32, bfloat16"),
        (["--video", tmp_path / "plan.png"], ".mp4, .gif"),
    ):
        assert command(monkeypatch, *words, *option) == 2
        assert words_wanted in capsys.readouterr().err


def test_a_cost_and_a_time_budget_are_chosen_by_name() -> None:
    env = BlockPushEnv(16)
    model = env.simulators()["true simulator"]
    with pytest.raises(ConfigError, match=r"block_push has no such cost \[cost=pose\]; choose from push, image"):
        PlanConfig(cost="pose").controller(model, env)
    with pytest.raises(ConfigError, match=r"\[seconds=0\] must be above 0"):
        PlanConfig(seconds=0).controller(model, env)
    env.reset_with_goal(0)
    assert isinstance(env.cost(None, "image"), GoalImage)
    assert isinstance(env.cost(None), PushBehind)
    budget = PlanConfig(num_samples=500, iterations=400, cost="image", seconds=0.02)
    result = play_model(model, env, budget, 1)
    assert result.median_seconds is not None
    assert result.p95_seconds is not None
    assert 0.02 <= result.median_seconds <= result.p95_seconds < 5
    request = PlanRequest(Path("run"), "block_push", PlanConfig(), 1)
    assert request.about()["budget"]["cost"] == "push"
    assert request.about()["protocol"] is None


def test_any_image_or_one_line_as_the_goal(tmp_path: Path) -> None:
    from PIL import Image

    deep = np.full((20, 30), 40000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    goal = read_goal([tmp_path / "deep.png"], 10)
    assert goal is not None
    assert goal.shape == (3, 10, 15)
    assert float(goal.mean()) == pytest.approx(40000 / 65535, abs=0.01)
    (tmp_path / "cut.png").write_bytes((tmp_path / "deep.png").read_bytes()[:60])
    for name in ("cut.png", "absent.png", "."):
        with pytest.raises(DataError, match=r"\[") as error:
            read_goal([tmp_path / name], 10)
        assert "\n" not in str(error.value)
