"""The planner in the interface of LeRobot's policies acts as the controller alone."""

from __future__ import annotations

import pytest
import torch

from tests.planning.worlds_for_tests import UNIT, Brighten, Stateful, brightened
from vidpred.planning.controller import MPCController
from vidpred.planning.costs import GoalImage, last_only
from vidpred.planning.lerobot_policy import PlanningPolicy
from vidpred.planning.solvers import CEMSolver, GradientSolver
from vidpred.planning.world_model import WorldModel

FRAME = torch.full((3, 4, 4), 0.3)
COST = last_only(GoalImage(brightened(FRAME, torch.tensor([[0.2, 0.1]]))[0], scales=(1,)))


def controller(model: WorldModel, seed: int = 0) -> MPCController:
    return MPCController(model, CEMSolver(32, 3, 4), UNIT, horizon=2, seed=seed)


def test_every_row_is_planned_by_its_own_controller() -> None:
    policy = PlanningPolicy(controller(WorldModel(Brighten())), COST, seed=3)
    alone = [controller(WorldModel(Brighten()), seed) for seed in (3, 4)]
    frames = torch.stack([FRAME, FRAME + 0.1])
    for _ in range(2):
        actions = policy.select_action({"observation.images.top": frames, "task": "push"})
        expected = torch.stack([one.act(frame, COST) for one, frame in zip(alone, frames, strict=True)])
        torch.testing.assert_close(actions, expected)
        frames = torch.stack([brightened(f, a[None])[0] for f, a in zip(frames, actions, strict=True)]).clamp(0, 1)
    policy.reset()
    assert policy.select_action({"observation.image": FRAME[None]}).shape == (1, 2)


def test_gradients_reach_the_actions_of_a_policy() -> None:
    one = MPCController(WorldModel(Brighten()), GradientSolver(20, 2), UNIT, horizon=2)
    action = PlanningPolicy(one, COST).select_action({"observation.image": FRAME[None]})[0]
    torch.testing.assert_close(action, one.act(FRAME, COST))
    assert action.abs().sum() > 0.1


def test_what_is_missing_is_named() -> None:
    policy = PlanningPolicy(controller(WorldModel(Stateful())), COST)
    images = {"observation.images.a": FRAME[None], "observation.images.b": FRAME[None]}
    for batch, message in (
        (images, "expected one image"),
        ({"observation.image": FRAME}, r"must be \(B, C, H, W\), not \(3, 4, 4\)"),
        ({"observation.image": FRAME[None]}, "takes states, and the observation has no 'observation.state'"),
    ):
        with pytest.raises(ValueError, match=message):
            policy.select_action(batch)
    found = policy.select_action({"observation.image": FRAME[None], "observation.state": torch.zeros(1, 2)})
    assert found.shape == (1, 2)
    with pytest.raises(ValueError, match="2 images after 1 before; call reset"):
        policy.select_action({"observation.image": FRAME.expand(2, -1, -1, -1), "observation.state": torch.zeros(2, 2)})
