"""Actions and states in rollouts, and unrolled predictions in training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vidpred.checkpoint import find_checkpoint
from vidpred.config import load_config
from vidpred.data.batch import Batch
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.base import Generator, as_generator
from vidpred.models.conditions import Conditions
from vidpred.models.dynamics import StateDynamics
from vidpred.models.film_unet import FilmUnetSettings
from vidpred.models.motion import MotionSettings
from vidpred.models.multiscale import MultiscaleGenerator, MultiscaleSettings
from vidpred.models.rollout import rollout, unroll
from vidpred.models.settings import ModelSettings
from vidpred.run import train


class Add(Generator):
    """A generator whose actions brighten the next frame; it checks that actions and frames match."""

    def __init__(self, context_frames: int, pred_frames: int = 1, lead: int = 1) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = context_frames, pred_frames, lead, 3
        self.action_size = 1

    def forward(self, context: Tensor, actions: Tensor) -> list[Tensor]:
        past = self.context_frames - 1
        assert actions.shape[1] == past + self.lead + self.pred_frames - 1
        moved = actions[:, :past, 0, None, None, None]
        assert torch.allclose(context.diff(dim=1), moved.expand_as(context.diff(dim=1))), "actions are out of line"
        future = actions[:, past:].cumsum(1)[:, self.lead - 1 :, 0, None, None, None]
        return [context[:, -1:] + future]


def world(moves: Tensor) -> Tensor:
    values = torch.cat([torch.zeros(len(moves), 1), moves[..., 0].cumsum(1)], 1)
    return values[:, :, None, None, None].expand(-1, -1, 3, 4, 4)


@pytest.mark.parametrize("context_frames", [1, 3])
@pytest.mark.parametrize("pred_frames", [1, 3])
@pytest.mark.parametrize("lead", [1, 2])
@pytest.mark.parametrize("spare", [0, 2])
def test_every_frame_gets_its_own_action(context_frames: int, pred_frames: int, lead: int, spare: int) -> None:
    torch.manual_seed(0)
    context_len = context_frames + lead - 1 + spare
    moves = torch.rand(2, context_len - 1 + 7, 1)
    frames = world(moves)
    future = rollout(Add(context_frames, pred_frames, lead), frames[:, :context_len], 7, actions=moves)
    torch.testing.assert_close(future, frames[:, context_len:])


class Recorder(Generator):
    """A generator that stores its states; a frame's brightness is its index."""

    def __init__(self, context_frames: int, pred_frames: int = 1, lead: int = 1) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = context_frames, pred_frames, lead, 3
        self.action_size, self.state_size = 1, 2
        self.state_dynamics = StateDynamics(2, 1)
        # In its own units: x' = 0.9 x + a, y' = x.
        self.state_dynamics.change.copy_(torch.tensor([[-0.1, 1.0], [0.0, -1.0], [1.0, 0.0], [0.0, 0.0]]))
        self.given: list[Tensor] = []

    def forward(self, context: Tensor, actions: Tensor, states: Tensor) -> list[Tensor]:
        assert states.shape[1] == context.shape[1] == self.context_frames
        self.given.append(states)
        ahead = torch.arange(self.lead, self.lead + self.pred_frames)[:, None, None, None] / 100
        return [context[:, -1:] + ahead]


def numbered(count: int) -> Tensor:
    return (torch.arange(count) / 100)[:, None, None, None].expand(2, -1, 3, 4, 4)


def follow(states: Tensor, moves: Tensor, count: int) -> Tensor:
    """Compute all states `(B, count, 2)` by hand."""
    rows = list(states.unbind(1))
    while len(rows) < count:
        x, _ = rows[-1].unbind(1)
        rows.append(torch.stack([0.9 * x + moves[:, len(rows) - 1, 0], x], 1))
    return torch.stack(rows, 1)


