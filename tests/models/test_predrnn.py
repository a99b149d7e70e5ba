"""PredRNN-V2: its cell without the second memory is torch's LSTM; the path of that memory, decoupling and sampling."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vidpred.data.settings import DataSettings
from vidpred.models.predrnn import FORGET_BIAS, PredRNN, PredRNNSettings, SpatiotemporalLSTMCell, overlap


def small(**change: object) -> PredRNN:
    torch.manual_seed(0)
    settings = PredRNNSettings.model_validate({"hidden": [4, 4], "kernel": 3, **change})
    return PredRNN(settings, DataSettings(context_frames=3, pred_frames=2, channels=1))


def test_on_one_cell_without_the_second_memory_it_is_an_lstm() -> None:
    torch.manual_seed(0)
    cell, plain = SpatiotemporalLSTMCell(3, 5, 1), nn.LSTMCell(3, 5)
    with torch.no_grad():
        for parameter in (cell.of_both.weight, cell.mix.weight, plain.bias_ih, plain.bias_hh):
            parameter.zero_()
        plain.bias_ih[5:10] = FORGET_BIAS
        cell.mix.weight[:, :5, 0, 0] = torch.eye(5)  # output of the memory along time only
        cell.of_input.weight[:15, :, 0, 0] = plain.weight_ih[:15]
        cell.of_input.weight[30:, :, 0, 0] = plain.weight_ih[15:]
        cell.of_hidden.weight[:, :, 0, 0] = plain.weight_hh
    inputs, hidden, memory, zigzag = torch.randn(2, 3), *torch.randn(3, 2, 5)
    found = cell(*(part[:, :, None, None] for part in (inputs, hidden, memory, zigzag)))
    for one, other in zip(found[:2], plain(inputs, (hidden, memory)), strict=True):
        torch.testing.assert_close(one[:, :, 0, 0], other)


def test_the_second_memory_passes_from_the_last_layer_to_the_next_step() -> None:
    model = small()
    frame = torch.rand(1, 16, 3, 3)
    _, state = model.step(frame, model.begin(frame), None)
    image, after = model.step(frame, state, None)
    other, _ = model.step(frame, state._replace(zigzag=state.zigzag + 1), None)
    assert not torch.equal(image, other)
    level, zigzag = frame, state.zigzag  # by hand: layer after layer
    for layer, (hidden, memory) in zip(model.layers, state.layers, strict=True):
        level, _, zigzag, _ = layer(level, hidden, memory, zigzag)
    assert torch.equal(after.zigzag, zigzag)


def test_decoupling_by_hand() -> None:
    """Equal changes overlap by 1, those at different places by 0; the loss has its weight and counts all frames."""
    change = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(overlap(change, -2 * change), torch.tensor(1.0))
    left, right = change.clone(), change.clone()
    left[..., 2:], right[..., :2] = 0, 0
    assert float(overlap(left, right)) == 0
    context, target = torch.rand(2, 3, 1, 8, 8), torch.rand(2, 2, 1, 8, 8)
    found = []
    for weight in (0.1, 0.2):
        model = small(decoupling_weight=weight)
        model(context, target=target)
        found.append(model.extra_losses["decoupling"].item())
    assert found[1] == pytest.approx(2 * found[0], rel=1e-5)
    assert 0 < found[0] <= 0.1 * 4 / 2
    assert small(decoupling_weight=0).adapter is None


def test_reverse_scheduled_sampling() -> None:
    model = small(sampling_start=0.2, sampling_end=0.4, sampling_decay=0.1)
    shares = {0.0: (0.5, 0.5), 0.19: (0.5, 0.5), 0.2: (0.5, 0.5), 0.3: (1 - 0.5 / 2.718281828, 0.25), 0.4: (1.0, 0.0)}
    for share, rates in shares.items():
        model.grow(share)
        assert tuple(model.rates) == pytest.approx(rates)
    model.grow(0.0)
    torch.manual_seed(0)
    true = model.true_inputs(torch.zeros(2000, 1), 3, 2).float().mean(0)
    torch.testing.assert_close(true, torch.full((4,), 0.5), atol=0.05, rtol=0)


def test_actions_multiply_what_follows_from_the_hidden_state() -> None:
    """The first one, too, where the hidden state is 0: with one context frame there is no other before the next."""
    torch.manual_seed(0)
    cell = SpatiotemporalLSTMCell(3, 5, 1, actions=2)
    assert cell.of_action is not None
    inputs, hidden, memory, zigzag, action = (torch.randn(2, width, 1, 1) for width in (3, 5, 5, 5, 2))
    found = cell(inputs, hidden, memory, zigzag, action[:, :, 0, 0])
    gains = cell.of_action(action[:, :, 0, 0])
    for number in range(2):  # the cell without actions whose weights are those gains times as large
        plain = SpatiotemporalLSTMCell(3, 5, 1)
        plain.of_hidden = copy.deepcopy(cell.of_hidden)
        plain.load_state_dict({key: value for key, value in cell.state_dict().items() if "of_action" not in key})
        with torch.no_grad():
            plain.of_hidden.weight.mul_(gains[number, :, None, None, None])
            plain.of_hidden.bias.mul_(gains[number])  # type: ignore[union-attr]
        alone = plain(*(part[number : number + 1] for part in (inputs, hidden, memory, zigzag)))
        torch.testing.assert_close(alone[0], found[0][number : number + 1])
    model = PredRNN(
        PredRNNSettings(hidden=[4], kernel=3, action_size=2), DataSettings(context_frames=1, pred_frames=1, channels=1)
    )
    actions = torch.zeros(1, 1, 2, requires_grad=True)
    model(torch.rand(1, 1, 1, 8, 8), actions=actions)[0].square().sum().backward()
    assert actions.grad is not None
    assert bool((actions.grad != 0).all())
