"""The motion-aware generator: its untrained predictions, sizes, leads, conditions; its geometry by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.models.test_baselines import interior_psnr, moving_clip
from vidpred.data.settings import DataSettings
from vidpred.evaluation.sharpness import gradient_energy_ratio
from vidpred.models import motion as motion_module
from vidpred.models import optical_flow
from vidpred.models.build import build_generator
from vidpred.models.motion import MotionGenerator, MotionSettings
from vidpred.models.motion_candidates import NUM_CANDIDATES, Scene, ahead, blend_paths, trust_at
from vidpred.models.motion_estimation import LEADS, USUAL_TRUST, around, halved, observe
from vidpred.models.optical_flow import Care, dense_flow, follow, push, warp
from vidpred.models.rollout import rollout
from vidpred.planning.world_model import WorldModel

SMALL = {"gate_width": 8, "widths": (8, 8, 8), "head_width": 8}


def generator(
    context_frames: int = 3, pred_frames: int = 2, lead: int = 1, channels: int = 3, **settings: float
) -> MotionGenerator:
    torch.manual_seed(0)
    return MotionGenerator(MotionSettings(**SMALL, **settings), context_frames, pred_frames, lead, channels)


def shaken(model: MotionGenerator) -> MotionGenerator:
    """Give the output layers nonzero weights, as after training."""
    for layer in (model.gate[-1], model.detail[-1], *([model.refinement.last] if model.refinement else [])):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return model


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


def test_a_path_follows_the_flow_where_it_leads() -> None:
    flow = torch.zeros(1, 2, 1, 8)
    flow[0, 0, 0] = torch.tensor([0.0, 1, 1, 2, 2, 1, 0, -1])
    paths = list(follow(flow, 3))
    # From 1 to 2, on by the flow at 2 to 3, by that at 3 to 5; from 3 to 5, to 6, where nothing moves.
    wanted = [[0, 1, 1, 2, 2, 1, 0, -1], [0, 2, 3, 3, 2, 1, 0, -1], [0, 4, 4, 3, 2, 1, 0, -1]]
    torch.testing.assert_close(torch.stack(paths)[:, 0, 0, 0], torch.tensor(wanted).float(), atol=1e-5, rtol=0)
    assert not torch.stack(paths)[:, 0, 1].any()


def test_pushing_brings_an_object_to_a_new_place() -> None:
    """Push an object two pixels wide that moves three pixels per frame over a still background.

    It arrives whole where following only finds background, and the uncovered part takes the path of `elsewhere`.
    """
    flow = torch.zeros(1, 2, 1, 10)
    flow[0, 0, 0, 1:3] = -3.0  # it came from three pixels to the left
    (followed,) = follow(flow, 1)
    path = push(flow, 1, torch.full_like(flow, 7.0))
    assert followed[0, 0, 0, 4:6].tolist() == [0, 0]
    assert path[0, 0, 0].tolist() == pytest.approx([0, 7, 7, 0, -3, -3, 0, 0, 0, 0], abs=0.2)
    assert push(flow, 2, flow)[0, 0, 0, 7:9].tolist() == pytest.approx([-6, -6], abs=0.4)
    # The background that also arrives there weighs e^3 times less, but not 0.
    assert path[0, 0, 0, 4] == pytest.approx(-3 * math.exp(3) / (math.exp(3) + 1), abs=1e-4)


def test_pushing_halfway_between_pixels_leaves_no_cracks() -> None:
    flow = torch.full((1, 2, 6, 6), -0.5)
    path = push(flow, 1, torch.full_like(flow, 9.0))
    torch.testing.assert_close(path[..., 1:, 1:], flow[..., 1:, 1:])


def test_the_observed_motion_of_a_translation() -> None:
    motion = observe(moving_clip(3, 64, 64, 2, -1))
    inside = (..., slice(12, -12), slice(12, -12))
    wanted = torch.tensor([-2.0, 1.0]).view(1, 2, 1, 1)  # back to its origin
    assert (motion.flow - wanted)[inside].abs().median() < 0.1
    assert (motion.older - wanted)[inside].abs().median() < 0.1
    assert motion.doubt[inside].mean() < 0.02


def test_the_backtest_raises_trust_for_steady_motion_and_lowers_it_for_turning_motion() -> None:
    steady = moving_clip(10, 64, 80, 1, 0)
    trust = observe(steady).trust[..., 2:-2, 2:-2]
    assert trust.shape[1] == len(LEADS)
    assert bool((trust.mean((0, 2, 3)) > torch.tensor(USUAL_TRUST) + 0.01).all())
    swaying = steady[:, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]]  # each flow reverts the previous one
    motion = observe(swaying)
    assert motion.trust.mean((0, 2, 3))[0] < 0.6
    assert motion.evidence[:, 1].mean() < 0  # from t-1, everything moved the other way


def test_without_a_backtest_trust_is_the_usual() -> None:
    clip = moving_clip(10, 32, 32, 1, 0)
    for motion, tried in ((observe(clip[:, -2:]), 0), (observe(clip[:, -4:]), 2), (observe(clip, backtests=False), 0)):
        assert motion.trust[:, tried:].amax((0, 2, 3)).tolist() == pytest.approx(USUAL_TRUST[tried:])
        assert not motion.evidence[:, 3 * tried :].any()
        assert bool(motion.evidence[:, : 3 * tried].any()) == bool(tried)


def test_trust_between_the_tested_leads() -> None:
    trust = torch.tensor([0.9, 0.8, 0.6, 0.2]).view(1, 4, 1, 1)
    found = trust_at(trust.expand(6, -1, -1, -1), ahead((1, 2, 3, 4, 8, 20), torch.zeros(6))).flatten().tolist()
    assert found == pytest.approx([0.9, 0.8, 0.8 - 0.2 * math.log2(1.5), 0.6, 0.2, 0.2])


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


def test_sampling_reads_where_the_path_points() -> None:
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    path = torch.zeros(1, 2, 3, 4)
    path[:, 0], path[:, 1] = 1.0, 0.5
    expected = torch.tensor([[3.0, 4, 5, 5], [7, 8, 9, 9], [9, 10, 11, 11]])
    torch.testing.assert_close(warp(maps, path)[0, 0], expected)


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


def test_blended_paths_by_hand() -> None:
    """Shares of 1/4 for the last frame, half way, pushed and the smooth flow: the mean of 0, 2, 4 and 1 pixels."""
    path, steady = torch.full((1, 2, 8, 8), 4.0), torch.full((1, 2, 8, 8), 1.0)
    shares = torch.full((1, 7, 8, 8), -50.0)
    shares[:, :4] = 0.0
    empty = torch.zeros(1)
    blended = blend_paths(Scene(path, steady, empty, empty, empty, empty), shares, [2])
    torch.testing.assert_close(blended, torch.full_like(blended, 1.75))


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


def test_sharpness_mixes_two_ends() -> None:
    clip = moving_clip(4, 40, 48, 2, -1)[:, :3]
    model = shaken(generator(sharpness=0.5)).eval()
    ends = []
    for model.sharpness in (0.0, 1.0, 0.5):
        with torch.no_grad():
            ends.append(model(clip)[0])
    assert (ends[0] - ends[1]).abs().mean() > 1e-4
    torch.testing.assert_close(ends[2], (ends[0] + ends[1]) / 2)


def test_the_sharp_end_keeps_the_energy_that_a_blend_loses() -> None:
    """Half of a still and half of a moved texture is a blur; half the way is a sharp texture in between."""
    clip = moving_clip(3, 64, 80, 3, -2)
    model = generator(sharpness=1).eval()
    with torch.no_grad():
        for gate in (model.gate, model.path_gate):
            gate[-1].bias[:] = -50.0
            gate[-1].bias[[0, 2]] = torch.tensor([0.0, -2.0])  # about half of each, given the backtest's shares
    energies = []
    for model.sharpness in (0.0, 1.0):
        with torch.no_grad():
            image = model(clip)[0][:, 1, :, 12:-12, 12:-12]
        energies.append(float(gradient_energy_ratio(image, clip[:, -1, :, 12:-12, 12:-12])))
    assert energies[1] > 0.9
    assert energies[0] < 0.8 * energies[1]


def test_the_likelier_path_counts_more_than_its_share() -> None:
    """Shares of 3/4 and 1/4 are squared: 9/10 and 1/10 of the way."""
    path = torch.full((1, 2, 16, 24), 10.0)
    nothing = torch.zeros(1)
    scene = Scene(path, torch.zeros_like(path), nothing, nothing, nothing, nothing)
    shares = torch.full((1, NUM_CANDIDATES, 16, 24), -100.0)
    shares[:, 0], shares[:, 2] = math.log(1 / 4), math.log(3 / 4)  # the copy, the pushed frame
    torch.testing.assert_close(blend_paths(scene, shares, [8]), torch.full_like(path, 9.0))


def test_a_model_of_the_sharp_end_trains_the_path_alone() -> None:
    model = generator(sharpness=1)
    model(torch.rand(1, 3, 3, 32, 32))[0].mean().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {name for name in model.state_dict() if name.startswith("path_")}
    assert not any(p.requires_grad for p in model.gate.parameters())


def test_weights_of_either_kind_start_the_other() -> None:
    plain, sharp = shaken(generator()), generator(sharpness=1)
    sharp.load_state_dict(sharp.weights_from(plain.state_dict()))
    assert torch.equal(sharp.path_gate[-1].weight, plain.gate[-1].weight)
    assert torch.equal(sharp.path_detail[0].weight, plain.detail[0].weight)
    again = generator()
    again.load_state_dict(again.weights_from(sharp.state_dict()))
    assert torch.equal(again.gate[-1].weight, plain.gate[-1].weight)


def test_sharpness_can_be_set_without_training_for_it() -> None:
    model = shaken(generator()).eval()
    assert model.sharpness == 0
    clip = moving_clip(4, 40, 48, 2, -1)[:, :3]
    with torch.no_grad():
        blended = model(clip)[0]
        model.sharpness = 1.0
        assert (model(clip)[0] - blended).abs().mean() > 1e-4


def test_the_refining_network_has_no_sharpness() -> None:
    assert generator(refine=True).sharpness is None
    with pytest.raises(ValueError, match=r"model\.refine=false"):
        MotionSettings(refine=True, sharpness=1)


def test_half_the_resolution_has_the_same_neighborhoods() -> None:
    """Means over cells of 4 pixels of halved maps are those of 8 pixels; displacements are in their pixels."""
    whole = observe(torch.rand(1, 5, 3, 48, 64))
    half = halved(whole)
    assert (whole.cell, half.cell) == (8, 4)
    torch.testing.assert_close(around(half.last, half.cell), around(whole.last))
    torch.testing.assert_close(around(half.flow, half.cell) * 2, around(whole.flow))
    assert half.trust is whole.trust


def test_paths_of_a_steady_motion_are_those_of_the_whole_resolution() -> None:
    """Everything moves by (2, -4) pixels a frame: so do the paths at half the resolution, in its pixels."""
    flow = torch.tensor([2.0, -4.0])[None, :, None, None].expand(1, 2, 32, 48)
    elsewhere = torch.full_like(flow, 7.0)
    whole = push(flow, 3, elsewhere)
    half = push(flow[..., ::2, ::2] / 2, 3, elsewhere[..., ::2, ::2] / 2, scale=2)
    torch.testing.assert_close(half * 2, whole[..., ::2, ::2])


def test_faster_pixels_weigh_as_much_at_half_the_resolution() -> None:
    """One pixel moves onto a still one: the share of its path depends on its speed in pixels of the frame."""
    still = torch.zeros(1, 2, 16, 16)
    flow = still.clone()
    flow[0, 0, 8, 4] = 2.0
    arrived = push(flow, 1, still)[0, 0, 8, 2]
    half = push(flow / 2, 1, still, scale=2)[0, 0, 8, 3]
    expected = 2 * math.exp(2) / (math.exp(2) + 1)
    assert float(arrived) == pytest.approx(expected, rel=1e-5)
    assert float(half) == pytest.approx(expected / 2, rel=1e-5)


def test_a_stream_computes_the_flow_of_a_pair_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit the prediction of whole contexts, with frames left out, repeated and another size in between."""
    model = generator(10, 3).eval()
    clip = moving_clip(16, 40, 48, 2, -1)
    calls: list[Care] = []
    flow = optical_flow.dense_flow

    def counted(first: Tensor, second: Tensor, care: Care = "medium") -> Tensor:
        calls.extend([care] * len(first))
        return flow(first, second, care)

    contexts = [clip[:, start : start + 10] for start in (0, 1, 2, 2, 5, 6)]
    contexts += [clip[:, :10, :, :32], clip[:, 6:16], clip[:, 12:14]]
    expected = [model(context)[0] for context in contexts]
    monkeypatch.setattr(optical_flow, "dense_flow", counted)
    forward, computed = model.stream_forward(2), []
    with torch.inference_mode():
        for context, frames in zip(contexts, expected, strict=True):
            calls.clear()
            assert torch.equal(forward(context)[0], frames[:, :2])
            computed.append((calls.count("fine"), calls.count("smooth")))
    # In the long run one of each for a new frame.
    assert computed == [(2, 5), (1, 3), (1, 2), (0, 0), (2, 3), (1, 1), (2, 5), (0, 0), (1, 0)]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
