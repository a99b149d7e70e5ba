"""The motion-aware generator: its sharp end, which blends paths and warps once."""

from __future__ import annotations

import math

import pytest
import torch

from tests.models.small_motion import generator, shaken
from tests.models.test_baselines import moving_clip
from vidpred.evaluation.sharpness import gradient_energy_ratio
from vidpred.models.motion import MotionSettings
from vidpred.models.motion_candidates import NUM_CANDIDATES, Scene, blend_paths


def test_blended_paths_by_hand() -> None:
    """Shares of 1/4 for the last frame, half way, pushed and the smooth flow: the mean of 0, 2, 4 and 1 pixels."""
    path, steady = torch.full((1, 2, 8, 8), 4.0), torch.full((1, 2, 8, 8), 1.0)
    shares = torch.full((1, 7, 8, 8), -50.0)
    shares[:, :4] = 0.0
    empty = torch.zeros(1)
    blended = blend_paths(Scene(path, steady, empty, empty, empty, empty), shares, [2])
    torch.testing.assert_close(blended, torch.full_like(blended, 1.75))


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
