"""Actions in rollouts, and predictions in a row for training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vidpred.checkpoint import find_checkpoint
from vidpred.config import load_config
from vidpred.data.settings import DataSettings
from vidpred.inference.rollout import rollout, unroll
from vidpred.models.conditions import Conditions
from vidpred.models.multiscale import GeneratorSettings, MultiscaleGenerator
from vidpred.run import train


class Add(nn.Module):
    """A world in which an action is how much the coming frame is brighter than the last; checks what it is given."""

    def __init__(self, context_frames: int, pred_frames: int = 1, step: int = 1) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.step, self.channels = context_frames, pred_frames, step, 3
        self.action_size = 1

    def forward(self, context: Tensor, actions: Tensor) -> list[Tensor]:
        known = self.context_frames - 1
        assert actions.shape[1] == known + self.step + self.pred_frames - 1
        moved = actions[:, :known, 0, None, None, None]
        assert torch.allclose(context.diff(dim=1), moved.expand_as(context.diff(dim=1))), "actions are out of line"
        coming = actions[:, known:].cumsum(1)[:, self.step - 1 :, 0, None, None, None]
        return [context[:, -1:] + coming]


def world(moves: Tensor) -> Tensor:
    values = torch.cat([torch.zeros(len(moves), 1), moves[..., 0].cumsum(1)], 1)
    return values[:, :, None, None, None].expand(-1, -1, 3, 4, 4)


@pytest.mark.parametrize("context_frames", [1, 3])
@pytest.mark.parametrize("pred_frames", [1, 3])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("spare", [0, 2])
def test_every_frame_gets_its_own_action(context_frames: int, pred_frames: int, step: int, spare: int) -> None:
    torch.manual_seed(0)
    known = context_frames + step - 1 + spare
    moves = torch.rand(2, known - 1 + 7, 1)
    frames = world(moves)
    future = rollout(Add(context_frames, pred_frames, step), frames[:, :known], 7, actions=moves)
    torch.testing.assert_close(future, frames[:, known:])


def test_wrong_actions_are_refused() -> None:
    frames = torch.zeros(2, 3, 3, 4, 4)
    for moves, words in (
        (None, r"pass actions \(B, N-1, 1\)"),
        (torch.zeros(2, 4, 2), r"must be \(B, N-1, 1\), not \(2, 4, 2\)"),
        (torch.full((2, 4, 1), float("nan")), "must be finite"),
        (torch.zeros(2, 3, 1), "3 actions given; 3 known frames and 2 coming ones have 4 between them"),
    ):
        with pytest.raises(ValueError, match=words):
            rollout(Add(2), frames, 2, actions=moves)


def small(**change: object) -> GeneratorSettings:
    shape = {"scales": 2, "feature_maps": [[4], [4]], "kernel_sizes": [[3, 3], [3, 3]]}
    return GeneratorSettings.model_validate({**shape, **change})


def test_the_multiscale_generator_sees_every_action() -> None:
    torch.manual_seed(0)
    generator = small(action_size=2).build(DataSettings(context_frames=3, pred_frames=2))
    context, actions = torch.rand(2, 3, 3, 8, 8), torch.rand(2, 4, 2)
    pictures = generator(context, actions=actions)
    for row in range(4):
        changed = actions.clone()
        changed[:, row, 1] += 1
        for scale, other in zip(pictures, generator(context, actions=changed), strict=True):
            assert not torch.equal(scale, other), f"action {row} reaches not every scale"
    with pytest.raises(ValueError, match=r"takes actions \(2, 4, 2\), not \(2, 3, 2\)"):
        generator(context, actions=actions[:, 1:])


def test_unrolling_feeds_the_generator_its_own_frames() -> None:
    torch.manual_seed(0)
    generator = small().build(DataSettings(context_frames=2))
    context = torch.rand(2, 2, 3, 8, 8)
    rows = unroll(generator, generator, context, Conditions(), 3)
    assert [tuple(scale.shape) for scale in rows] == [(2, 3, 3, 4, 4), (2, 3, 3, 8, 8)]
    torch.testing.assert_close(rows[-1], rollout(generator, context, 3))
    first = next(generator.parameters())
    through_all = torch.autograd.grad(rows[-1][:, 2].sum(), first, retain_graph=True)[0]
    later = context.clone()
    later = torch.cat([context, rows[-1][:, :2].detach()], 1)[:, -2:]
    last_only = torch.autograd.grad(generator(later)[-1].sum(), first)[0]
    assert not torch.allclose(through_all, last_only), "no gradient passes through the earlier frames"


@pytest.mark.parametrize("step", [1, 2])
def test_training_with_a_lead_sees_the_whole_context(step: int) -> None:
    torch.manual_seed(0)
    moves = torch.rand(2, 2 + step, 1)  # of 3 known frames and `step` coming ones
    frames, generator = world(moves), Add(3, 1, step)
    found = unroll(generator, generator, frames[:, :3], Conditions(actions=moves), 1)[-1]
    torch.testing.assert_close(found, frames[:, -1:])


def test_training_unrolls_and_judges_all_frames(tmp_path: Path) -> None:
    overrides = {
        "run": str(tmp_path / "run"), "data.unroll": 3, "training.steps": 2, "training.batch_size": 2,
        "model.scales": 2, "model.feature_maps": [[4], [4]], "model.kernel_sizes": [[3, 3], [3, 3]],
        "objective.adversarial_weight": 0.1, "discriminator.size": "strided", "training.device": "cpu",
    }  # fmt: skip
    train(load_config(None, overrides))
    judge = find_checkpoint(tmp_path / "run").tensors("discriminator")
    assert judge["networks.0.layers.0.weight"].shape[1] == (4 + 3) * 3


def test_generator_settings_build_what_they_say() -> None:
    built = small().build(DataSettings(context_frames=2, pred_frames=3))
    assert isinstance(built, MultiscaleGenerator)
    assert (built.context_frames, built.pred_frames, built.action_size) == (2, 3, 0)
