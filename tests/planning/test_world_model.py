"""The planning interface: alignment, chunks, gradients, uncertainty and errors."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.planning.worlds_for_tests import UNIT, Brighten, Stateful, brightened
from vidpred.config import load_config
from vidpred.errors import ConfigError
from vidpred.models.baselines import CopyLast
from vidpred.planning.baselines import CopyLastModel
from vidpred.planning.controller import MPCController
from vidpred.planning.solvers import RandomShooting
from vidpred.planning.world_model import WorldModel
from vidpred.run import train


def problem(context_len: int, batch: int = 2, plans: int = 5, steps: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Return different context, actions and past actions for Brighten, small enough to stay within [0, 1]."""
    torch.manual_seed(0)
    past, actions = torch.rand(batch, context_len - 1, 2) / 40, torch.rand(batch, plans, steps, 2) / 40
    first = torch.full((3, 4, 5), 0.2)
    context = torch.stack([torch.cat([first[None], brightened(first, row)]) for row in past])
    return context, actions, past


@pytest.mark.parametrize("context_len", [1, 3, 5])
@pytest.mark.parametrize("chunk", [None, 1, 3, 100])
def test_every_plan_gets_its_own_frames(context_len: int, chunk: int | None) -> None:
    context, actions, past = problem(context_len)
    generator = Brighten(min(context_len, 3))
    frames = WorldModel(generator, chunk=chunk).rollout(context, actions, past)
    for row in range(2):
        expected = brightened(context[row, -1], actions[row])
        torch.testing.assert_close(frames[row], expected)
    assert generator.largest_batch == min(chunk or 10, 10), "memory is not bounded by the chunk"


def test_costs_are_those_of_the_frames_for_all_chunks() -> None:
    context, actions, past = problem(3)
    frames = WorldModel(Brighten(3)).rollout(context, actions, past)
    for chunk in (1, 4, 10):
        model = WorldModel(Brighten(3), chunk=chunk)
        by_step = model.costs(context, actions, past, lambda frames: frames[:, :, 0].mean((-1, -2)))
        torch.testing.assert_close(by_step, frames[:, :, :, 0].mean((-1, -2)).sum(-1))
        last = model.costs(context, actions, past, lambda frames: frames[:, -1, 1].amax((-1, -2)))
        torch.testing.assert_close(last, frames[:, :, -1, 1].amax((-1, -2)))


def test_costs_are_where_the_plans_are_and_frames_on_the_cpu() -> None:
    """Solvers draw on the CPU, also for a model on a GPU; here the plans are on the other device."""
    model, frame = CopyLastModel(2), torch.rand(3, 4, 4)
    costs = model.costs(frame[None, None], torch.zeros(1, 5, 2, 2, device="meta"), None, lambda f: f.mean((1, 2, 3, 4)))
    assert (costs.shape, costs.device.type) == ((1, 5), "meta")
    controller = MPCController(model, RandomShooting(4), UNIT, horizon=2)
    controller.act(frame, lambda frames: frames.mean((1, 2, 3, 4)))
    with FakeTensorMode():
        on_gpu = torch.empty(1, 1, 2, 3, 4, 4, device="cuda")
    with patch.object(model, "rollout", return_value=on_gpu):
        assert controller.predicted_frames().device.type == "cpu"


def test_uint8_frames_equal_floats() -> None:
    context = torch.randint(0, 200, (1, 1, 3, 4, 5), dtype=torch.uint8)
    model, actions = WorldModel(Brighten()), torch.zeros(1, 1, 2, 2)
    torch.testing.assert_close(model.rollout(context, actions), model.rollout(context.float() / 255, actions))


def test_gradients_reach_the_actions_if_requested() -> None:
    context, actions, past = problem(2)
    actions.requires_grad_(True)
    model = WorldModel(Brighten(2), chunk=3)
    assert not model.rollout(context, actions, past).requires_grad
    frames = model.rollout(context, actions, past, differentiable=True)
    frames[
        :, :, 1, 0, 0, 0
    ].sum().backward()  # red of the second future frame depends on the first values of two actions
    expected = torch.zeros_like(actions)
    expected[:, :, :2, 0] = 1
    torch.testing.assert_close(actions.grad, expected)


class Noisy(Brighten):
    """A Brighten that also adds the noise to green."""

    noise_channels = 1

    def forward(self, context: Tensor, noise: Tensor, actions: Tensor) -> list[Tensor]:  # type: ignore[override]
        grown = context[:, -1:].clone()
        grown[:, :, 1] += noise[:, :, None, None]
        return [grown]


