"""SimVP: without its translator it treats every frame alone; the field of its gated attention."""

from __future__ import annotations

import torch
from torch import nn

from vidpred.data.settings import DataSettings
from vidpred.models.simvp import GatedAttention, InceptionBlock, InceptionTranslator, SimVP, SimVPSettings


def test_without_its_translator_every_frame_is_a_function_of_one_context_frame() -> None:
    """Gated blocks that add nothing are the identity, so that only the translator mixes frames."""
    torch.manual_seed(0)
    settings = SimVPSettings(translator="gsta", spatial_width=4, translator_width=12, translator_layers=2)
    model = SimVP(settings, DataSettings(context_frames=3, pred_frames=3, channels=1)).eval()
    context = torch.rand(1, 3, 1, 16, 16)
    other = context.clone()
    other[:, 1] = 1 - other[:, 1]
    with torch.no_grad():
        model.readout.bias.fill_(0.5)  # type: ignore[union-attr]
        changed = (model(other)[0] != model(context)[0]).flatten(2).any(2)[0]
        assert changed.tolist() == [True, True, True]
        for block in model.translator:
            block.scales.zero_()
        changed = (model(other)[0] != model(context)[0]).flatten(2).any(2)[0]
    assert changed.tolist() == [False, True, False]


def test_first_features_reach_the_decoder_without_the_translator() -> None:
    torch.manual_seed(0)
    settings = SimVPSettings(spatial_width=4, translator_width=4, translator_layers=2)
    model = SimVP(settings, DataSettings(context_frames=2, pred_frames=2, channels=1)).eval()
    model.translator.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    context = torch.rand(1, 2, 1, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(model(context)[0][:, 1].sum(), context)
    assert slope.flatten(2).any(2)[0].tolist() == [False, True]


def test_inception_sums_branches_and_joins_blocks_of_equal_depth() -> None:
    """A block of zeros whose normalization adds 1 returns 1 per kernel size; skips are joined from the last one on."""
    block = InceptionBlock(3, 4, 2)
    for branch in block.branches:
        torch.nn.init.zeros_(branch[0].weight)
        torch.nn.init.zeros_(branch[0].bias)
        torch.nn.init.ones_(branch[1].bias)
    torch.testing.assert_close(block(torch.rand(1, 3, 5, 5)), torch.full((1, 2, 5, 5), 4.0))
    translator, inputs = InceptionTranslator(1, 2, 1, 3), list[list[float]]()
    for number, block in enumerate((*translator.down, *translator.up)):
        block.register_forward_hook(
            lambda module, given, output, number=number: (
                inputs.append(given[0].detach().mean((0, 2, 3)).tolist()), torch.full_like(output, number)
            )[1]
        )  # fmt: skip
    translator(torch.full((1, 1, 4, 4), 9.0))
    assert inputs == [[9], [0, 0], [1, 1], [2, 2], [3, 3, 1, 1], [4, 4, 0, 0]]


def test_fewer_and_more_future_frames_take_the_newest_features() -> None:
    def skips(context: int, future: int) -> list[int]:
        data = DataSettings(context_frames=context, pred_frames=future)
        return SimVP(SimVPSettings(spatial_width=2, translator_width=2, translator_layers=2), data).skips()

    assert (skips(3, 3), skips(4, 2), skips(2, 4)) == ([0, 1, 2], [2, 3], [0, 1, 1, 1])


def test_gated_attention_has_a_large_field_and_a_gate() -> None:
    torch.manual_seed(0)
    attention = GatedAttention(2)
    images = torch.zeros(1, 2, 31, 31)
    impulse = images.clone()
    impulse[..., 15, 15] = 1
    with torch.no_grad():
        response = (attention(impulse) - attention(images) != 0).any(1)[0]
        rows = response.any(1).nonzero()[:, 0]
        assert (int(rows.min()), int(rows.max())) == (4, 26), "5x5, then 7x7 at every third place: 23 pixels"
        gate = attention.field[-1]
        assert isinstance(gate, nn.Conv2d)
        assert gate.bias is not None
        gate.bias[2:] = -1e4  # closed
        attention.last.bias.zero_()  # type: ignore[union-attr]
        assert torch.equal(attention(impulse), impulse)
