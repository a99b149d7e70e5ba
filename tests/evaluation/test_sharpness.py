"""Gradient energy and patch distributions, on hand-computed images."""

from __future__ import annotations

import pytest
import torch

from vidpred.evaluation.sharpness import (
    PATCH,
    PROJECTIONS,
    blur,
    enlarge,
    gradient_energy,
    gradient_energy_ratio,
    laplacian_pyramid,
    sliced_wasserstein,
    warp_error,
)


def ramp(slope_down: float, slope_right: float, side: int = 8) -> torch.Tensor:
    places = torch.arange(side, dtype=torch.float64)
    return (slope_down * places[:, None] + slope_right * places).expand(1, 3, -1, -1)


def texture(count: int = 2, side: int = 40) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_the_energy_of_a_ramp_is_the_sum_of_its_squared_slopes() -> None:
    assert gradient_energy(ramp(0.03, 0.04)).item() == pytest.approx(0.0025)
    assert gradient_energy(ramp(0.03, 0.0)).item() == pytest.approx(0.0009)


def test_energy_is_a_mean_over_channels() -> None:
    image = ramp(0.0, 0.1).clone()
    image[:, 1:] = 0.5  # two of three channels are flat
    assert gradient_energy(image).item() == pytest.approx(0.01 / 3)


def test_masked_energy_uses_only_masked_pixels() -> None:
    image = torch.cat([ramp(0.0, 0.1)[..., :4], torch.full((1, 3, 8, 4), 0.3)], 3)
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[:, :, :3] = True  # neighbors up to column 3: only the ramp
    assert gradient_energy(image, mask).item() == pytest.approx(0.01)
    assert gradient_energy(image, ~mask & (torch.arange(8) > 3)).item() == pytest.approx(0, abs=1e-12)
    assert gradient_energy(image, torch.zeros_like(mask)).isnan().all()


def test_the_ratio_is_one_for_equal_images_and_below_for_blurred_ones() -> None:
    image = texture()
    assert gradient_energy_ratio(image, image).tolist() == [1.0, 1.0]
    assert (gradient_energy_ratio(blur(image), image) < 0.2).all()
    assert gradient_energy_ratio(0.5 * image, image).tolist() == pytest.approx([0.25, 0.25])
    # The position of details does not matter, only their amount.
    assert gradient_energy_ratio(image.flip(3).flip(2), image).tolist() == pytest.approx([1.0, 1.0], rel=0.1)


def test_one_bright_pixel_in_the_pyramid_by_hand() -> None:
    """Blurred at even places: 6/16 in both directions at the pixel, 1/16 two places away; then enlarged again."""
    image = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    image[0, 0, 4, 4] = 1
    halved = blur(image)[..., ::2, ::2]
    line = torch.tensor([0, 1, 6, 1, 0], dtype=torch.float64) / 16
    torch.testing.assert_close(halved[0, 0], line[:, None] * line)
    # Along one axis, (1, 6, 1)/16 at the places 2, 4 and 6 become, between and at them, times 2:
    # (1 + 6 * 6 + 1) / 128 at 4, (4 + 4 * 6) / 128 at 3 and 5.
    fine, rest = laplacian_pyramid(image, 2)
    middle, next_to = 38 / 128, 28 / 128
    assert fine[0, 0, 4, 4].item() == pytest.approx(1 - middle**2)
    assert fine[0, 0, 4, 3].item() == pytest.approx(-middle * next_to)
    torch.testing.assert_close(rest, halved)


def test_the_pyramid_adds_up_and_constants_have_no_detail() -> None:
    image = texture(1, 37)  # odd sides
    bands = laplacian_pyramid(image)
    assert [tuple(band.shape[-2:]) for band in bands] == [(37, 37), (19, 19), (10, 10)]
    rebuilt = bands[-1]
    for band in reversed(bands[:-1]):
        rebuilt = band + enlarge(rebuilt, band.shape[-2], band.shape[-1])
    torch.testing.assert_close(rebuilt, image)
    flat = laplacian_pyramid(torch.full((1, 3, 32, 32), 0.7, dtype=torch.float64))
    assert flat[0].abs().max() < 1e-12
    torch.testing.assert_close(flat[-1], torch.full_like(flat[-1], 0.7))


def test_patch_distances() -> None:
    image = texture()
    assert sliced_wasserstein(image, image).tolist() == [0, 0]
    blurred, twice = sliced_wasserstein(blur(image), image), sliced_wasserstein(blur(blur(image)), image)
    assert (blurred > 0.1).all()
    assert (twice > blurred).all()
    # Moved details are the same patches, except at the border and in the coarse level of a small image.
    large = texture(1, 128)
    assert sliced_wasserstein(large.roll((8, 8), (2, 3)), large) < 0.3 * sliced_wasserstein(blur(large), large)


def test_a_shift_of_brightness_by_hand() -> None:
    """A constant c is only in the coarsest level: its projections move by c / std times a direction's sum."""
    image = texture(1)
    distance = sliced_wasserstein(image + 0.1, image).item()
    directions = torch.randn(PROJECTIONS, 3, PATCH, PATCH, generator=torch.Generator().manual_seed(0))
    directions = directions / directions.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    deviation = laplacian_pyramid(image)[-1].std((0, 2, 3), unbiased=False)
    moved = (directions.sum((2, 3)) * (0.1 / deviation)).sum(1).abs().mean()
    assert distance == pytest.approx(moved.item() / 3, rel=1e-3)


def test_mismatched_shapes_raise() -> None:
    with pytest.raises(ValueError, match="one shape"):
        sliced_wasserstein(texture(1), texture(2))
    with pytest.raises(ValueError, match="28 pixels"):
        sliced_wasserstein(texture(1, 27), texture(1, 27))
    with pytest.raises(ValueError, match="2 pixels"):
        gradient_energy(torch.rand(1, 3, 1, 8))


def test_flicker_has_a_warp_error_and_moved_frames_have_none() -> None:
    wide = blur(blur(texture(1, 80)))
    before, after = wide[..., 8:72, 8:72], wide[..., 8:72, 10:74]
    noise = 0.1 * torch.randn(after.shape, generator=torch.Generator().manual_seed(1))
    coherent, flickering = warp_error(before, after).item(), warp_error(before, (after + noise).clamp(0, 1)).item()
    assert coherent < 0.02
    assert flickering == pytest.approx(0.1, abs=0.02)
    assert warp_error(before, before).item() == pytest.approx(0, abs=1e-6)