@pytest.mark.parametrize("context_frames", [1, 3])
@pytest.mark.parametrize("pred_frames", [1, 2])
@pytest.mark.parametrize("lead", [1, 2])
@pytest.mark.parametrize("spare", [0, 2])
def test_every_frame_gets_its_own_state(context_frames: int, pred_frames: int, lead: int, spare: int) -> None:
    torch.manual_seed(0)
    context_len = context_frames + lead - 1 + spare
    moves, states = torch.rand(2, context_len - 1 + 7, 1) / 9, torch.rand(2, context_len, 2)
    generator = Recorder(context_frames, pred_frames, lead)
    future = rollout(generator, numbered(context_len), 7, actions=moves, states=states)
    torch.testing.assert_close(future, numbered(context_len + 7)[:, context_len:])
    expected = follow(states, moves, context_len + 7)
    for number, given in enumerate(generator.given):
        first = context_len - lead + 1 - context_frames + number * pred_frames
        torch.testing.assert_close(given, expected[:, first : first + context_frames])


@pytest.mark.parametrize("pred_frames", [1, 2])
def test_training_and_inference_predict_the_same_states(pred_frames: int) -> None:
    torch.manual_seed(0)
    steps = 3 * pred_frames
    moves, states = torch.rand(2, 2 + steps, 1) / 9, torch.rand(2, 3 + steps, 2)  # also of the future frames
    batch = Batch(numbered(3), numbered(steps), torch.arange(2), moves, states)
    learned, rolled = Recorder(3, pred_frames), Recorder(3, pred_frames)
    for count, rows in ((None, 2), (1, 1)):
        learned.given, rolled.given = [], []
        unroll(learned, learned, batch.context[:rows], Conditions.from_batch(batch, count), 3)
        rollout(rolled, batch.context[:rows], steps, actions=moves[:rows], states=states[:rows, :3])
        assert len(learned.given) == len(rolled.given) == 3
        for one, other in zip(learned.given, rolled.given, strict=True):
            assert torch.equal(one, other)
    twice = Conditions.from_batch(batch).repeat(2)
    assert twice.states is not None
    assert torch.equal(twice.states, states[:, :3].repeat(2, 1, 1))


def test_wrong_states_raise() -> None:
    moves = torch.zeros(2, 4, 1)
    for states, words in (
        (None, r"conditioned on states; pass states \(B, T, 2\)"),
        (torch.zeros(2, 3, 3), r"states must be \(B, T, 2\), not \(2, 3, 3\)"),
        (torch.full((2, 3, 2), float("inf")), "states must be finite"),
        (torch.zeros(2, 5, 2), "5 states given; 3 context frames need one each"),
    ):
        with pytest.raises(ValueError, match=words):
            rollout(Recorder(3), numbered(3), 2, actions=moves, states=states)
    lacking = Recorder(4)
    lacking.state_dynamics = None
    with pytest.raises(ConfigError, match="cannot predict them"):
        as_generator(lacking, DataSettings())


def test_wrong_actions_raise() -> None:
    frames = torch.zeros(2, 3, 3, 4, 4)
    for moves, words in (
        (None, r"pass actions \(B, N-1, 1\)"),
        (torch.zeros(2, 4, 2), r"must be \(B, N-1, 1\), not \(2, 4, 2\)"),
        (torch.full((2, 4, 1), float("nan")), "must be finite"),
        (torch.zeros(2, 3, 1), "3 actions given; 3 context and 2 future frames have 4 between them"),
    ):
        with pytest.raises(ValueError, match=words):
            rollout(Add(2), frames, 2, actions=moves)


def small(**change: object) -> MultiscaleSettings:
    shape = {"scales": 2, "feature_maps": [[4], [4]], "kernel_sizes": [[3, 3], [3, 3]]}
    return MultiscaleSettings.model_validate({**shape, **change})


def test_the_multiscale_generator_uses_every_action() -> None:
    torch.manual_seed(0)
    generator = small(action_size=2).build(DataSettings(context_frames=3, pred_frames=2))
    context, actions = torch.rand(2, 3, 3, 8, 8), torch.rand(2, 4, 2)
    images = generator(context, actions=actions)
    for row in range(4):
        changed = actions.clone()
        changed[:, row, 1] += 1
        for scale, other in zip(images, generator(context, actions=changed), strict=True):
            assert not torch.equal(scale, other), f"action {row} reaches not every scale"
    with pytest.raises(ValueError, match=r"takes actions \(2, 4, 2\), not \(2, 3, 2\)"):
        generator(context, actions=actions[:, 1:])


