"""The adapter, alone and with the solver of the real package if it is installed."""

from __future__ import annotations

import importlib.util
import sys
import types
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor

from tests.planning.worlds_for_tests import UNIT, Brighten, Stateful, brightened
from vidpred.errors import ConfigError
from vidpred.planning.costs import GoalImage
from vidpred.planning.planning_model import Bounds
from vidpred.planning.stable_worldmodel import IMAGENET, CostModel, FrameDynamics, Normalization
from vidpred.planning.world_model import WorldModel

FRAME = torch.full((3, 4, 4), 0.3)


def test_each_batch_item_has_its_own_goal() -> None:
    goals = torch.stack([FRAME + 0.1, FRAME - 0.2])
    plans = torch.rand(2, 5, 3, 2) / 10
    info = {
        "pixels": FRAME.expand(2, 5, 1, -1, -1, -1), "goal": goals[:, None, None].expand(-1, 5, -1, -1, -1, -1),
    }  # fmt: skip
    found = CostModel(WorldModel(Brighten())).get_cost(info, plans)
    expected = torch.stack(
        [GoalImage(goal)(brightened(FRAME, row)).sum(1) for goal, row in zip(goals, plans, strict=True)]
    )
    torch.testing.assert_close(found, expected)
    bounded = CostModel(WorldModel(Brighten(), bounds=UNIT))
    torch.testing.assert_close(bounded.get_cost(info, plans + 5), bounded.get_cost(info, torch.ones_like(plans)))


def test_past_actions_are_passed_on() -> None:
    past = torch.tensor([[[0.05, -0.05]]])
    context = torch.cat([FRAME[None], brightened(FRAME, past[0])])
    info = {
        "pixels": context.expand(1, 4, -1, -1, -1, -1), "action_history": past[:, None].expand(-1, 4, -1, -1),
        "goal": FRAME.expand(1, 4, 1, -1, -1, -1),
    }  # fmt: skip
    # Brighten checks that past actions and frames match.
    assert CostModel(WorldModel(Brighten(2))).get_cost(info, torch.zeros(1, 4, 2, 2)).shape == (1, 4)


def test_a_model_that_takes_states_raises() -> None:
    with pytest.raises(ConfigError, match="takes states, and these solvers pass none"):
        CostModel(WorldModel(Stateful()))


def forget_package() -> None:
    """Forget the package and its modules, or the stand-in of `solvers`."""
    for name in [name for name in sys.modules if name.split(".")[0] == "stable_worldmodel"]:
        del sys.modules[name]


def solvers() -> Any:
    """Return stable_worldmodel's module of solvers without importing the package, which needs data sets and simulators.

    It is called `solver` in version 0.1.1, and `planning` after that.
    """
    forget_package()
    spec = importlib.util.find_spec("stable_worldmodel")
    if spec is None or spec.origin is None:
        pytest.skip("stable_worldmodel is not installed")
    package = types.ModuleType("stable_worldmodel")
    package.__path__ = [str(Path(spec.origin).parent)]
    sys.modules["stable_worldmodel"] = package
    if importlib.util.find_spec("stable_worldmodel.planning"):
        return importlib.import_module("stable_worldmodel.planning")
    pytest.importorskip("loguru")
    return importlib.import_module("stable_worldmodel.solver")


def test_the_real_solver_finds_the_best_plan() -> None:
    solver = solvers().CEMSolver(CostModel(WorldModel(Brighten())), num_samples=200, n_steps=15, topk=20, var_scale=0.2)
    space = gymnasium.spaces.Box(-1, 1, (2, 2))
    solver.configure(action_space=space, n_envs=2, config=SimpleNamespace(horizon=2, action_block=1))
    moves = torch.tensor([[0.2, -0.1], [0.1, 0.3]])
    goals = torch.stack([brightened(FRAME, move[None])[-1] for move in moves])
    info = {"pixels": FRAME.expand(2, 1, -1, -1, -1), "goal": goals[:, None]}
    actions = solver.solve(info)["actions"]
    # The cheapest plan reaches the goal at the first step and stays.
    expected = torch.stack([moves, torch.zeros(2, 2)], 1)
    np.testing.assert_allclose(actions, expected, atol=0.05)


