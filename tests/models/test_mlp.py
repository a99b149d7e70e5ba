"""Networks of the first GAN."""

from __future__ import annotations

import torch

from vidpred.models.images import Shape
from vidpred.models.mlp import Maxout, MlpDiscriminator, MlpDiscriminatorSettings, MlpGenerator, MlpSettings
from vidpred.models.noise import draw_noise

SHAPE = Shape(1, 2, 3)


def test_maxout_by_hand() -> None:
    """Unit 0: max(x, -x); unit 1: max(2x + 1, 0): convex functions that are not linear."""
    layer = Maxout(1, width=2, pieces=2)
    with torch.no_grad():
        layer.maps.weight.copy_(torch.tensor([[1.0], [-1], [2], [0]]))
        layer.maps.bias.copy_(torch.tensor([0.0, 0, 1, 0]))
        found = layer(torch.tensor([[-3.0], [0.5]]))
    torch.testing.assert_close(found, torch.tensor([[3.0, 0], [0.5, 2]]))


def test_the_generator_makes_all_pixels_in_range() -> None:
    torch.manual_seed(0)
    generator = MlpGenerator(MlpSettings(hidden=[8], noise_channels=4), SHAPE)
    noise = draw_noise(generator, 50)
    assert -1 < float(noise.min()) < -0.9
    assert 0.9 < float(noise.max()) < 1, "uniform noise, as in the first paper"
    with torch.no_grad():
        (images,) = generator(torch.empty(50, 0, *SHAPE), noise=noise * 100)
    assert images.shape == (50, 1, 1, 2, 3)
    assert 0 <= float(images.min()) < 0.1 < 0.9 < float(images.max()) <= 1


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    discriminator = MlpDiscriminator(MlpDiscriminatorSettings(hidden=[16, 16]), SHAPE)
    none, images = torch.empty(3, 0, *SHAPE), [torch.rand(3, 1, *SHAPE)]
    with torch.no_grad():
        assert not torch.equal(discriminator(none, images), discriminator(none, images))
        discriminator.eval()
        assert torch.equal(discriminator(none, images), discriminator(none, images))
        logits, (features,) = discriminator(none, images, with_features=True)
    assert logits.shape == (3, 1)
    assert features.shape == (3, 16)


def test_minibatch_kernels_compare_with_the_other_samples() -> None:
    torch.manual_seed(0)
    discriminator = MlpDiscriminator(MlpDiscriminatorSettings(hidden=[8], dropout=0.0, minibatch_kernels=4), SHAPE)
    images = torch.rand(4, 1, *SHAPE)
    with torch.no_grad():
        among_others = discriminator(torch.empty(4, 0, *SHAPE), [images])[0]
        among_copies = discriminator(torch.empty(4, 0, *SHAPE), [images[:1].repeat(4, 1, 1, 1, 1)])[0]
    assert not torch.allclose(among_others, among_copies)
