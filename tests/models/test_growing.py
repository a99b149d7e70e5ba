"""Progressive growing and StyleGAN: exact arithmetic of their parts, growth, fading, mixing, truncation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch

from vidpred.data.batch import Batch
from vidpred.errors import ConfigError
from vidpred.losses.penalties import r1_penalty
from vidpred.models.equalized_lr import (
    EqualizedConv,
    EqualizedLinear,
    adaptive_instance_norm,
    feature_maps,
    minibatch_std,
    pixel_norm,
    progress_at,
)
from vidpred.models.images import Shape
from vidpred.models.progressive import (
    ProgressiveDiscriminator,
    ProgressiveDiscriminatorSettings,
    ProgressiveGenerator,
    ProgressiveSettings,
)
from vidpred.models.pyramid import upsample
from vidpred.models.stylegan import StyleganGenerator, StyleganSettings
from vidpred.training.objectives import Objective, ObjectiveSettings, Step

SHAPE = Shape(1, 16, 16)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def test_equalized_weights_by_hand() -> None:
    """Weight 3, bias 1, four inputs: 3 sqrt(2) / sqrt(4) per input, plus 1; a rate of 1/100 divides stored weights."""
    layer = EqualizedLinear(4, 1)
    layer.weight.fill_(3.0)
    layer.bias.fill_(1.0)
    torch.testing.assert_close(layer(torch.ones(1, 4)), torch.tensor([[4 * 3 * math.sqrt(2) / 2 + 1]]))
    assert float(EqualizedLinear(400, 400).weight.std()) == pytest.approx(1, abs=0.01)
    slow = EqualizedLinear(400, 400, rate=0.01)
    assert float(slow.weight.std()) == pytest.approx(100, rel=0.01)
    assert float(slow(torch.randn(100, 400)).std()) == pytest.approx(math.sqrt(2), rel=0.05)
    convolution = EqualizedConv(2, 1, 3, gain=1)
    convolution.weight.fill_(1.0)
    middle = convolution(torch.ones(1, 2, 3, 3))[0, 0, 1, 1]
    assert float(middle) == pytest.approx(18 / math.sqrt(18))


def test_pixel_norm_by_hand() -> None:
    found = pixel_norm(torch.tensor([3.0, 4]).view(1, 2, 1, 1)).flatten()
    torch.testing.assert_close(found, torch.tensor([3.0, 4]) / math.sqrt(12.5))


def test_minibatch_std_by_hand() -> None:
    """Four samples, groups of two: samples 0 and 2 (1 and 5: std 2), samples 1 and 3 (equal: 0)."""
    features = torch.tensor([1.0, 3, 5, 3]).view(4, 1, 1, 1).expand(4, 2, 2, 2)
    found = minibatch_std(features, 2)
    assert found.shape == (4, 3, 2, 2)
    torch.testing.assert_close(found[:, 2, 0, 0], torch.tensor([2.0, 1e-4, 2, 1e-4]))
    torch.testing.assert_close(found[:, :2], features)
    assert minibatch_std(features[:3], 2).shape == (3, 3, 2, 2)  # 3 samples are one group of one each


def test_adaptive_instance_norm_by_hand() -> None:
    """Pixels 1 and 3: mean 2, std 1, so -1 and 1; times 5, plus 2."""
    features = torch.tensor([1.0, 3]).view(1, 1, 1, 2)
    found = adaptive_instance_norm(features, torch.tensor([[5.0]]), torch.tensor([[2.0]]))
    torch.testing.assert_close(found.flatten(), torch.tensor([-3.0, 7]))


def test_feature_maps_are_those_of_the_papers_up_to_32_pixels_and_twice_as_many_from_64_on() -> None:
    paper = [512, 512, 512, 512, 256, 128, 64, 32, 16]  # Karras et al. 2018, table 2: 4x4 to 1024x1024
    assert [feature_maps(512, level) for level in range(9)] == [*paper[:4], *(2 * count for count in paper[4:])]


def test_the_growth_schedule_by_hand() -> None:
    """Two doublings: five equal parts, 4x4, fade, 8x8, fade, 16x16."""
    shares = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0]
    wanted = [0, 0, 0, 0.5, 1, 1, 1, 1.5, 2, 2]
    assert [progress_at(share, 2) for share in shares] == pytest.approx(wanted)


def generators() -> list[ProgressiveGenerator | StyleganGenerator]:
    return [
        ProgressiveGenerator(ProgressiveSettings(width=8, noise_channels=6), SHAPE),
        StyleganGenerator(StyleganSettings(width=8, noise_channels=6, mapping_layers=2), SHAPE).eval(),
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_growth_and_fading(number: int) -> None:
    generator = generators()[number]
    noise, none = torch.randn(2, 6), torch.empty(2, 0, *SHAPE)

    def at(progress: float) -> torch.Tensor:
        generator.progress.fill_(progress)
        return generator(none, noise=noise)[0][:, 0]

    small = at(0)
    assert torch.equal(small, upsample(upsample(small[..., ::4, ::4]))), "4x4 pixels, repeated"
    assert not torch.equal(at(2), upsample(at(2)[..., ::2, ::2]))
    whole, half = at(1), at(0.5)
    # The image in between is the mean of the coarser one, doubled, and the finer one.
    torch.testing.assert_close(half, (small + whole) / 2)
    torch.testing.assert_close(at(1e-6), small, atol=1e-4, rtol=0)


@pytest.mark.parametrize("number", [0, 1])
def test_images_do_not_depend_on_the_size_of_a_layer(number: int) -> None:
    """Pixel normalization and AdaIN cancel a layer's scale."""
    generator = generators()[number].eval()
    generator.progress.fill_(2)
    noise, none = torch.randn(2, 6), torch.empty(2, 0, *SHAPE)
    torch.manual_seed(1)
    before = generator(none, noise=noise)[0]
    layers = [
        module for module in generator.modules() if isinstance(module, EqualizedConv) and module.weight.shape[-1] == 3
    ]
    assert len(layers) >= 4
    for layer in layers:
        layer.weight.mul_(3)
    torch.manual_seed(1)
    torch.testing.assert_close(generator(none, noise=noise)[0], before, atol=1e-3, rtol=0)


