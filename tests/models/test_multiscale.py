"""The multi-scale generator and its discriminators: the paper's sizes, any shape, the wiring."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vidpred.errors import ConfigError
from vidpred.models.build import count_parameters
from vidpred.models.discriminators import MultiscaleDiscriminator, MultiscaleDiscriminatorSettings
from vidpred.models.multiscale import MultiscaleGenerator, MultiscaleSettings
from vidpred.models.pyramid import build_pyramid, check_pyramid, upsample


def test_the_papers_sizes() -> None:
    """The generator has 12.57 M parameters, checked per scale; the discriminators have 20.64 M at 32 pixels."""
    generator = MultiscaleGenerator(MultiscaleSettings(size="paper"), 4)
    assert [count_parameters(network) for network in generator.networks] == [607_619, 647_939, 3_008_003, 8_306_179]
    assert count_parameters(generator) / 1e6 == pytest.approx(12.57, abs=0.005)
    discriminator = MultiscaleDiscriminator(MultiscaleDiscriminatorSettings(size="paper"), 4, 32, 4)
    assert count_parameters(discriminator) / 1e6 == pytest.approx(20.64, abs=0.005)
    assert count_parameters(MultiscaleGenerator(MultiscaleSettings(), 4)) / 1e6 == pytest.approx(0.22, abs=0.005)


@settings(max_examples=25, deadline=None)
@given(
    scales=st.integers(1, 6),
    context=st.integers(1, 4),
    pred=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    height=st.integers(9, 70),
    width=st.integers(9, 70),
)
def test_any_shape_comes_back(scales: int, context: int, pred: int, channels: int, height: int, width: int) -> None:
    tiny = MultiscaleSettings(scales=scales, feature_maps=[[2]] * scales, kernel_sizes=[[3, 3]] * scales)
    generator = MultiscaleGenerator(tiny, context, pred, 1, channels)
    with torch.no_grad():
        images = generator(torch.rand(2, context, channels, height, width))
    assert len(images) == scales
    assert images[-1].shape == (2, pred, channels, height, width)
    assert all(float(image.min()) >= 0 and float(image.max()) <= 1 for image in images)
    check_pyramid(images, torch.rand(2, pred, channels, height, width), scales)
    with pytest.raises(ValueError, match="the generator must return"):
        check_pyramid(images, torch.rand(2, pred, channels, height, width), scales + 1)


def test_a_size_of_59_by_61() -> None:
    assert MultiscaleGenerator(MultiscaleSettings(), 4)(torch.rand(1, 4, 3, 59, 61))[-1].shape == (1, 1, 3, 59, 61)


def test_wiring_by_hand() -> None:
    """Y_1 = tanh(Net_1(X_1)); Y_k = tanh(Net_k(X_k, up(Y_k-1)) + up(Y_k-1)), written out for two scales."""
    torch.manual_seed(0)
    rows = MultiscaleSettings(scales=2, feature_maps=[[4], [4]], kernel_sizes=[[3, 3], [5, 3]])
    generator = MultiscaleGenerator(rows, 2)
    context = torch.rand(1, 2, 3, 8, 12)
    stacked = (context * 2 - 1).reshape(1, 6, 8, 12)
    coarse = torch.tanh(generator.networks[0](functional.avg_pool2d(stacked, 2)))
    up = coarse.repeat_interleave(2, -1).repeat_interleave(2, -2)
    fine = torch.tanh(generator.networks[1](torch.cat([stacked, up], 1)) + up)
    ours = generator(context)
    torch.testing.assert_close(ours[0][:, 0], (coarse + 1) / 2)
    torch.testing.assert_close(ours[1][:, 0], (fine + 1) / 2)


def test_output_is_linear_before_the_squashing() -> None:
    """No ReLU after the last convolution: with a bias of -0.5 the image is tanh(-0.5), not 0."""
    generator = MultiscaleGenerator(MultiscaleSettings(scales=1, feature_maps=[[2]], kernel_sizes=[[3, 3]]), 1)
    last = generator.networks[0][-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, -0.5)
    expected = (torch.tanh(torch.tensor(-0.5)) + 1) / 2
    torch.testing.assert_close(generator(torch.rand(1, 1, 3, 8, 8))[0], expected.expand(1, 1, 3, 8, 8))


def test_pyramid_is_average_pooling_of_the_full_clip() -> None:
    frames = torch.rand(2, 3, 3, 16, 24)
    coarse, middle, fine = build_pyramid(frames, 3)
    torch.testing.assert_close(fine, frames)
    torch.testing.assert_close(middle.flatten(0, 1), functional.avg_pool2d(frames.flatten(0, 1), 2))
    torch.testing.assert_close(coarse.flatten(0, 1), functional.avg_pool2d(frames.flatten(0, 1), 4))
    torch.testing.assert_close(functional.avg_pool2d(upsample(coarse[:, 0]), 2), coarse[:, 0])


def test_padding_repeats_the_border() -> None:
    frames = torch.rand(1, 1, 1, 5, 7)
    fine = build_pyramid(frames, 3)[-1]
    assert fine.shape == (1, 1, 1, 8, 8)
    torch.testing.assert_close(fine[..., 5:, :7], frames[..., 4:5, :].expand(1, 1, 1, 3, 7))
    torch.testing.assert_close(fine[..., :, 7], fine[..., :, 6])


def test_the_discriminator_is_conditional_at_every_scale() -> None:
    """Another context changes the logits at every scale, other images those of their scale only."""
    torch.manual_seed(0)
    discriminator = MultiscaleDiscriminator(MultiscaleDiscriminatorSettings(), 4, 32, 2)
    context, other = torch.rand(2, 1, 2, 3, 32, 32)
    images = [torch.rand(1, 1, 3, side, side) for side in (4, 8, 16, 32)]
    logits = discriminator(context, images)
    assert logits.shape == (1, 4)
    assert bool((logits != discriminator(other, images)).all())
    changed = discriminator(context, [*images[:2], images[2].flip(-1), images[3]])
    assert (changed != logits).tolist() == [[False, False, True, False]]


@pytest.mark.slow
@pytest.mark.parametrize("size", ["paper", "release", "strided"])
@pytest.mark.parametrize("crop_size", [32, 64])
def test_discriminators_fit_their_crop_size(size: str, crop_size: int) -> None:
    discriminator = MultiscaleDiscriminator(MultiscaleDiscriminatorSettings(size=size), 3, crop_size, 1, 2, 1)  # type: ignore[arg-type]
    images = [torch.rand(2, 2, 1, crop_size >> (2 - scale), crop_size >> (2 - scale)) for scale in range(3)]
    assert discriminator(torch.rand(2, 1, 1, crop_size, crop_size), images).shape == (2, 3)


def test_crop_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[data.crop_size\] .*too small"):
        MultiscaleDiscriminator(MultiscaleDiscriminatorSettings(), 4, 16, 4)
    with pytest.raises(ConfigError, match=r"data\.crop_size: 36 is no multiple of 8"):
        MultiscaleDiscriminator(MultiscaleDiscriminatorSettings(), 4, 36, 4)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="needs 2 kernels"):
        MultiscaleSettings(scales=1, feature_maps=[[4]], kernel_sizes=[[3]])
    with pytest.raises(ValidationError, match="must be odd"):
        MultiscaleSettings(scales=1, feature_maps=[[4]], kernel_sizes=[[3, 4]])
    with pytest.raises(ValidationError, match="one list for each of the 2 scales"):
        MultiscaleSettings(scales=2, feature_maps=[[4]], kernel_sizes=[[3, 3]])


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 2), st.integers(9, 40), st.integers(9, 40))
def test_a_last_frame_residual_that_adds_nothing_copies_the_last_frame(
    scales: int, pred: int, height: int, width: int
) -> None:
    tiny = MultiscaleSettings(
        scales=scales, feature_maps=[[2]] * scales, kernel_sizes=[[3, 3]] * scales, residual="last_frame"
    )
    context = torch.rand(2, 3, 3, height, width)
    generator = MultiscaleGenerator(tiny, 3, pred)
    for network in generator.networks:
        torch.nn.init.zeros_(network[-1].weight)
        torch.nn.init.zeros_(network[-1].bias)
    with torch.no_grad():
        images = generator(context)
    torch.testing.assert_close(images[-1], context[:, -1:].expand(-1, pred, -1, -1, -1))


def test_a_model_whose_frames_are_all_black_can_learn_white_ones() -> None:
    settings = MultiscaleSettings(scales=2, feature_maps=[[2]] * 2, kernel_sizes=[[3, 3]] * 2, residual="last_frame")
    generator = MultiscaleGenerator(settings, 2)
    for network in generator.networks:
        torch.nn.init.constant_(network[-1].bias, -9.0)
    *_, frames = generator(torch.rand(1, 2, 3, 16, 16))
    assert torch.equal(frames, torch.zeros_like(frames))
    (1 - frames).mean().backward()  # the absolute error of white frames
    gradient = generator.networks[-1][-1].bias.grad
    torch.testing.assert_close(gradient, torch.full((3,), -1 / 3 / 2))  # half, for [-1, 1] becomes [0, 1]
