"""Frames, bounds and costs that cannot be used are refused by name, and decisions are functions of seed and frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.planning.worlds_for_tests import Brighten, Stateful
from vidpred.planning.baselines import CopyLastModel
from vidpred.planning.controller import MPCController
from vidpred.planning.costs import DesignatedPixel, GoalImage
from vidpred.planning.inputs import split_observation
from vidpred.planning.planning_model import Bounds
from vidpred.planning.solvers import CEMSolver, GradientSolver
from vidpred.planning.world_model import WorldModel

FRAME = torch.full((3, 8, 8), 0.4)
COST = GoalImage(torch.full((3, 8, 8), 0.5), scales=(1,))
SMALL = Bounds.of([-0.1, -0.1], [0.1, 0.1])


class Noisy(Brighten):
    """A Brighten whose noise adds to blue."""

    noise_channels = 1

    def forward(self, context: Tensor, actions: Tensor, noise: Tensor) -> list[Tensor]:  # type: ignore[override]
        frames = super().forward(context, actions)[0].clone()
        frames[:, :, 2] += noise[:, :, None, None] / 50
        return [frames]


def controller(model: object | None = None, **settings: int) -> MPCController:
    chosen = WorldModel(Brighten(), frame_size=8) if model is None else model
    return MPCController(chosen, CEMSolver(8, 2, 2), SMALL, horizon=2, **settings)  # type: ignore[arg-type]


BAD_FRAMES = {
    "nothing": (None, "expected the newest frame .* not NoneType"),
    "array": (np.zeros((8, 8, 3), np.uint8), r"as a tensor \(C, H, W\).* not ndarray \(8, 8, 3\)"),
    "batch": (FRAME[None], r"expected a frame \(C, H, W\), not \(1, 3, 8, 8\)"),
    "channels last": (FRAME.permute(1, 2, 0), r"frame \(8, 8, 3\) has its channels last"),
    "NaN": (torch.where(torch.arange(8) == 3, torch.nan, FRAME), "24 values are NaN or infinite"),
    "infinity": (FRAME / 0, "192 values are NaN or infinite"),
    "0 to 255": (FRAME * 255, r"must be finite and in \[0, 1\], or uint8; found \[102, 102\]"),
    "-1 to 1": (FRAME - 1, r"found \[-0\.6, -0\.6\]"),
    "integers": (FRAME.long(), "is torch.int64; expected uint8"),
    "another size": (torch.rand(3, 9, 12), "9 x 12 pixels, but the model was trained on frames with a short side of 8"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_frames_that_cannot_be_used_are_refused_before_planning(name: str) -> None:
    frame, words = BAD_FRAMES[name]
    planner = controller()
    with pytest.raises(ValueError, match=words):
        planner.act(frame, COST)
    assert not planner.context, "the frame was stored"
    simulated = controller(CopyLastModel(2))
    if name != "another size":  # a simulator does not know its size before the first frame
        with pytest.raises(ValueError, match=words):
            simulated.act(frame, COST)
    if isinstance(frame, Tensor) and frame.dim() == 3:
        with pytest.raises(ValueError, match=words.removeprefix(r"frame \(8, 8, 3\) ")):
            WorldModel(Brighten(), frame_size=8).rollout(frame[None, None], torch.zeros(1, 1, 1, 2))


def test_frames_keep_their_shape_within_an_episode() -> None:
    planner = controller(WorldModel(Brighten()))
    planner.act(FRAME, COST)
    with pytest.raises(ValueError, match=r"expected a frame \(3, 8, 8\), as before .* not \(3, 8, 9\); call reset"):
        planner.act(torch.rand(3, 8, 9), COST)
    planner.reset(0)
    planner.act(torch.rand(3, 8, 9), DesignatedPixel((1, 1, 1), (0.5, 0.5)))


def test_uint8_frames_are_scaled() -> None:
    whole = (FRAME * 255).round().to(torch.uint8)
    assert torch.equal(controller().act(whole, COST), controller().act(whole.float() / 255, COST))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-1, 1, r"two vectors \(A,\).* not \(\) and \(\)"),
        ([-1, -1], [1], r"not \(2,\) and \(1,\)"),
        ([1, 0], [-1, 1], r"the lower bounds \[1.0, 0.0\] must not exceed the upper ones \[-1.0, 1.0\]"),
        ([-float("inf"), 0], [1, 1], "bounds must be finite"),
        ([float("nan"), 0], [1, 1], "bounds must be finite"),
        ([], [], r"not \(0,\) and \(0,\)"),
    ],
)
def test_bounds_that_cannot_be_used_are_refused(low: object, high: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Bounds.of(low, high)


def test_observations_by_key_give_frames_and_states() -> None:
    """Images are tensors (C, H, W), or arrays (H, W, C) as in Gymnasium; several cameras are stacked."""
    left, right, pose = torch.rand(3, 8, 8), np.full((8, 8, 3), 51, np.uint8), np.array([0.1, 0.2])
    frame, state = split_observation({"left": left, "right": right, "pose": pose, "task": "push"}, ("left", "right"))
    assert torch.equal(frame[:3], left)
    assert (frame[3:] == 51).all()
    assert state is not None
    assert state.tolist() == pytest.approx([0.1, 0.2])
    for keys, words in (((), "has 2 images, left, right; set image_keys"), (("top",), "has no top; it has left, ")):
        with pytest.raises(ValueError, match=words):
            split_observation({"left": left, "right": right, "pose": pose}, keys)
    planner = controller(WorldModel(Stateful()))
    planner.act({"image": FRAME, "pose": pose}, COST)
    assert planner.states[0].tolist() == pytest.approx([0.1, 0.2])
    again = controller(WorldModel(Brighten()))
    assert torch.equal(again.act({"image": FRAME, "pose": pose}, COST), controller().act(FRAME, COST))
    with pytest.raises(ValueError, match=r"frame \(6, 8, 8\) has 6 channels, but the model takes .*: 1 color camera"):
        controller().act(torch.rand(6, 8, 8), COST)


def test_bounds_are_compared_with_those_of_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    trained = Bounds.of([-1, 0], [1, 10], ["x", "angle"])
    model = WorldModel(Brighten(), bounds=Bounds.of([-1.1, 0], [1, 5], ["x", "angle"]), trained_bounds=trained)
    planner = (model, CEMSolver(8, 2, 2))
    MPCController(*planner, Bounds.of([-1, 0], [1, 10]), horizon=1)
    assert not capsys.readouterr().err
    MPCController(*planner, Bounds.of([-1, 0], [1, 100]), horizon=1)
    assert "warning: the bounds exceed the actions of the model's training (angle: [0, 100], trained on [0, 10])" in (
        capsys.readouterr().err
    )
    with pytest.raises(ValueError, match="trained on the actions x, angle, in this order, not angle, x"):
        model.bounds = Bounds.of([0, -1], [10, 1], ["angle", "x"])
    with pytest.raises(ValueError, match="bounds are of 3 action values, but the model takes 2"):
        MPCController(*planner, Bounds.of([0] * 3, [1] * 3), horizon=1)
    with pytest.raises(ValueError, match="1 names of 2 action values: x"):
        Bounds.of([0, 0], [1, 1], ["x"])


def test_frames_have_the_whole_size_of_the_training() -> None:
    with pytest.raises(ValueError, match="8 x 8 pixels, but the model was trained on frames of 8 x 12; resize"):
        controller(WorldModel(Brighten(), frame_size=(8, 12))).act(FRAME, COST)


def test_an_action_value_that_cannot_change_is_kept_by_gradients() -> None:
    fixed = Bounds.of([-0.1, 0.05], [0.1, 0.05])
    planner = MPCController(WorldModel(Brighten()), GradientSolver(steps=40, starts=2), fixed, horizon=1)
    goal = FRAME + torch.tensor([0.04, 0.05, 0.0])[:, None, None]
    action = planner.act(FRAME, GoalImage(goal, scales=(1,)))
    torch.testing.assert_close(action, torch.tensor([0.04, 0.05]), rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (lambda frames: frames.mean(), r"must return \(8,\) or \(8, 2\), not shape \(\)"),
        (lambda frames: frames.mean((1, 2, 3)), r"not shape \(8, 8\)"),
        (lambda frames: 0.5, "not float"),
        (lambda frames: frames[:, 0, 0, 0, 0].log() * torch.nan, "the cost of 8 of 8 plans is NaN or infinite"),
        (lambda frames: 1 / (frames[:, :, 0, 0, 0] > 2), "the cost of 8 of 8 plans is NaN or infinite"),
    ],
)
def test_costs_of_another_shape_or_not_finite_are_refused(cost: object, words: str) -> None:
    for model in (WorldModel(Brighten()), CopyLastModel(2)):
        with pytest.raises(ValueError, match=words):
            controller(model).act(FRAME, cost)  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk", [None, 1, 4])
def test_each_situation_may_have_its_own_cost(chunk: int | None) -> None:
    goals, context = torch.rand(3, 3, 8, 8), torch.rand(3, 1, 3, 8, 8) * 0.8
    actions = torch.rand(3, 5, 2, 2) / 10
    costs = [GoalImage(goal) for goal in goals]
    model = WorldModel(Brighten(), chunk=chunk)
    together = model.costs(context, actions, None, costs)
    alone = [model.costs(context[n : n + 1], actions[n : n + 1], None, costs[n]) for n in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))
    still = CopyLastModel(2).costs(context, actions, None, costs)
    torch.testing.assert_close(
        still, torch.stack([costs[n](context[n][None]) for n in range(3)]).sum(-1).expand(3, 5) * 2
    )
    for kind in (model, CopyLastModel(2)):
        with pytest.raises(ValueError, match="2 costs for 3 situations; give one for all, or one for each"):
            kind.costs(context, actions, None, costs[:2])


def test_decisions_of_models_with_noise_are_functions_of_seed_and_frames() -> None:
    model = WorldModel(Noisy(), chunk=3)
    cost = GoalImage(torch.tensor([0.5, 0.5, 0.45])[:, None, None].expand(3, 8, 8), scales=(1,))

    def decide(seed: int) -> tuple[Tensor, Tensor, float]:
        torch.manual_seed(torch.randint(1000, (1,)).item())  # whatever torch's stream holds
        planner = controller(model)
        planner.reset(seed)
        action = planner.act(FRAME, cost)
        assert planner.plan is not None
        return action, planner.predicted_frames(), float(planner.plan.cost)

    torch.random.seed()
    one, again, other = decide(5), decide(5), decide(6)
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert one[2] == again[2] != other[2]
    blue = one[1][:, 2].mean((1, 2))
    assert not torch.equal(blue, other[1][:, 2].mean((1, 2)))
    planned = float(cost(one[1][None]).sum())
    assert planned == pytest.approx(one[2], rel=1e-4), "the frames shown are those that were scored"
