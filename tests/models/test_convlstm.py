"""The convolutional LSTM: on one cell it is torch's LSTM."""

from __future__ import annotations

import torch
from torch import nn

from vidpred.data.settings import DataSettings
from vidpred.models.convlstm import ConvLSTM, ConvLSTMCell, ConvLSTMSettings


def test_on_one_cell_it_is_an_lstm() -> None:
    torch.manual_seed(0)
    cell, plain = ConvLSTMCell(3, 5, 1), nn.LSTMCell(3, 5)
    with torch.no_grad():
        cell.gates.weight.copy_(torch.cat([plain.weight_ih, plain.weight_hh], 1)[:, :, None, None])
        cell.gates.bias.copy_(plain.bias_ih + plain.bias_hh)
    inputs, state = torch.randn(2, 3), (torch.randn(2, 5), torch.randn(2, 5))
    found = cell(inputs[:, :, None, None], *(part[:, :, None, None] for part in state))
    for one, other in zip(found, plain(inputs, state), strict=True):
        torch.testing.assert_close(one[:, :, 0, 0], other)


def test_true_frames_are_inputs_less_and_less() -> None:
    """At the beginning, the second prediction follows from the first true future frame; at the end, it does not."""
    torch.manual_seed(0)
    data = DataSettings(context_frames=2, pred_frames=2, channels=1)
    model = ConvLSTM(ConvLSTMSettings(hidden=[4], kernel=3, scheduled_sampling=0.5), data)
    context, target = torch.rand(1, 2, 1, 8, 8), torch.rand(1, 2, 1, 8, 8)
    alone = model(context)[0]
    for share, equal in ((0.0, False), (0.5, True), (1.0, True)):
        model.grow(share)
        assert torch.equal(model(context, target=target)[0], alone) is equal
    model.grow(0.25)
    assert model.rates.future == 0.5
    found = model.extra_losses["context"]
    expected = nn.functional.mse_loss(predicted_context(model, context) * 2 - 1, context[:, 1:] * 2 - 1) / 2
    torch.testing.assert_close(found, expected)


def test_inputs_are_found_among_context_and_target_frames() -> None:
    """Two context frames, then `lead` - 1 frames that the target lacks, then two target frames."""
    for lead, wanted in ((1, [0, 1, 2, 3]), (2, [0, 1, None, 2]), (3, [0, 1, None, None])):
        data = DataSettings(context_frames=2, pred_frames=2, channels=1, lead=lead)
        model = ConvLSTM(ConvLSTMSettings(hidden=[4], kernel=3), data)
        assert [model.source_index(number, 2, 4) for number in range(4)] == wanted


def predicted_context(model: ConvLSTM, context: torch.Tensor) -> torch.Tensor:
    """Return the second context frame as predicted from the first."""
    return model(context[:, :1])[0][:, :1]
