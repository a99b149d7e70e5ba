"""Recurrent predictors: which inputs, actions and gradients their steps receive, with a step worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.convlstm import ConvLSTM, ConvLSTMSettings
from vidpred.models.predrnn import PredRNNSettings
from vidpred.models.recurrent import Rates, RecurrentPredictor
from vidpred.models.svg import SVG, SVGSettings

CONTEXT, TARGET = (0.5, 0.3), (0.7, 0.6, 0.2)
ACTIONS = (0.05, 0.1, 0.2, 0.15, 0.3)


class Halving(RecurrentPredictor):
    """The next frame is half the frame plus the action."""

    def __init__(self, lead: int = 1) -> None:
        settings = PredRNNSettings(cell_size=1, action_size=1)
        super().__init__(settings, DataSettings(context_frames=2, pred_frames=3, channels=1, lead=lead))
        self.factor = nn.Parameter(torch.tensor(0.5))

    def begin(self, frame: Tensor) -> None:
        return None

    def step(self, frame: Tensor, state: None, action: Tensor | None) -> tuple[Tensor, Any]:
        assert action is not None
        return self.factor * frame + action[:, :, None, None], None


def frames(*values: float) -> Tensor:
    return torch.tensor(values)[None, :, None, None, None].expand(1, -1, 1, 2, 3)


def actions(count: int) -> Tensor:
    return torch.tensor(ACTIONS)[None, :count, None]


@pytest.mark.parametrize("lead", [1, 2])
def test_each_frame_follows_from_the_one_before_and_the_action_between_them(lead: int) -> None:
    """The gradient passes through all predictions: y' = y_before + factor * y_before'."""
    model, value, slope, expected = Halving(lead), CONTEXT[1], 0.0, []
    for action in ACTIONS[1 : 3 + lead]:
        value, slope = 0.5 * value + action, value + 0.5 * slope
        expected.append(value)
    (images,) = model(frames(*CONTEXT), actions=actions(3 + lead))
    torch.testing.assert_close(images, frames(*expected[-3:]))
    images[0, -1, 0, 0, 0].backward()
    assert model.factor.grad is not None
    assert model.factor.grad.item() == pytest.approx(slope)


def test_inputs_of_training_and_the_loss_of_context_frames() -> None:
    model = Halving()
    model.rates = Rates(1.0, 1.0)
    (images,) = model(frames(*CONTEXT), actions=actions(4), target=frames(*TARGET))
    inputs = (CONTEXT[1], *TARGET[:2])
    expected = [0.5 * value + action for value, action in zip(inputs, ACTIONS[1:], strict=False)]
    torch.testing.assert_close(images, frames(*expected))
    error = 0.5 * CONTEXT[0] + ACTIONS[0] - CONTEXT[1]
    assert model.extra_losses["context"].item() == pytest.approx((2 * error) ** 2 / 3)


def test_predicted_contexts_have_no_loss() -> None:
    """With `data.unroll` the second context is predicted; its errors count as those of the first future frames."""
    model = Halving()
    context = frames(*CONTEXT).clone().requires_grad_()
    model(context, actions=actions(4), target=frames(*TARGET))
    assert model.extra_losses["context"].item() == 0
    svg = SVG(SVGSettings(width=2, code_size=6, hidden=5), DataSettings(context_frames=2, pred_frames=1, channels=1))
    clip = torch.rand(2, 3, 1, 16, 16)
    for graph in (False, True):
        svg(clip[:, :2].clone().requires_grad_(graph), target=clip[:, 2:])
        assert (svg.extra_losses["context"].item() == 0) is graph


def test_predictions_draw_no_random_numbers() -> None:
    model = ConvLSTM(ConvLSTMSettings(hidden=[4], kernel=3), DataSettings(context_frames=2, pred_frames=2, channels=1))
    before = torch.get_rng_state()
    model(torch.rand(1, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)