def test_spread_is_that_of_sampled_futures() -> None:
    context, actions, past = problem(1, batch=1, plans=2, steps=2)
    model = WorldModel(Noisy(), chunk=1)
    torch.manual_seed(3)
    mean, spread = model.spread(context, actions, past, samples=4)
    torch.manual_seed(3)
    noise = torch.cat([torch.randn(1) for _ in range(4)])
    torch.testing.assert_close(mean[0, 0, 1, 1], (context[0, 0, 1] + 2 * noise.mean()))
    expected = noise.std(correction=0) / 3**0.5  # one of three channels varies
    torch.testing.assert_close(spread, torch.stack([expected, 2 * expected]).expand(1, 2, 2))
    with pytest.raises(ConfigError, match="takes no noise"):
        WorldModel(Brighten()).spread(context, actions, past)


def test_mismatched_shapes_are_named() -> None:
    context, actions, past = problem(3)
    model = WorldModel(Brighten(3), bounds=UNIT)
    hot, far = actions.clone(), actions.clone()
    hot[0, 0, 0, 0], far[1, 2, 0, 1] = float("nan"), 1.5
    wrong: list[tuple[tuple[Tensor, Tensor, Tensor | None], str]] = [
        (
            (context[:, :2], actions, past[:, :1]),
            r"context must be \(B, T, C, H, W\) with T >= 3, not \(2, 2, 3, 4, 5\)",
        ),
        ((context, actions[..., :1], past), r"\(B, S, K, A\) = \(2, S, K, 2\), not \(2, 5, 3, 1\)"),
        ((context, actions[0], past), r"\(B, S, K, A\) = \(2, S, K, 2\), not \(5, 3, 2\)"),
        ((context, actions, None), r"past_actions must be \(B, T-1, A\) = \(2, 2, 2\), not None"),
        ((context, actions, past[:, 1:]), r"past_actions must be .* = \(2, 2, 2\), not \(2, 1, 2\)"),
        ((context, hot, past), r"actions \(2, 5, 3, 2\) must be finite"),
        (
            (context, far, past),
            r"actions \(2, 5, 3, 2\) lie in .*1.5\], outside the bounds \[-1.0, -1.0\] to \[1.0, 1.0\]",
        ),
    ]
    for arguments, words in wrong:
        with pytest.raises(ValueError, match=words):
            model.rollout(*arguments)


@pytest.mark.parametrize("context_len", [1, 3])
@pytest.mark.parametrize("chunk", [None, 3])
def test_every_plan_gets_its_predicted_states(context_len: int, chunk: int | None) -> None:
    _, actions, past = problem(context_len)
    actions.requires_grad_(True)
    states = torch.rand(2, 1, 2) / 40 + torch.cat([torch.zeros(2, 1, 2), past.cumsum(1)], 1)
    context = torch.full((2, context_len, 3, 4, 5), 0.2)
    model = WorldModel(Stateful(context_len), chunk=chunk)
    frames = model.rollout(context, actions, past, differentiable=True, states=states)
    led_to = states[:, None, -1:, 0] + torch.cat([torch.zeros(2, 5, 1), actions[..., :-1, 0].cumsum(2)], 2)
    torch.testing.assert_close(frames[:, :, :, 2], (0.2 + led_to.cumsum(2))[..., None, None].expand(-1, -1, -1, 4, 5))
    costs = model.costs(context, actions, past, lambda frames: frames[:, :, 2].mean((-1, -2)), states=states)
    torch.testing.assert_close(costs, frames[:, :, :, 2, 0, 0].sum(-1))
    (gradient,) = torch.autograd.grad(frames[:, :, 2, 2, 0, 0].sum(), actions)
    assert gradient[0, 0, :, 0].tolist() == pytest.approx([2, 1, 0]), "an action changes the later states"
    with pytest.raises(ConfigError, match="takes no noise"):
        model.spread(context, actions, past, states=states)


def test_mismatched_states_are_named() -> None:
    context, actions, past = problem(3)
    model, states = WorldModel(Stateful(3)), torch.zeros(2, 3, 2)
    for given, words in (
        (None, r"states must be \(B, T, state_size\) = \(2, 3, 2\), not None"),
        (states[:, 1:], r"= \(2, 3, 2\), not \(2, 2, 2\)"),
        (states + float("nan"), r"states \(2, 3, 2\) must be finite"),
    ):
        with pytest.raises(ValueError, match=words):
            model.rollout(context, actions, past, states=given)
    with pytest.raises(ValueError, match=r"takes no states \[model.state_size=0\], not \(2, 3, 2\)"):
        WorldModel(Brighten(3)).costs(context, actions, past, lambda frames: frames.mean((-3, -2, -1)), states=states)


def test_a_model_without_actions_cannot_plan(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"takes no actions \[model.action_size=0\]"):
        WorldModel(CopyLast())
    train(load_config(None, {
        "run": str(tmp_path / "run"), "training.steps": 1, "training.batch_size": 2, "model.scales": 1,
        "model.feature_maps": [[4]], "model.kernel_sizes": [[3, 3]], "training.device": "cpu",
        "training.validate_every": 0,
    }))  # fmt: skip
    with pytest.raises(ConfigError, match=r"takes no actions \[model.action_size=0\]"):
        WorldModel.load(tmp_path / "run", device="cpu")