@pytest.mark.parametrize("build", [
    small(action_size=1, state_size=2, noise_channels=1),
    FilmUnetSettings(widths=(4, 4), cell_size=1, action_size=1, state_size=2, noise_channels=1),
    MotionSettings(refine=True, widths=(4, 4, 4), gate_width=4, head_width=4, action_size=1, state_size=2),
], ids=["multiscale", "film_unet", "motion"])  # fmt: skip
def test_models_use_every_state_in_units_of_its_std(build: ModelSettings) -> None:
    torch.manual_seed(0)
    generator = build.build(DataSettings(context_frames=3, pred_frames=2)).eval()
    for parameter in generator.parameters():  # some models start as copies of the last frame
        torch.nn.init.normal_(parameter, std=0.2)
    context, states = torch.rand(2, 3, 3, 16, 16) / 2 + 0.25, torch.rand(2, 3, 2)
    noise = torch.zeros(2, 1) if build.noise_channels else None
    images = generator(context, noise, torch.zeros(2, 4, 1), states)
    for row in range(3):
        changed = states.clone()
        changed[:, row, 1] += 1
        for scale, other in zip(images, generator(context, noise, torch.zeros(2, 4, 1), changed), strict=True):
            assert not torch.equal(scale, other), f"state {row} reaches not every scale"
    scale = generator.state_dynamics.states  # type: ignore[union-attr]
    scale.fit([3.0, -20.0], [0.5, 10.0])  # type: ignore[operator]
    same = generator(context, noise, torch.zeros(2, 4, 1), scale.undo(states))  # type: ignore[operator]
    for one, other in zip(images, same, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for wrong, words in ((None, "None"), (states[:, :2], r"\(2, 2, 2\)")):
        with pytest.raises(ValueError, match=rf"takes states \(2, 3, 2\), not {words}"):
            generator(context, noise, torch.zeros(2, 4, 1), wrong)
    plain = build.model_copy(update={"state_size": 0}).build(DataSettings(context_frames=3, pred_frames=2))
    assert not [name for name in plain.state_dict() if "state" in name], "checkpoints without states have changed"
    with pytest.raises(ValueError, match=r"no states \(model.state_size=0\)"):
        plain(context, noise, torch.zeros(2, 4, 1), states)


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


@pytest.mark.parametrize("lead", [1, 2])
def test_training_with_a_lead_uses_the_whole_context(lead: int) -> None:
    torch.manual_seed(0)
    moves = torch.rand(2, 2 + lead, 1)  # of 3 context frames and `lead` future frames
    frames, generator = world(moves), Add(3, 1, lead)
    found = unroll(generator, generator, frames[:, :3], Conditions(actions=moves), 1)[-1]
    torch.testing.assert_close(found, frames[:, -1:])


@pytest.mark.slow
def test_training_unrolls_and_scores_all_frames(tmp_path: Path) -> None:
    overrides = {
        "run": str(tmp_path / "run"), "data.unroll": 3, "training.steps": 2, "training.batch_size": 2,
        "model.scales": 2, "model.feature_maps": [[4], [4]], "model.kernel_sizes": [[3, 3], [3, 3]],
        "objective.adversarial.weight": 0.1, "discriminator.size": "strided", "training.device": "cpu",
    }  # fmt: skip
    train(load_config(None, overrides))
    discriminator = find_checkpoint(tmp_path / "run").tensors("discriminator")
    assert discriminator["networks.0.layers.0.weight"].shape[1] == (4 + 3) * 3


def test_generator_settings_build_their_generator() -> None:
    built = small().build(DataSettings(context_frames=2, pred_frames=3))
    assert isinstance(built, MultiscaleGenerator)
    assert (built.context_frames, built.pred_frames, built.action_size) == (2, 3, 0)
