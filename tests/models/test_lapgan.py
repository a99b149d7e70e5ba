"""LAPGAN: every scale learns from the true coarser one, and draws from its own."""

from __future__ import annotations

import pytest
import torch

from vidpred.data.batch import Batch
from vidpred.errors import ConfigError
from vidpred.models.images import Shape
from vidpred.models.lapgan import LapganDiscriminator, LapganDiscriminatorSettings, LapganGenerator, LapganSettings
from vidpred.models.pyramid import build_pyramid, upsample
from vidpred.training.objectives import Objective, ObjectiveSettings, Step

SHAPE = Shape(1, 16, 16)
SETTINGS = LapganSettings(scales=3, hidden=[8], width=4, noise_channels=5 + 64 + 256)


@pytest.fixture
def generator() -> LapganGenerator:
    torch.manual_seed(0)
    return LapganGenerator(SETTINGS, SHAPE)


def test_a_network_that_adds_nothing_leaves_the_coarser_image(generator: LapganGenerator) -> None:
    noise, none = torch.rand(2, SETTINGS.noise_channels), torch.empty(2, 0, *SHAPE)
    with torch.no_grad():
        for network in generator.finer:
            for parameter in network[-1].parameters():  # type: ignore[index]
                parameter.zero_()
        coarse, middle, fine = (image[:, 0] for image in generator(none, noise=noise))
        torch.testing.assert_close(middle, upsample(coarse))
        torch.testing.assert_close(fine, upsample(upsample(coarse)))
        target = torch.rand(2, 1, *SHAPE)
        shown = generator(none, noise=noise, target=target)
    known = build_pyramid(target, 3)
    torch.testing.assert_close(shown[0][:, 0], coarse)
    torch.testing.assert_close(shown[1][:, 0], upsample(known[0][:, 0]))
    torch.testing.assert_close(shown[2][:, 0], upsample(known[1][:, 0]))


def test_in_training_no_scale_answers_for_another(generator: LapganGenerator) -> None:
    none, target = torch.empty(2, 0, *SHAPE), torch.rand(2, 1, *SHAPE)
    generator(none, target=target)[2].sum().backward()
    assert all(parameter.grad is None for parameter in generator.coarsest.parameters())
    assert all(parameter.grad is None for parameter in generator.finer[0].parameters())
    assert all(parameter.grad is not None for parameter in generator.finer[1].parameters())


def test_each_scale_has_noise_of_its_own(generator: LapganGenerator) -> None:
    noise, none = torch.rand(1, SETTINGS.noise_channels), torch.empty(1, 0, *SHAPE)
    other = noise.clone()
    other[:, -256:] = 0  # of the finest scale
    with torch.no_grad():
        one, two = generator(none, noise=noise), generator(none, noise=other)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.allclose(one[2], two[2])


def test_the_judge_of_a_scale_sees_what_was_built_on() -> None:
    torch.manual_seed(0)
    judge = LapganDiscriminator(LapganDiscriminatorSettings(hidden=[8], width=4, dropout=0.0), 3, SHAPE)
    none, target, other = torch.empty(2, 0, *SHAPE), torch.rand(2, 1, *SHAPE), torch.rand(2, 1, *SHAPE)
    images = build_pyramid(target, 3)
    with torch.no_grad():
        logits = judge(none, images, target=target)
        torch.testing.assert_close(judge(none, images), logits)  # true images are built on themselves
        wrong = judge(none, images, target=other)
    assert logits.shape == (2, 3)
    assert torch.equal(logits[:, 0], wrong[:, 0])
    assert not torch.isclose(logits[:, 1:], wrong[:, 1:]).any()


def test_too_little_noise_says_how_much() -> None:
    with pytest.raises(ConfigError, match="set 420"):
        LapganGenerator(SETTINGS.model_copy(update={"noise_channels": 320}), SHAPE)
    with pytest.raises(ConfigError, match="multiple of 4"):
        LapganGenerator(SETTINGS, Shape(1, 18, 18))


def test_the_objective_has_both_players_judge_on_the_true_coarser_image(generator: LapganGenerator) -> None:
    """True and generated images of a scale are details added to the same true coarser one, whatever was generated at
    the scales below."""
    torch.manual_seed(0)
    judge = LapganDiscriminator(LapganDiscriminatorSettings(hidden=[8], width=4, dropout=0.0), 3, SHAPE)
    none, target = torch.empty(2, 0, *SHAPE), torch.rand(2, 1, *SHAPE)
    with torch.no_grad():
        made = generator(none, target=target)
    settings = ObjectiveSettings(lp_weight=0, gdl_weight=0, adversarial={"weight": 1})
    objective = Objective(settings, judge, judge)
    step = Step(Batch(none, target, torch.arange(2)), made, 0)
    softplus = torch.nn.functional.softplus
    on_true = judge(none, build_pyramid(target, 3), target=target)
    on_made = judge(none, made, target=target)
    alone = judge(none, made)  # on the coarser images that were made: another game
    found = objective.discriminator_losses(step).parts
    torch.testing.assert_close(found["real"], softplus(-on_true).mean(0).sum())
    torch.testing.assert_close(found["fake"], softplus(on_made).mean(0).sum())
    assert not torch.allclose(found["fake"], softplus(alone).mean(0).sum())
    learnt = objective.generator_losses(step).parts["adversarial"]
    torch.testing.assert_close(learnt, softplus(-on_made).mean(0).sum())
    assert not torch.allclose(learnt, softplus(-alone).mean(0).sum())