def test_frames_before_a_call_prepare_it(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Bit for bit the prediction without preparation, for the same flows; only the newest pair's are left for it."""
    model, clip = generator(10, 3).eval(), moving_clip(26, 40, 48, 2, -1)
    calls: list[Care] = []
    flow = optical_flow.dense_flow

    def counted(first: Tensor, second: Tensor, care: Care = "medium") -> Tensor:
        calls.extend([care] * len(first))
        return flow(first, second, care)

    monkeypatch.setattr(optical_flow, "dense_flow", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        plain, prepared, ends, left = model.stream_forward(2), model.stream_forward(2), (3, 10, 13, 16, 17, 25), []
        with torch.inference_mode():
            expected = [plain(clip[:, max(end - 10, 0) : end])[0] for end in ends]
            total = sorted(calls)
            calls.clear()
            for (before_it, end), frames in zip(pairwise((0, *ends)), expected, strict=True):
                for newest in range(max(before_it, 1), end):
                    prepared.prepare(clip[:, max(newest - 10, 0) : newest], end - newest)
                count = len(calls)
                assert torch.equal(prepared(clip[:, max(end - 10, 0) : end])[0], frames)
                left.append(sorted(calls[count:]))
        assert left == [["fine", "smooth"]] * len(ends)
        assert sorted(calls) == total
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_stream_predicts_what_the_model_predicts(threads: int) -> None:
    """Up to the rounding of groups of frames, and of OpenCV's warp at the sharp end."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        clip, noise = moving_clip(12, 40, 48, 2, -1), torch.ones(1, 3)
        for sharpness, tolerance in ((0.0, 2e-6), (0.5, 0.01), (1.0, 0.01)):
            model = generator(10, 7).eval()
            model.sharpness = sharpness
            forward = model.stream_forward(5)
            for start in (0, 1):
                context = clip[:, start : start + 10]
                (found,), (wanted,) = forward(context, noise), model(context, noise)
                assert not found.requires_grad
                torch.testing.assert_close(found, wanted[:, :5], rtol=0, atol=tolerance)
    finally:
        torch.set_num_threads(before)
