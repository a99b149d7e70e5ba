"""The voxel-flow predictor: what its flow means, which blocks a sample passes, and that it computes only those."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vidpred.config import load_config
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.build import count_parameters
from vidpred.models.voxel_flow import Flow, FlowBlock, VoxelFlow, VoxelFlowSettings

DATA = DataSettings(context_frames=2, pred_frames=2, channels=1)


def small(**change: object) -> VoxelFlow:
    torch.manual_seed(0)
    return VoxelFlow(
        VoxelFlowSettings.model_validate({"scales": [2, 1], "widths": [8, 4], "mean_blocks": 1, **change}), DATA
    )


def test_two_color_frames_in_one_out_have_the_authors_number_of_parameters() -> None:
    assert count_parameters(VoxelFlowSettings().build(DataSettings(context_frames=2))) == 3_559_930


def test_displacements_move_both_frames_and_the_mask_blends_them() -> None:
    model, last = small(), torch.rand(1, 2, 1, 12, 16)
    displacements = torch.zeros(1, 8, 12, 16)
    displacements[:, 0], displacements[:, 3] = 2, 1  # frame 1: the older in x, the last in y; frame 2: none
    logits = torch.tensor([30.0, 0.0])[None, :, None, None].expand(1, 2, 12, 16)
    frames, moved = model.render(last, Flow(displacements, logits))
    torch.testing.assert_close(moved[:, 0, :, :-2], last[:, 0, 0, :, 2:])
    torch.testing.assert_close(moved[:, 1, :-1], last[:, 1, 0, 1:])
    torch.testing.assert_close(frames[:, 0, 0], moved[:, 0])
    torch.testing.assert_close(frames[:, 1, 0], last.mean(1)[:, 0])


def test_a_sample_passes_only_its_own_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small().eval()
    chosen = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    monkeypatch.setattr(VoxelFlow, "choose", lambda self, last, draw: chosen[: len(last)])
    context, counts = torch.rand(3, 2, 1, 12, 10), list[int]()
    plain = FlowBlock.forward

    def counted(self: FlowBlock, images: Tensor, flow: Flow) -> Flow:
        counts.append(len(images))
        return plain(self, images, flow)

    monkeypatch.setattr(FlowBlock, "forward", counted)
    with torch.no_grad():
        (frames,) = model(context)
        assert counts == [2, 2]
        for number in range(3):
            monkeypatch.setattr(VoxelFlow, "choose", lambda self, last, draw, row=number: chosen[row : row + 1])
            torch.testing.assert_close(model(context[number : number + 1])[0], frames[number : number + 1])


def test_blocks_are_drawn_by_chances_with_the_wanted_mean() -> None:
    model = small(scales=[1] * 6, widths=[4] * 6, mean_blocks=2)
    last = torch.rand(400, 2, 1, 8, 8)
    drawn = model.choose(last, draw=True)
    assert set(drawn.detach().unique().tolist()) <= {0.0, 1.0}
    assert abs(drawn.detach().sum(1).mean().item() - 2) < 0.2
    assert torch.equal(model.choose(last, draw=False), model.choose(last, draw=False))
    assert bool((model.choose(last, draw=False).sum(1) >= 1).all())
    (drawn * torch.rand(6)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.routing.parameters())  # type: ignore[union-attr]


def test_training_and_prediction_refine_the_same_flow() -> None:
    """With all blocks, the frames of a training step are those of a prediction."""
    model = small(mean_blocks=None)
    context, target = torch.rand(2, 2, 1, 10, 12), torch.rand(2, 2, 1, 10, 12)
    (predicted,) = model(context)
    torch.testing.assert_close(model(context, target=target)[0], predicted)
    assert not torch.allclose(predicted, context.mean(1, keepdim=True).expand(-1, 2, -1, -1, -1))


def test_errors_after_each_block_by_hand() -> None:
    """Blocks that add nothing leave the mean of both frames; the last block's error is that of the objective."""
    model = small(scales=[2, 1, 1], widths=[8, 4, 4], block_decay=0.5)
    for block in model.blocks:
        torch.nn.init.zeros_(block.readout.weight)
        torch.nn.init.zeros_(block.readout.bias)
    context, target = torch.rand(2, 2, 1, 8, 16), torch.rand(2, 2, 1, 8, 16)
    (frames,) = model(context, target=target)
    torch.testing.assert_close(frames, context.mean(1, keepdim=True).expand(-1, 2, -1, -1, -1))
    error = (frames - target).abs().mean()
    torch.testing.assert_close(model.extra_losses["coarse"], 2 * (0.5 + 0.5**2) * error)


def test_what_it_refuses() -> None:
    for change, words in (
        ({"model.widths": [4]}, "9 scales need as many widths"),
        ({"model.widths": [6] * 9}, "multiples of 4"),
        ({"model.mean_blocks": 10}, "there are only 9 blocks"),
    ):
        with pytest.raises(ConfigError, match=words):
            load_config("voxel_flow_moving_mnist.yaml", change)
