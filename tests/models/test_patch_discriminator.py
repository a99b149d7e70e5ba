"""The patch discriminator: its inputs, its places, and the balance of its loss with the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.settings_for_tests import objective_settings
from vidpred.config import load_config
from vidpred.data.batch import Batch
from vidpred.errors import ConfigError
from vidpred.losses.penalties import r1_penalty
from vidpred.models.base import Generator
from vidpred.models.multiscale import MultiscaleGenerator, MultiscaleSettings
from vidpred.models.patch_discriminator import PatchDiscriminator, PatchDiscriminatorSettings, details
from vidpred.models.pyramid import build_pyramid
from vidpred.run import train
from vidpred.training.objectives import Objective, Step
from vidpred.training.updates import frozen

CONTEXT, FUTURE = 3, 2


def network(num_scales: int = 2, **settings: object) -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(PatchDiscriminatorSettings(widths=[8, 8], **settings), num_scales, CONTEXT, FUTURE, 3)


def images(side: int = 32, batch: int = 2) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(1)
    return torch.rand(batch, CONTEXT, 3, side, side), build_pyramid(torch.rand(batch, FUTURE, 3, side, side), 2)


def test_details_are_what_a_binomial_blur_removes() -> None:
    frames = torch.zeros(1, 1, 2, 5, 5)
    frames[0, 0, 1, 2, 2] = 1
    found = details(frames)
    kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    expected = frames[0, 0, 1].clone()
    expected[1:4, 1:4] -= kernel
    torch.testing.assert_close(found[0, 0, 1], expected)
    assert not found[0, 0, 0].any()
    assert details(torch.full((2, 3, 1, 4, 6), 0.7)).abs().max() < 1e-6


def test_the_inputs_are_frames_details_and_motion() -> None:
    context, pyramid = images()
    inputs = network().inputs(context, pyramid[-1])
    sequence = torch.cat([context, pyramid[-1]], 1)
    motion = 5 * (sequence[:, 1:] - sequence[:, :-1])
    expected = torch.cat([pyramid[-1], 10 * details(pyramid[-1]), motion], 1).flatten(1, 2)
    torch.testing.assert_close(inputs, expected)
    plain = network(detail_gain=0.0, motion_gain=0.0)
    torch.testing.assert_close(plain.inputs(context, pyramid[-1]), pyramid[-1].flatten(1, 2))
    plain(context, pyramid)


@pytest.mark.parametrize(("scales", "scored"), [(1, 1), (2, 2), (5, 2)])
def test_shapes(scales: int, scored: int) -> None:
    context, pyramid = images(side=40)
    logits, features = network(scales=scales)(context, pyramid, with_features=True)
    assert logits.shape == (2, scored, 100)
    assert [tuple(feature.shape) for feature in features] == [(2, 8)] * scored


def test_a_place_scores_its_surroundings_only() -> None:
    context, pyramid = images(side=64, batch=1)
    score = network(num_scales=1)
    before = score(context, pyramid[-1:]).view(16, 16)
    changed = pyramid[-1].clone()
    changed[..., :4, :4] = 0
    different = (score(context, [changed]).view(16, 16) - before).abs() > 1e-6
    assert different[0, 0]
    assert not different[8:].any()
    assert not different[:, 8:].any()


def test_only_the_finest_scales_are_scored_and_the_penalty_is_of_the_mean_over_places() -> None:
    context, pyramid = images()
    pyramid = [image.requires_grad_() for image in pyramid]
    score = network()
    penalty = r1_penalty(score(context, pyramid), pyramid)
    gradient = torch.autograd.grad(score(context, pyramid).mean(2).sum(), pyramid[-1])[0]
    torch.testing.assert_close(penalty, gradient.square().flatten(1).sum(1).mean() / 2)


def step_for(generator: Generator) -> Step:
    torch.manual_seed(2)
    batch = Batch(torch.rand(2, CONTEXT, 3, 32, 32), torch.rand(2, FUTURE, 3, 32, 32), torch.arange(2))
    return Step(batch, generator(batch.context), 3)


def generator_for_test() -> MultiscaleGenerator:
    torch.manual_seed(3)
    settings = MultiscaleSettings(scales=2, feature_maps=[[4]] * 2, kernel_sizes=[[3, 3]] * 2)
    return MultiscaleGenerator(settings, CONTEXT, FUTURE)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_balanced_gradients_have_the_ratio_of_the_weight(weight: float) -> None:
    generator, discriminator = generator_for_test(), network()
    settings = objective_settings(weight=weight, balanced=True, loss="hinge")
    objective = Objective(settings, discriminator, discriminator, generator)
    step = step_for(generator)
    with frozen([discriminator]):
        losses = objective.generator_losses(step)
    last = generator.last_weight
    weighted = losses.weighted()
    adversarial = torch.autograd.grad(weighted["adversarial"], last, retain_graph=True)[0].norm()
    others = torch.autograd.grad(weighted["lp"] + weighted["gdl"], last, retain_graph=True)[0].norm()
    torch.testing.assert_close(adversarial, weight * others)
    assert float(losses.parts["adversarial_weight"]) == pytest.approx(losses.weights["adversarial"])
    torch.testing.assert_close(losses.total, sum(weighted.values(), torch.zeros(())))


def test_balance_before_the_adversary_starts() -> None:
    generator, discriminator = generator_for_test(), network()
    objective = Objective(
        objective_settings(weight=1.0, balanced=True, start=10), discriminator, discriminator, generator
    )
    losses = objective.generator_losses(step_for(generator))
    assert "adversarial" not in losses.weights
    assert float(losses.parts["adversarial_weight"]) == 0


def test_what_cannot_be_balanced_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no other loss"):
        objective_settings(weight=1.0, balanced=True, lp_weight=0, gdl_weight=0)
    changes = {"model.name": "motion", "objective.adversarial.weight": 1.0, "objective.adversarial.balanced": True}
    with pytest.raises(ConfigError, match="no last layer"):
        train(load_config(None, {**changes, "data.crop_size": 32, "run": str(tmp_path), "training.device": "cpu"}))
