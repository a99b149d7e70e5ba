"""LAPGAN: every scale learns from the true coarser image and samples from the generated one."""

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
        trained = generator(none, noise=noise, target=target)
    true_scales = build_pyramid(target, 3)
    torch.testing.assert_close(trained[0][:, 0], coarse)
    torch.testing.assert_close(trained[1][:, 0], upsample(true_scales[0][:, 0]))
    torch.testing.assert_close(trained[2][:, 0], upsample(true_scales[1][:, 0]))


def test_in_training_no_scale_gets_gradients_from_another(generator: LapganGenerator) -> None:
    none, target = torch.empty(2, 0, *SHAPE), torch.rand(2, 1, *SHAPE)
    generator(none, target=target)[2].sum().backward()
    assert all(parameter.grad is None for parameter in generator.coarsest.parameters())
    assert all(parameter.grad is None for parameter in generator.finer[0].parameters())
    assert all(parameter.grad is not None for parameter in generator.finer[1].parameters())


def test_each_scale_has_separate_noise(generator: LapganGenerator) -> None:
    noise, none = torch.rand(1, SETTINGS.noise_channels), torch.empty(1, 0, *SHAPE)
    other = noise.clone()
    other[:, -256:] = 0  # of the finest scale
    with torch.no_grad():
        one, two = generator(none, noise=noise), generator(none, noise=other)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])
    assert not torch.allclose(one[2], two[2])


def test_a_scale_is_scored_on_the_image_that_it_was_built_on() -> None:
    torch.manual_seed(0)
    discriminator = LapganDiscriminator(LapganDiscriminatorSettings(hidden=[8], width=4, dropout=0.0), 3, SHAPE)
    none, target, other = torch.empty(2, 0, *SHAPE), torch.rand(2, 1, *SHAPE), torch.rand(2, 1, *SHAPE)
    images = build_pyramid(target, 3)
    with torch.no_grad():
        logits = discriminator(none, images, target=target)
        torch.testing.assert_close(discriminator(none, images), logits)  # real images are built on themselves
        wrong = discriminator(none, images, target=other)
    assert logits.shape == (2, 3)
    assert torch.equal(logits[:, 0], wrong[:, 0])
    assert not torch.isclose(logits[:, 1:], wrong[:, 1:]).any()


def test_dropout_is_in_every_network_after_the_coarsest_hidden_layers_and_before_the_finer_last_layers() -> None:
    networks = LapganDiscriminator(LapganDiscriminatorSettings(hidden=[6, 5], width=4), 3, SHAPE).networks
    found = [[type(layer).__name__ for layer in network] for network in networks]  # type: ignore[attr-defined]
    assert [names.count("Dropout") for names in found] == [2, 1, 1]
    assert all(names[-2:] == ["Dropout", "Linear"] for names in found)


def test_the_error_of_too_little_noise_states_how_much_is_needed() -> None:
    with pytest.raises(ConfigError, match="set 420"):
        LapganGenerator(SETTINGS.model_copy(update={"noise_channels": 320}), SHAPE)
    with pytest.raises(ConfigError, match="multiple of 4"):
        LapganGenerator(SETTINGS, Shape(1, 18, 18))


def test_the_objective_scores_on_the_true_coarser_image(generator: LapganGenerator) -> None:
    """Real and generated images of a scale are details added to the same true coarser image.

    It does not matter what the coarser scales generate.
    """
    torch.manual_seed(0)
    discriminator = LapganDiscriminator(LapganDiscriminatorSettings(hidden=[8], width=4, dropout=0.0), 3, SHAPE)
    none, target = torch.empty(2, 0, *SHAPE), torch.rand(2, 1, *SHAPE)
    with torch.no_grad():
        fake = generator(none, target=target)
    settings = ObjectiveSettings(lp_weight=0, gdl_weight=0, adversarial={"weight": 1})
    objective = Objective(settings, discriminator, discriminator)
    step = Step(Batch(none, target, torch.arange(2)), fake, 0)
    softplus = torch.nn.functional.softplus
    on_true = discriminator(none, build_pyramid(target, 3), target=target)
    on_fake = discriminator(none, fake, target=target)
    alone = discriminator(none, fake)  # on the generated coarser images: another game
    found = objective.discriminator_losses(step).parts
    torch.testing.assert_close(found["real"], softplus(-on_true).mean(0).sum())
    torch.testing.assert_close(found["fake"], softplus(on_fake).mean(0).sum())
    assert not torch.allclose(found["fake"], softplus(alone).mean(0).sum())
    found_adversarial = objective.generator_losses(step).parts["adversarial"]
    torch.testing.assert_close(found_adversarial, softplus(-on_fake).mean(0).sum())
    assert not torch.allclose(found_adversarial, softplus(-alone).mean(0).sum())
