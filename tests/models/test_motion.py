"""The motion-aware generator: its untrained predictions, sizes, leads, conditions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.small_motion import generator, shaken
from tests.models.test_baselines import interior_psnr, moving_clip
from vidpred.data.settings import DataSettings
from vidpred.models import motion as motion_module
from vidpred.models.build import build_generator
from vidpred.models.motion import MotionGenerator, MotionSettings
from vidpred.models.motion_estimation import observe
from vidpred.models.optical_flow import Care, dense_flow, push, warp
from vidpred.models.rollout import rollout
from vidpred.planning.world_model import WorldModel


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 24), (33, 50)])
@pytest.mark.parametrize(("frames", "channels", "refine"), [(1, 3, True), (2, 1, True), (4, 3, False)])
def test_any_size_and_number_of_frames(size: tuple[int, int], frames: int, channels: int, refine: bool) -> None:
    model = shaken(generator(frames, 2, channels=channels, refine=refine))
    (images,) = model(torch.rand(2, frames, channels, *size))
    assert images.shape == (2, 2, channels, *size)
    assert images.min() >= 0
    assert images.max() <= 1


def test_before_training_still_clips_repeat_the_last_frame() -> None:
    """Without motion all candidates equal the last frame of a flat image, and so does their blend."""
    frame = torch.full((1, 1, 3, 24, 24), 0.25)
    (images,) = generator()(frame.expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(images, frame.expand(-1, 2, -1, -1, -1))


@pytest.mark.parametrize("candidate", [2, 3])
def test_the_moved_candidates_keep_up_with_a_translation_at_every_lead(candidate: int) -> None:
    clip = moving_clip(7, 64, 80, 2, -1)
    model = generator(pred_frames=4)
    with torch.no_grad():
        model.gate[-1].bias[candidate] = 50.0
    (images,) = model(clip[:, :3])
    for lead in range(4):
        assert interior_psnr(images[:, lead], clip[:, 3 + lead], border=14) > 30
        assert interior_psnr(clip[:, 2], clip[:, 3 + lead], border=14) < 25


@torch.no_grad()
def test_before_training_shares_are_those_of_the_backtest() -> None:
    """The last frame's share is 1 - trust, so a swaying clip is copied more than a steady one."""
    steady = moving_clip(10, 48, 48, 1, 0)
    model = generator(10, 1).eval()
    swaying = steady[:, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]]
    moved_shares = []
    for clip in (steady, swaying):
        motion, (image,) = observe(clip), model(clip)
        copied, pushed = clip[:, -1], warp(clip[:, -1], push(motion.flow, 1, motion.flow))
        moved = (pushed - copied)[..., 12:-12, 12:-12]
        change = (image[:, 0] - copied)[..., 12:-12, 12:-12]
        moved_shares.append(float((change * moved).sum() / moved.square().sum()))
    assert moved_shares[0] > moved_shares[1] + 0.15


def test_it_works_with_fewer_context_frames() -> None:
    model = shaken(generator(10, 2)).eval()
    clip = moving_clip(4, 32, 32, 1, 0)
    assert rollout(model, clip, 5).shape == (1, 5, 3, 32, 32)
    with pytest.raises(ValueError, match="1 context frames given, 2 needed"):
        rollout(model, clip[:, :1], 1)
    late = shaken(generator(10, 1, lead=3)).eval()  # with a lead of 3, t+1 is predicted from a context that ends at t-2
    torch.testing.assert_close(rollout(late, clip, 1), late(clip[:, :2])[0])
    with pytest.raises(ValueError, match="4 context frames given, 12 needed"):
        rollout(generator(10, 1, lead=3, action_size=1, refine=True), clip, 1, actions=torch.zeros(1, 4, 1))


@pytest.mark.slow
def test_training_sometimes_uses_short_contexts() -> None:
    model, clip = shaken(generator(10, 1)), moving_clip(10, 32, 32, 1, 0)
    with torch.no_grad():
        short = model.eval()(clip[:, -3:])[0]
        drawn = [torch.equal(model.train()(clip)[0], short) for _ in range(60)]
    assert 0 < sum(drawn) < 30


@pytest.mark.parametrize("refine", [True, False])
def test_leads_are_those_of_the_same_frames_at_once(refine: bool) -> None:
    """Frames t+1 to t+4 at once, or only t+3 and t+4: the same network gives the same frames."""
    all_leads = shaken(generator(pred_frames=4, refine=refine)).eval()
    late = generator(pred_frames=2, lead=3, refine=refine).eval()
    late.load_state_dict(all_leads.state_dict())
    context = moving_clip(3, 32, 32, 1, 1)
    torch.testing.assert_close(late(context)[0], all_leads(context)[0][:, 2:])


def test_rollouts_go_on_beyond_its_frames() -> None:
    model = shaken(generator(pred_frames=2)).eval()
    context = moving_clip(4, 24, 24, 1, 0)
    frames = rollout(model, context, 3)
    assert torch.equal(frames[:, :2], model(context[:, -3:])[0])
    recent = torch.cat([context[:, -1:], frames[:, :2]], 1)
    torch.testing.assert_close(frames[:, 2], model(recent)[0][:, 0])