def test_the_discriminator_grows_alike() -> None:
    discriminator = ProgressiveDiscriminator(ProgressiveDiscriminatorSettings(width=8), SHAPE)
    none, fine = torch.empty(4, 0, *SHAPE), torch.rand(4, 1, *SHAPE)
    coarse = torch.nn.functional.avg_pool2d(fine[:, 0], 4)
    discriminator.progress.fill_(0)
    torch.testing.assert_close(discriminator(none, [fine]), discriminator(none, [upsample(upsample(coarse))[:, None]]))
    before = discriminator(none, [fine])
    discriminator.progress.fill_(1e-6)
    torch.testing.assert_close(discriminator(none, [fine]), before, atol=1e-4, rtol=0)
    discriminator.progress.fill_(1)
    assert not torch.allclose(discriminator(none, [fine]), before, atol=1e-3)
    discriminator.grow(0)
    assert discriminator.stage() == (0, 1.0)


def test_real_images_are_faded_in_like_generated_ones() -> None:
    discriminator = ProgressiveDiscriminator(ProgressiveDiscriminatorSettings(width=8), SHAPE)
    true = torch.rand(2, 1, *SHAPE)
    pooled = {side: torch.nn.functional.avg_pool2d(true[:, 0], side) for side in (2, 4)}
    for progress, expected in (
        (0.0, true), (1.0, true),  # a whole scale needs no fading
        (1.25, torch.lerp(upsample(pooled[2]), true[:, 0], 0.25)[:, None]),
        (0.5, upsample((upsample(pooled[4]) + pooled[2]) / 2)[:, None]),
    ):  # fmt: skip
        discriminator.progress.fill_(progress)
        torch.testing.assert_close(discriminator.match_fade(true), expected)
        coarser = torch.nn.functional.avg_pool2d(discriminator.match_fade(true)[:, 0], 4)
        torch.testing.assert_close(coarser, pooled[4], msg="only detail is missing")


@torch.enable_grad()
def test_the_objective_scores_faded_real_images() -> None:
    discriminator = ProgressiveDiscriminator(ProgressiveDiscriminatorSettings(width=8, minibatch_std_group=0), SHAPE)
    settings = ObjectiveSettings(lp_weight=0, gdl_weight=0, adversarial={"weight": 1, "r1_weight": 1, "r1_every": 1})
    objective = Objective(settings, discriminator, discriminator)
    discriminator.progress.fill_(1.5)
    true, fake = torch.rand(4, 1, *SHAPE), torch.rand(4, 1, *SHAPE)
    found = objective.discriminator_losses(Step(Batch(true[:, :0], true, torch.arange(4)), [fake], 0)).parts
    faded = discriminator.match_fade(true).requires_grad_()
    logits = discriminator(true[:, :0], [faded])
    torch.testing.assert_close(found["real"], torch.nn.functional.softplus(-logits).mean())
    torch.testing.assert_close(found["r1"], r1_penalty(logits, [faded]))
    discriminator.progress.fill_(1.0)
    found = objective.discriminator_losses(Step(Batch(true[:, :0], true, torch.arange(4)), [fake], 0)).parts
    whole = true.clone().requires_grad_()
    torch.testing.assert_close(found["r1"], 4 * r1_penalty(discriminator(true[:, :0], [whole]), [whole]))