@pytest.mark.parametrize("adapter", ["CostModel", "FrameDynamics"])
@pytest.mark.parametrize("normalization", [None, IMAGENET], ids=["as they come", "normalized"])
def test_a_model_runs_in_the_evaluation_loop_of_the_real_package(
    capsys: pytest.CaptureFixture[str], adapter: str, normalization: Normalization | None
) -> None:
    """Its World, its PushT and its policy: pixels as they come, channels last, and normalized ones of a transform."""
    forget_package()
    with warnings.catch_warnings(action="ignore"):
        for needed in ("pymunk", "pygame", "shapely", "stable_worldmodel"):
            swm = pytest.importorskip(needed)
    planning = swm.planning if hasattr(swm, "planning") else swm.solver
    if adapter == "FrameDynamics" and not hasattr(planning, "ShootingCostEvaluator"):
        pytest.skip("a version without objectives")
    world_model = WorldModel(Brighten(), bounds=Bounds.of([-1, -1], [1, 1]), frame_size=(16, 16))
    model: Any = CostModel(world_model, normalization=normalization)
    if adapter == "FrameDynamics":
        model = planning.ShootingCostEvaluator(FrameDynamics(world_model, normalization), planning.GoalMSE())
    transform = {} if normalization is None else dict.fromkeys(("pixels", "goal"), normalized)
    with warnings.catch_warnings(action="ignore"):
        solver = planning.CEMSolver(model, num_samples=8, n_steps=2, topk=4)
        config = swm.PlanConfig(horizon=2, receding_horizon=1)
        world = swm.World("swm/PushT-v1", num_envs=2, image_shape=(32, 32), max_episode_steps=3)
        world.set_policy(swm.policy.WorldModelPolicy(solver, config, transform=transform))
        assert len(world.evaluate(episodes=2, seed=1)["episode_successes"]) == 2
    assert "CEM solve time" in capsys.readouterr().out


def normalized(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    return (image.float() / 255 - mean) / std


def test_dynamics_undo_normalization_size_and_scaling() -> None:
    """The embeddings are the frames of `WorldModel`, context first, as `ShootingCostEvaluator` expects them."""
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    scale = (torch.tensor([0.02, -0.01]), torch.tensor([0.05, 0.1]))
    wide = functional.interpolate(FRAME[None], (56, 56), mode="nearest")[0]
    pixels = ((wide - mean) / std)[None, None]  # (B, T, C, H, W)
    model = WorldModel(Brighten(), frame_size=4)
    dynamics, plans = FrameDynamics(model, action_scale=scale), torch.randn(1, 5, 3, 2) / 2
    torch.testing.assert_close(dynamics.encode({"pixels": pixels})["emb"], FRAME.reshape(1, 1, -1))
    info = dynamics.rollout({"pixels": pixels[:, None].expand(-1, 5, -1, -1, -1, -1)}, plans)
    moves = plans * scale[1] + scale[0]
    expected = torch.cat([FRAME.expand(5, 1, -1, -1, -1), brightened(FRAME, moves[0])], 1).flatten(2)
    torch.testing.assert_close(info["predicted_emb"][0], expected)
    cost = GoalImage(FRAME, scales=(1,))
    last = {"pixels": pixels.movedim(2, -1)[:, None].expand(-1, 5, -1, -1, -1, -1)}  # channels last, as in World
    found = CostModel(model, cost, IMAGENET, scale).get_cost(last, plans)
    torch.testing.assert_close(found, model.costs(FRAME[None, None], moves, None, cost))
    plain = FrameDynamics(WorldModel(Brighten(), bounds=UNIT), normalization=None)
    byte = (FRAME * 255).round().byte().expand(1, 2, 1, -1, -1, -1)
    ended = plain.rollout({"pixels": byte}, torch.full((1, 2, 1, 2), 5.0))["predicted_emb"][0, :, -1].view(2, 3, 4, 4)
    torch.testing.assert_close(ended[:, 0], byte[0, :, 0, 0] / 255 + 1, atol=1e-5, rtol=0)  # clipped to the bounds
    with pytest.raises(ConfigError, match="takes states"):
        FrameDynamics(WorldModel(Stateful()))