@pytest.mark.parametrize("kind", [{}, {"sharpness": 1}, {"sharpness": 0.5}, {"refine": True}])
def test_a_rollout_computes_only_the_frames_that_it_needs(
    kind: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shaken(generator(3, 6, 1, 3, **kind)).eval()
    context = moving_clip(3, 40, 48, 2, -1)
    computed: list[int] = []
    imagined = motion_module.imagine
    monkeypatch.setattr(motion_module, "imagine", lambda *given: (computed.extend(given[2]), imagined(*given))[1])
    with torch.no_grad():
        whole = model(context)[0]
        computed.clear()
        torch.testing.assert_close(rollout(model, context, 2), whole[:, :2])
    assert set(computed) == {1, 2}


def gradients(model: MotionGenerator, images: Tensor) -> dict[str, float]:
    images.square().mean().backward()
    return {name: float(p.grad.abs().sum()) for name, p in model.named_parameters() if p.grad is not None}


def test_every_weight_learns() -> None:
    model = shaken(generator(noise_channels=1, action_size=2, refine=True))
    clip = moving_clip(3, 32, 32, 2, 1)
    (images,) = model(clip, torch.ones(1, 1), torch.ones(1, model.moves, 2))
    found = gradients(model, images)
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert min(found.values()) > 0


def test_without_refining_every_pixel_is_in_the_range_of_the_context() -> None:
    model = shaken(generator())
    context = torch.rand(1, 3, 3, 32, 32) * 0.5 + 0.25
    (images,) = model(context)
    assert images.min() >= context.min() - 1e-6
    assert images.max() <= context.max() + 1e-6


def test_noise_and_actions_change_the_prediction() -> None:
    model = shaken(generator(noise_channels=1, action_size=2, refine=True))
    context, moves = moving_clip(3, 32, 32, 2, 1), torch.zeros(1, 4, 2)
    still, noisy = model(context, torch.zeros(1, 1), moves)[0], model(context, torch.ones(1, 1), moves)[0]
    assert not torch.equal(still, noisy)
    assert not torch.equal(still, model(context, torch.zeros(1, 1), moves + 1)[0])
    with pytest.raises(ValueError, match="takes actions"):
        model(context, torch.zeros(1, 1))


def test_context_frames_are_processed_once_for_all_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, actions = torch.rand(2, 4, 3, 32, 40), torch.randn(2, 5, 1, 2)
    model = WorldModel(shaken(generator(4, 1, refine=True, action_size=2)), chunk=10)
    past = torch.zeros(2, 3, 2)
    counts: list[int] = []

    def counted(starts: torch.Tensor, ends: torch.Tensor, care: Care) -> torch.Tensor:
        counts.append(len(starts))
        return dense_flow(starts, ends, care)

    monkeypatch.setattr("vidpred.models.motion_estimation.dense_flow", counted)
    together = model.rollout(frames, actions, past)
    for_all, counts[:] = sum(counts), []
    one_by_one = [model.rollout(frames[:1], actions[:1, n : n + 1], past[:1]) for n in range(5)]
    assert for_all == 2 * sum(counts) / 5, "the flows of two contexts, however many plans"
    torch.testing.assert_close(together[:1], torch.cat(one_by_one, 1), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together[0, 0], together[0, 1]), "plans differ"


def test_noise_and_actions_need_the_refining_network() -> None:
    with pytest.raises(ValueError, match=r"set model\.refine=true"):
        MotionSettings(action_size=2)


def test_before_training_refining_only_raises_the_share_of_the_pushed_candidate() -> None:
    """The additional candidate equals the pushed one, and the residual is 0: predictions move toward the pushed one."""
    clip = moving_clip(10, 48, 48, 1, 0)
    plain, refined = generator(10, 2).eval(), generator(10, 2, refine=True).eval()
    error = [(model(clip)[0] - clip[:, -1:])[..., 12:-12, 12:-12].abs().mean() for model in (plain, refined)]
    assert error[0] < error[1] < 1.3 * error[0]


@pytest.mark.slow
@pytest.mark.parametrize("refine", [True, False])
def test_it_is_built_by_name_and_runs_on_the_meta_device(refine: bool) -> None:
    data = DataSettings(context_frames=3, pred_frames=2, crop_size=32)
    with torch.device("meta"):
        model = build_generator(MotionSettings(refine=refine), data)
        (images,) = model(torch.empty(2, 3, 3, 32, 32))
    assert images.shape == (2, 2, 3, 32, 32)


@pytest.mark.parametrize("kind", [{}, {"sharpness": 1}, {"refine": True}])
def test_frames_ahead_are_the_same_one_by_one_and_together(
    kind: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of leads are computed as one batch; their size, a bound on pixels, does not matter."""
    clips = torch.cat([moving_clip(5, 40, 48, 2, -1), moving_clip(5, 40, 48, -1, 3)])
    model = shaken(generator(5, 5, 1, 3, **kind)).eval()
    found = []
    for pixels in (1, 2 * 40 * 48, 2**20):  # one, one or two, and all at once
        monkeypatch.setattr(motion_module, "MOST_PIXELS", pixels)
        with torch.no_grad():
            found.append(model(clips)[0])
    torch.testing.assert_close(found[1], found[0])
    torch.testing.assert_close(found[2], found[0])
    assert (found[0][:, 1:] - found[0][:, :-1]).abs().mean((0, 2, 3, 4)).min() > 1e-3