def test_the_discriminator_detects_a_batch_of_copies() -> None:
    discriminator = ProgressiveDiscriminator(ProgressiveDiscriminatorSettings(width=8, growing=False), SHAPE)
    alone = ProgressiveDiscriminator(
        ProgressiveDiscriminatorSettings(width=8, growing=False, minibatch_std_group=0), SHAPE
    )
    none, images = torch.empty(4, 0, *SHAPE), torch.rand(4, 1, *SHAPE)
    copies = images[:1].repeat(4, 1, 1, 1, 1)
    assert not torch.allclose(discriminator(none, [images])[0], discriminator(none, [copies])[0])
    torch.testing.assert_close(alone(none, [images])[0], alone(none, [copies])[0])
    both = discriminator(none.repeat(2, 1, 1, 1, 1), [torch.cat([images, copies])], num_groups=2)
    torch.testing.assert_close(both[:4], discriminator(none, [images]))


def style_gan(**settings: float) -> StyleganGenerator:
    chosen = {"width": 8, "noise_channels": 6, "mapping_layers": 2, "growing": False, **settings}
    return StyleganGenerator(StyleganSettings.model_validate(chosen), SHAPE)


def test_truncation_pulls_the_coarse_styles_to_the_mean() -> None:
    generator = style_gan(truncation=0.25, truncation_cutoff=2).eval()
    generator.mean_style.fill_(1.0)
    styles = torch.full((1, generator.num_styles, 8), 5.0)
    assert generator.truncate(styles)[0, :, 0].tolist() == [2.0, 2.0, 5, 5, 5, 5]
    none = torch.empty(2, 0, *SHAPE)
    with generator.truncated(1.0):
        assert torch.equal(generator.truncate(styles), styles)
    assert generator.truncate(styles)[0, :, 0].tolist() == [2.0, 2.0, 5, 5, 5, 5], "the configured one again"
    still = style_gan(truncation=0, truncation_cutoff=8).eval()
    one, two = still(none)[0]  # two draws of noise, one style
    torch.testing.assert_close(one, two)


def test_the_mean_style_is_kept_in_training_only() -> None:
    generator = style_gan()
    noise, none = torch.randn(2, 6), torch.empty(2, 0, *SHAPE)
    generator.eval()(none, noise=noise)
    assert not generator.mean_style.any()
    generator.train()(none, noise=noise)
    torch.testing.assert_close(generator.mean_style, 0.005 * generator.map(noise).mean(0))


def test_styles_are_mixed_at_a_crossover() -> None:
    generator = style_gan(mixing=1.0)
    none = torch.empty(50, 0, *SHAPE)
    own = torch.zeros(50, generator.num_styles, 8)
    mixed = generator._mixed(own, none, None)
    changed = (mixed != 0).any(2).int()
    assert bool((changed[:, 0] == 0).all())
    assert bool((changed[:, -1] == 1).all())
    assert bool((changed.diff(dim=1) >= 0).all()), "once changed, the style stays"
    assert len(changed.sum(1).unique()) == generator.num_styles - 1, "at any layer"
    assert torch.equal(style_gan(mixing=0)._mixed(own, none, None), own)
    some = style_gan(mixing=0.5)._mixed(own.repeat(8, 1, 1), none.repeat(8, 1, 1, 1, 1), None)
    assert float((some != 0).any(2).any(1).float().mean()) == pytest.approx(0.5, abs=0.1)


def test_every_layer_has_fresh_noise_in_training() -> None:
    generator = style_gan(mixing=0)
    noise, none = torch.randn(1, 6), torch.empty(1, 0, *SHAPE)
    for layer in generator.layers:
        layer.noise_weight.fill_(0.1)
    assert not torch.equal(generator(none, noise=noise)[0], generator(none, noise=noise)[0])
    generator.eval()
    assert torch.equal(generator(none, noise=noise)[0], generator(none, noise=noise)[0])
    assert all(
        layer.fixed.shape[-1] == side for layer, side in zip(generator.layers, (4, 4, 8, 8, 16, 16), strict=True)
    )


def test_sides_are_powers_of_two() -> None:
    with pytest.raises(ConfigError, match="data.crop_size=28"):
        ProgressiveGenerator(ProgressiveSettings(width=8), Shape(1, 28, 28))
