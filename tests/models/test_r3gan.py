"""R3GAN: sizes of the paper's networks, the start of its residual branches, and bilinear resampling."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as functional

from vidpred.config import load_config
from vidpred.errors import ConfigError
from vidpred.models.build import build_discriminator, build_generator, count_parameters
from vidpred.models.images import Shape, halved_sides
from vidpred.models.r3gan import (
    GAIN,
    R3ganDiscriminator,
    R3ganDiscriminatorSettings,
    R3ganGenerator,
    R3ganSettings,
    Resample,
    ResidualBlock,
)


def block_parameters(width: int) -> int:
    """Return the parameters of 1x1, 3x3 (in groups of 16) and 1x1 convolutions and two biases, twice as wide inside."""
    inner = 2 * width
    return width * inner + inner * 16 * 9 + inner * width + 2 * inner


@pytest.mark.parametrize(
    ("preset", "widths", "generator", "discriminator"),
    [
        ("r3gan_32", [768] * 4, 20_732_160, 20_683_776),  # the authors' code, preset CIFAR10
        ("r3gan_64", [768] * 4 + [384], 22_429_824, 22_381_440),  # FFHQ-64
    ],
)
def test_presets_have_the_papers_sizes(preset: str, widths: list[int], generator: int, discriminator: int) -> None:
    config = load_config(f"{preset}.yaml")
    with torch.device("meta"):
        networks = build_generator(config.model, config.data), build_discriminator(config.discriminator, 1, config.data)
    counts = [count_parameters(network) for network in networks]
    assert counts == [generator, discriminator]
    shared = sum(2 * block_parameters(width) for width in widths) + 16 * 768 + 3 * widths[-1]
    shared += 768 * 384 if 384 in widths else 0  # the 1x1 convolution of the stage whose width changes
    assert generator - shared == 64 * 768  # from z to the weights of the 4x4 basis
    assert discriminator - shared == 768  # from the 4x4 basis to the logit


def small_networks(labels: int = 0) -> tuple[R3ganGenerator, R3ganDiscriminator]:
    torch.manual_seed(0)
    shape, own = Shape(1, 16, 16), {"width": 16, "full_width_side": 8, "blocks": 1, "num_labels": labels}
    generator = R3ganGenerator(R3ganSettings(noise_channels=6, **own), shape)
    return generator, R3ganDiscriminator(R3ganDiscriminatorSettings(**own), shape)


def test_residual_branches_are_zero_at_the_start() -> None:
    """Every block returns its input; its inner layers are scaled by the number of blocks to the power -1/4."""
    for network in small_networks():
        blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
        assert len(blocks) == 3
        for block in blocks:
            features = torch.randn(2, 4, 4, block.layers[0].in_features)
            assert torch.equal(block(features), features)
    torch.manual_seed(0)
    block = ResidualBlock(256, 8)
    expected = GAIN * 8**-0.25
    assert float(block.layers[0].weight.detach().std()) * math.sqrt(256) == pytest.approx(expected, rel=0.01)
    assert float(block.layers[2].weight.detach().std()) * math.sqrt(144) == pytest.approx(expected, rel=0.01)


def test_untrained_features_keep_their_variance() -> None:
    """Images and logits of a deep network without normalization begin with a variance near 1."""
    torch.manual_seed(0)
    shape = Shape(3, 64, 64)
    generator = R3ganGenerator(R3ganSettings(width=64, full_width_side=64), shape)
    with torch.no_grad():
        (images,) = generator(torch.empty(4, 0, *shape))
    assert 0.05 < float((images * 2 - 1).std()) < 2


def test_resampling_is_bilinear() -> None:
    """Enlarging equals torch's bilinear interpolation within the border; shrinking is its transpose over 4."""
    torch.manual_seed(0)
    images = torch.randn(2, 6, 6, 3)
    larger, smaller = Resample((6, 3), (12, 3)), Resample((12, 3), (6, 3))
    enlarged = larger(images)
    true = functional.interpolate(images.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear").permute(0, 2, 3, 1)
    torch.testing.assert_close(enlarged[:, 1:-1, 1:-1], true[:, 1:-1, 1:-1])
    others = torch.randn(2, 12, 12, 3)
    torch.testing.assert_close((enlarged * others).sum() / 4, (images * smaller(others)).sum())


def test_classes_change_images_and_logits() -> None:
    generator, discriminator = small_networks(labels=3)
    noise, context = torch.randn(2, 6).repeat(2, 1), torch.empty(4, 0, 1, 16, 16)
    labels = torch.tensor([0, 0, 2, 2])
    (images,) = generator(context, noise, labels)
    assert images.shape == (4, 1, 1, 16, 16)
    assert not torch.allclose(images[:2], images[2:])
    same = images[:2].repeat(2, 1, 1, 1, 1)
    logits, features = discriminator(context, [same], with_features=True, labels=labels)
    assert logits.shape == (4, 1)
    assert features[0].shape == (4, 16)
    torch.testing.assert_close(features[0][:2], features[0][2:])
    assert not torch.allclose(logits[:2], logits[2:])


@pytest.mark.parametrize(("side", "expected"), [(28, [7, 14, 28]), (32, [4, 8, 16, 32]), (96, [6, 12, 24, 48, 96])])
def test_sides(side: int, expected: list[int]) -> None:
    assert halved_sides(side) == expected[::-1]


@pytest.mark.parametrize("side", [3, 27, 50])
def test_sides_that_cannot_be_doubled_to(side: int) -> None:
    with pytest.raises(ConfigError, match="data.crop_size"):
        halved_sides(side)


def test_too_narrow_stages_are_refused() -> None:
    with pytest.raises(ConfigError, match="full_width_side=4"):
        R3ganGenerator(R3ganSettings(width=8, full_width_side=4), Shape(1, 16, 16))
