"""DCGAN's guidelines, layer by layer; what batch norm and minibatch discrimination mix."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from vidpred.errors import ConfigError
from vidpred.models.dcgan import (
    DcganDiscriminator,
    DcganDiscriminatorSettings,
    DcganGenerator,
    DcganSettings,
    dcgan_sides,
)
from vidpred.models.images import MinibatchDiscrimination, Shape, VirtualBatchNorm

SHAPE = Shape(3, 64, 64)


def test_the_generator_follows_the_guidelines() -> None:
    torch.manual_seed(0)
    generator = DcganGenerator(DcganSettings(), SHAPE)
    layers = list(generator.layers)
    convolutions = [layer for layer in layers if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in convolutions] == [512, 256, 128, 64, 3]  # the paper's figure 1, halved
    assert not any(isinstance(layer, nn.Linear) for layer in layers)
    for before, after in pairwise(layers):  # batch norm after every layer except the last, then ReLU
        if isinstance(before, nn.ConvTranspose2d):
            assert isinstance(after, nn.BatchNorm2d)
        if isinstance(before, nn.BatchNorm2d):
            assert isinstance(after, nn.ReLU)
    for layer in convolutions[:-1]:
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
        assert layer.bias is None
    (image,) = generator(torch.empty(2, 0, 3, 64, 64))
    assert image.shape == (2, 1, 3, 64, 64)
    assert 0 <= float(image.min()) < float(image.max()) <= 1


def test_the_discriminator_follows_the_guidelines() -> None:
    layers = list(DcganDiscriminator(DcganDiscriminatorSettings(), SHAPE).layers)
    assert [type(layer) for layer in layers[:2]] == [nn.Conv2d, nn.LeakyReLU]  # no batch norm on the images
    assert [type(layer) for layer in layers[2:]] == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 3
    assert {layer.negative_slope for layer in layers if isinstance(layer, nn.LeakyReLU)} == {0.2}
    assert all(layer.stride == (2, 2) for layer in layers if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize(("side", "expected"), [(8, [4]), (28, [14, 7, 4]), (32, [16, 8, 4]), (96, [48, 24, 12, 6])])
def test_sides(side: int, expected: list[int]) -> None:
    """Halved sides match the discriminator's and the generator's feature maps."""
    assert dcgan_sides(side) == [side, *expected]
    shape = Shape(1, side, side)
    discriminator, generator = (
        DcganDiscriminator(DcganDiscriminatorSettings(width=2), shape),
        DcganGenerator(DcganSettings(width=2), shape),
    )
    (image,) = generator(torch.empty(2, 0, *shape))
    assert image.shape[2:] == shape
    sides: list[int] = []
    for layer in [*discriminator.layers, *generator.layers]:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda layer, inputs, output: sides.append(output.shape[-1]))
    discriminator(torch.empty(2, 0, *shape), generator(torch.empty(2, 0, *shape)))
    assert sides == [*reversed(dcgan_sides(side)), *expected]


@pytest.mark.parametrize("side", [27, 50, 4])
def test_sides_that_cannot_be_doubled_to(side: int) -> None:
    with pytest.raises(ConfigError, match="data.crop_size"):
        dcgan_sides(side)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def small_discriminator(**settings: Any) -> DcganDiscriminator:
    torch.manual_seed(0)
    return DcganDiscriminator(DcganDiscriminatorSettings(width=4, **settings), Shape(1, 16, 16))


@pytest.mark.parametrize("settings", [{}, {"batch_norm": False, "minibatch_kernels": 3}])
def test_real_and_generated_images_are_separate_batches(settings: dict[str, Any]) -> None:
    network = small_discriminator(**settings)
    real, fake = torch.rand(5, 1, 1, 16, 16), torch.rand(5, 1, 1, 16, 16) * 0.1
    none = torch.empty(5, 0, 1, 16, 16)
    apart = torch.cat([network(none, [real]), network(none, [fake])])
    both = none.repeat(2, 1, 1, 1, 1), [torch.cat([real, fake])]
    torch.testing.assert_close(network(*both, num_groups=2), apart)
    assert not torch.allclose(network(*both), apart)


def test_without_layers_over_the_batch_images_are_scored_independently() -> None:
    network = small_discriminator(batch_norm=False)
    images = torch.rand(4, 1, 1, 16, 16)
    none = torch.empty(4, 0, 1, 16, 16)
    torch.testing.assert_close(network(none, [images])[:1], network(none[:1], [images[:1]]))


def test_he_initialization_keeps_the_scale_of_features_without_batch_norm() -> None:
    images, none = torch.rand(200, 1, 1, 16, 16), torch.empty(200, 0, 1, 16, 16)
    scales = {}
    for initialization in ("dcgan", "he"):
        network = small_discriminator(batch_norm=False, initialization=initialization)
        _, (hidden,) = network(none, [images], with_features=True)
        scales[initialization] = float((hidden.square().mean() / (images * 2 - 1).square().mean()).sqrt())
    assert scales["dcgan"] < 0.02
    assert 0.5 < scales["he"] < 2


def test_minibatch_discrimination_by_hand() -> None:
    """Rows (0, 0), (1, 0), (0, 3) through the identity, one kernel of size 2: distances 1, 3, 4."""
    layer = MinibatchDiscrimination(2, kernels=1, size=2)
    with torch.no_grad():
        layer.projection.weight.copy_(torch.eye(2))
    found = layer(torch.tensor([[0.0, 0], [1, 0], [0, 3]]))
    wanted = [math.exp(-1) + math.exp(-3), math.exp(-1) + math.exp(-4), math.exp(-3) + math.exp(-4)]
    torch.testing.assert_close(found[:, 2], torch.tensor(wanted))
    torch.testing.assert_close(found[:, :2], torch.tensor([[0.0, 0], [1, 0], [0, 3]]))


def test_a_batch_of_copies_shows_in_every_closeness() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(6, kernels=4)
    assert torch.allclose(layer(torch.ones(5, 6))[:, 6:], torch.full((5, 4), 4.0))
    assert float(layer(torch.randn(5, 6) * 5)[:, 6:].max()) < 1


def test_classes_reach_both_networks() -> None:
    torch.manual_seed(0)
    generator = DcganGenerator(DcganSettings(num_labels=3, width=4), Shape(1, 16, 16)).eval()
    noise, none = torch.randn(1, 100).repeat(3, 1), torch.empty(3, 0, 1, 16, 16)
    (images,) = generator(none, noise=noise, labels=torch.tensor([0, 1, 1]))
    assert torch.equal(images[1], images[2])
    assert not torch.allclose(images[0], images[1])
    network = small_discriminator(num_labels=3, batch_norm=False)
    logits = network(none, [images[:1].repeat(3, 1, 1, 1, 1)], labels=torch.tensor([0, 1, 1]))
    torch.testing.assert_close(logits[1], logits[2])
    assert not torch.allclose(logits[0], logits[1])
    for labels in (None, torch.tensor([0, 1, 3])):
        with pytest.raises(ValueError, match="labels"):
            generator(none, noise=noise, labels=labels)
    with pytest.raises(ValueError, match="noise"):
        generator(none, noise=noise[:2], labels=torch.tensor([0, 1, 1]))


def test_virtual_batch_norm_by_hand() -> None:
    """Normalize (2, 6) with the reference (0, 2), whose mean is 1 and mean square 2.

    The row's own are 4 and 20, half and half 2.5 and 11, so its variance is 11 - 2.5^2 = 4.75.
    """
    layer = VirtualBatchNorm(1, reference=1)
    layer.weight.fill_(3)
    layer.bias.fill_(1)
    found = layer(torch.tensor([[0.0, 2], [2, 6]])[:, None, None])
    wanted = torch.tensor([[-1, 1], [-0.5 / 4.75**0.5, 3.5 / 4.75**0.5]]) * 3 + 1
    torch.testing.assert_close(found[:, 0, 0], wanted, rtol=1e-4, atol=1e-4)


def virtual(**settings: Any) -> DcganGenerator:
    torch.manual_seed(0)
    return DcganGenerator(DcganSettings(width=4, virtual_batch=6, **settings), Shape(1, 16, 16))


def test_virtual_batch_norm_treats_images_independently_in_training_and_after() -> None:
    generator = virtual()
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in generator.layers)
    noise, none = torch.randn(5, 100), torch.empty(5, 0, 1, 16, 16)
    (images,) = generator(none, noise=noise)
    assert images.shape == (5, 1, 1, 16, 16)
    torch.testing.assert_close(generator(none[:1], noise=noise[:1])[0], images[:1])
    torch.testing.assert_close(generator.eval()(none, noise=noise)[0], images)
    generator.reference += 1  # its statistics normalize the others
    assert not torch.allclose(generator(none, noise=noise)[0], images, atol=1e-3)


def test_the_reference_batch_is_kept_with_the_weights() -> None:
    generator = virtual(num_labels=4)
    assert generator.reference[:, 100:].argmax(1).tolist() == [0, 1, 2, 3, 0, 1]
    torch.manual_seed(1)
    other = DcganGenerator(DcganSettings(width=4, virtual_batch=6, num_labels=4), Shape(1, 16, 16))
    assert not torch.equal(other.reference, generator.reference)
    other.load_state_dict(generator.state_dict())
    noise, none, labels = torch.randn(2, 100), torch.empty(2, 0, 1, 16, 16), torch.tensor([3, 1])
    given = {"noise": noise, "labels": labels}
    torch.testing.assert_close(other(none, **given), generator(none, **given))
    assert "reference" not in DcganGenerator(DcganSettings(width=4), Shape(1, 16, 16)).state_dict()
