"""Several futures of the motion-aware generator: optional noise that varies its path."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.models.test_baselines import interior_psnr, moving_clip
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.evaluation.sharpness import gradient_energy_ratio
from vidpred.inference.predictor import Predictor
from vidpred.models import optical_flow
from vidpred.models.motion import MotionGenerator, MotionSettings
from vidpred.models.motion_candidates import NOISE_EFFECTS, NOISE_LEAD, Scene, vary
from vidpred.models.optical_flow import Care
from vidpred.models.rollout import rollout

CLIP = moving_clip(4 + 16, 112, 144, right=2, down=0)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    data = DataSettings(context_frames=4, pred_frames=8, crop_size=32)
    generator = MotionGenerator(MotionSettings(sharpness=1), 4, 8).eval()
    return Predictor(generator, data, name="mine")


def scene(path: Tensor) -> Scene:
    return Scene(path, 2 * path, torch.zeros(1, 0, 3, 4, 4), torch.zeros(1, 7, 4, 4), torch.zeros(1, 1, 1, 1), path)


def test_noise_stretches_turns_and_holds_paths() -> None:
    path = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    stretch, turn, hold = NOISE_EFFECTS
    noise = torch.tensor([math.log(2) / stretch, math.pi / 2 / turn, 1.0]).view(1, 3, 1, 1)
    varied, shares = vary(scene(path), torch.zeros(1, 7, 4, 4), [NOISE_LEAD], noise)
    torch.testing.assert_close(varied.path[0, :, 0, 0], torch.tensor([0.0, 6.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(varied.steady[0, :, 0, 0], torch.tensor([0.0, 12.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(shares[0, :, 0, 0], torch.tensor([hold, 0, 0, 0, 0, 0, 0]))
    half, _ = vary(scene(path), torch.zeros(1, 7, 4, 4), [NOISE_LEAD // 2], noise)
    expected = 3 * 2**0.5 * torch.tensor([math.cos(math.pi / 4), math.sin(math.pi / 4)])
    torch.testing.assert_close(half.path[0, :, 0, 0], expected)


@pytest.mark.slow
def test_without_noise_it_predicts_the_same_as_with_zeros(predictor: Predictor) -> None:
    generator, context = predictor.generator, CLIP[:, :4]
    plain = rollout(generator, context, 8)
    assert torch.equal(plain, rollout(generator, context, 8, torch.zeros(1, 3)))
    assert torch.equal(plain, predictor.predict(context, 8, seed=5))
    assert torch.equal(plain, rollout(generator, context, 8))  # no random stream is read


def test_a_faster_draw_is_the_faster_future(predictor: Predictor) -> None:
    """With the noise of twice the speed, the moving texture arrives where it would be 16 frames ahead."""
    twice = torch.tensor([[math.log(2) / NOISE_EFFECTS[0], 0.0, -20.0]])  # and no share of the last frame
    steady = torch.tensor([[0.0, 0.0, -20.0]])
    single, faster = (rollout(predictor.generator, CLIP[:, :4], 8, noise)[0, 7] for noise in (steady, twice))
    near, far = CLIP[0, 4 + 7], CLIP[0, 4 + 15]
    assert interior_psnr(single, near, 40) > interior_psnr(single, far, 40) + 3
    assert interior_psnr(faster, far, 40) > interior_psnr(faster, near, 40) + 3


@pytest.mark.slow
def test_samples_differ_and_are_as_sharp_as_the_single_prediction(predictor: Predictor) -> None:
    context = CLIP[0, :4]
    samples = predictor.predict(context, 8, num_samples=4, seed=0)
    assert torch.equal(samples, predictor.predict(context, 8, num_samples=4, seed=0))
    assert torch.equal(samples[:2], predictor.predict(context, 8, num_samples=2, seed=0))
    assert all(not torch.equal(samples[0, 7], other[7]) for other in samples[1:])
    single = predictor.predict(context, 8)
    ratio = gradient_energy_ratio(samples[:, 7], single[7:8].expand(4, -1, -1, -1))
    assert (ratio > 0.8).all()
    torch.manual_seed(1)
    drawn = predictor.predict(context, 8, num_samples=2)
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.slow
def test_samples_share_the_optical_flow(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Care] = []
    flow = optical_flow.dense_flow

    def counted(first: Tensor, second: Tensor, care: Care = "medium") -> Tensor:
        calls.extend([care] * len(first))
        return flow(first, second, care)

    model, noises = predictor.generator, [predictor.noise(1, sample, 0) for sample in range(3)]
    alone = [rollout(model, CLIP[:, :4], 8, noise, forward=model.stream_forward(8))[0] for noise in noises]
    monkeypatch.setattr(optical_flow, "dense_flow", counted)
    assert torch.equal(predictor.predict(CLIP[0, :4], 8, num_samples=3, seed=0), torch.stack(alone))
    assert sorted(calls) == ["fine", "fine", "smooth", "smooth", "smooth"]


def test_samples_of_a_blend_are_refused(predictor: Predictor) -> None:
    blended = Predictor(MotionGenerator(MotionSettings(), 4, 8), predictor.data, name="mine")
    with pytest.raises(ConfigError, match="at sharpness 0 mine blends all futures into one"):
        blended.predict(CLIP[0, :4], 8, num_samples=2)
    with pytest.raises(ValueError, match=r"noise \(1, 3\)"):
        rollout(predictor.generator, CLIP[:, :4], 8, torch.zeros(1, 2))
