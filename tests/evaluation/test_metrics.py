"""PSNR, SSIM and sharpness difference and their masked forms, against other libraries and hand-computed values."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vidpred.evaluation import metrics

Metric = Callable[[Tensor, Tensor], Tensor]
MaskedMetric = Callable[[Tensor, Tensor, Tensor], Tensor]
PAIRS: list[tuple[Metric, MaskedMetric]] = [
    (metrics.psnr, metrics.masked_psnr),
    (metrics.ssim, metrics.masked_ssim),
    (metrics.sharpness_difference, metrics.masked_sharpness_difference),
]


def random_pair(*shape: int, noise: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(*shape, generator=generator)
    return (target + noise * torch.randn(*shape, generator=generator)).clamp(0, 1), target


def texture(height: int, width: int, down: float = 0.0, right: float = 0.0) -> Tensor:
    """Return a smooth pattern `(1, 1, H, W)` in [0, 1], shifted by the given numbers of pixels."""
    rows = torch.arange(height)[:, None] - down
    columns = torch.arange(width)[None] - right
    waves = torch.sin(0.9 * rows + 0.3 * columns) + torch.sin(0.8 * columns - 0.35 * rows + 1)
    waves = waves + torch.sin(0.41 * columns + 0.23 * rows) * torch.sin(0.37 * rows - 0.19 * columns)
    return (waves[None, None] + 3) / 6


def test_psnr_of_a_uniform_error_by_hand() -> None:
    target = torch.full((3, 3, 4, 5), 0.5)
    errors = torch.tensor([0.1, 0.01, 0.5]).view(3, 1, 1, 1)
    values = metrics.psnr(target + errors, target)
    # A peak of 2 (images in [-1, 1]) or of 255 would be off by 6.02 dB or 48.13 dB.
    assert values.tolist() == pytest.approx([20.0, 40.0, 20 * math.log10(2)], abs=1e-4)


def test_psnr_of_black_against_white_is_zero_and_of_equal_images_infinite() -> None:
    black, white = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert metrics.psnr(black, white).tolist() == [0.0]
    assert metrics.psnr(white, white).tolist() == [math.inf]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    height=st.integers(11, 33),
    width=st.integers(11, 33),
    noise=st.sampled_from([0.001, 0.05, 0.5]),
    seed=st.integers(0, 1000),
)
def test_psnr_and_ssim_equal_skimage(
    count: int, channels: int, height: int, width: int, noise: float, seed: int
) -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    prediction, target = random_pair(count, channels, height, width, noise=noise, seed=seed)
    psnr, ssim = metrics.psnr(prediction, target), metrics.ssim(prediction, target)
    ssim_map = metrics.ssim_map(prediction, target)
    assert psnr.shape == ssim.shape == (count,)
    assert psnr.dtype == ssim.dtype == ssim_map.dtype == torch.float32
    assert ssim_map.shape == (count, height - 10, width - 10)
    for index in range(count):
        first, second = target[index].double().numpy(), prediction[index].double().numpy()
        expected = peak_signal_noise_ratio(first, second, data_range=1)
        assert psnr[index].item() == pytest.approx(expected, abs=1e-4)
        expected, full = structural_similarity(
            first,
            second,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=0,
            data_range=1,
            full=True,
        )
        assert ssim[index].item() == pytest.approx(expected, abs=1e-6)
        np.testing.assert_allclose(ssim_map[index].numpy(), full.mean(0)[5:-5, 5:-5], atol=1e-6)


@pytest.mark.slow
def test_ssim_equals_torchmetrics_inside_its_reflected_border() -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure

    prediction, target = random_pair(4, 3, 37, 52)
    _, full = structural_similarity_index_measure(
        prediction.double(), target.double(), data_range=1.0, reduction="none", return_full_image=True
    )
    # torchmetrics' own mean includes a border of 5 pixels, where it reflects the image.
    valid = full[..., 5:-5, 5:-5].mean(1).float()
    torch.testing.assert_close(metrics.ssim_map(prediction, target), valid, atol=1e-6, rtol=0)
    torch.testing.assert_close(metrics.ssim(prediction, target), valid.mean((1, 2)), atol=1e-6, rtol=0)


@pytest.mark.slow
def test_psnr_equals_torchmetrics() -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio as other_psnr

    prediction, target = random_pair(4, 3, 37, 52)
    expected = other_psnr(prediction.double(), target.double(), data_range=(0.0, 1.0), reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(metrics.psnr(prediction, target), expected.float(), atol=1e-5, rtol=0)


def test_ssim_of_flat_images_is_the_luminance_term() -> None:
    target, prediction = torch.full((1, 3, 12, 12), 1.0), torch.full((1, 3, 12, 12), 0.5)
    expected = (2 * 0.5 + 0.01**2) / (1 + 0.25 + 0.01**2)  # no variance anywhere, so the other factor is 1
    assert metrics.ssim(prediction, target).item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.slow
def test_ssim_keeps_tiny_variances_on_bright_images() -> None:
    """In float32 the variance, mean of squares minus square of mean, would be lost to cancellation."""
    from skimage.metrics import structural_similarity

    prediction, target = random_pair(1, 1, 32, 32)
    prediction, target = 0.99 + prediction * 1e-4, 0.99 + target * 1e-4
    expected = structural_similarity(
        target[0, 0].double().numpy(),
        prediction[0, 0].double().numpy(),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
    )
    assert 1 - metrics.ssim(prediction, target).item() == pytest.approx(1 - expected, abs=1.5e-7)


def test_ssim_of_equal_images_is_one() -> None:
    _, target = random_pair(2, 3, 11, 14)
    torch.testing.assert_close(metrics.ssim(target, target), torch.ones(2), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(10, 32), (32, 10), (1, 1)])
def test_ssim_of_images_smaller_than_its_window_raises(size: tuple[int, int]) -> None:
    images = torch.zeros(1, 1, *size)
    with pytest.raises(ValueError, match=f"at least 11 pixels a side, not {size[0]}x{size[1]}"):
        metrics.ssim(images, images)


def test_sharpness_difference_by_hand() -> None:
    target = torch.tensor([[[[0.9, 0.0], [0.0, 1.0]]]])  # the only pixel with both neighbors: |1 - 0| + |1 - 0| = 2
    prediction = torch.tensor([[[[0.0, 0.5], [0.25, 0.5]]]])  # |0.5 - 0.5| + |0.5 - 0.25| = 0.25
    value = metrics.sharpness_difference(prediction, target)
    assert value.item() == pytest.approx(10 * math.log10(1 / 1.75), abs=1e-6)
    assert metrics.sharpness_difference(target, target).tolist() == [math.inf]


def test_sharpness_difference_follows_the_formula_pixel_by_pixel() -> None:
    prediction, target = random_pair(2, 3, 5, 7, noise=0.3)
    for index in range(2):
        total = 0.0
        for channel in range(3):
            y, z = target[index, channel].tolist(), prediction[index, channel].tolist()
            for i in range(1, 5):
                for j in range(1, 7):
                    sharpness_y = abs(y[i][j] - y[i - 1][j]) + abs(y[i][j] - y[i][j - 1])
                    sharpness_z = abs(z[i][j] - z[i - 1][j]) + abs(z[i][j] - z[i][j - 1])
                    total += abs(sharpness_y - sharpness_z)
        expected = 10 * math.log10(3 * 4 * 6 / total)
        assert metrics.sharpness_difference(prediction, target)[index].item() == pytest.approx(expected, abs=1e-4)


def test_sharpness_difference_falls_with_blur() -> None:
    _, target = random_pair(1, 1, 20, 20)
    once = torch.nn.functional.avg_pool2d(target, 3, 1, 1, count_include_pad=False)
    mild = 0.8 * target + 0.2 * once
    assert metrics.sharpness_difference(mild, target) > metrics.sharpness_difference(once, target) + 3


@pytest.mark.parametrize(("metric", "masked"), PAIRS)
def test_mismatched_shapes_raise(metric: Metric, masked: MaskedMetric) -> None:
    images = torch.rand(2, 3, 16, 16)
    with pytest.raises(ValueError, match="of one shape"):
        metric(images, images[:, :1])
    with pytest.raises(ValueError, match="of one shape"):
        metric(images[0], images[0])
    with pytest.raises(ValueError, match="mask must be bool"):
        masked(images, images, torch.ones(2, 16, 16))
    with pytest.raises(ValueError, match="mask must be bool"):
        masked(images, images, torch.ones(2, 15, 16, dtype=torch.bool))


@pytest.mark.parametrize(("metric", "masked"), PAIRS)
def test_a_full_mask_changes_nothing_and_images_are_independent(metric: Metric, masked: MaskedMetric) -> None:
    prediction, target = random_pair(3, 3, 19, 23)
    whole = metric(prediction, target)
    torch.testing.assert_close(masked(prediction, target, torch.ones(3, 19, 23, dtype=torch.bool)), whole)
    alone = torch.cat([metric(prediction[index : index + 1], target[index : index + 1]) for index in range(3)])
    torch.testing.assert_close(alone, whole)
    assert whole.unique().numel() == 3


@pytest.mark.parametrize(("metric", "masked"), PAIRS)
def test_autocast_and_uint8_give_the_same_float32_values(metric: Metric, masked: MaskedMetric) -> None:
    prediction, target = ((images * 255).to(torch.uint8) for images in random_pair(2, 3, 16, 18))
    mask = torch.rand(2, 16, 18, generator=torch.Generator().manual_seed(1)) > 0.5
    expected = metric(prediction / 255, target / 255), masked(prediction / 255, target / 255, mask)
    with torch.autocast("cpu", torch.bfloat16):
        values = metric(prediction / 255, target / 255), masked(prediction / 255, target / 255, mask)
    for value, wanted in zip(values, expected, strict=True):
        assert value.dtype == torch.float32
        assert torch.equal(value, wanted)
    torch.testing.assert_close(metric(prediction, target), expected[0])


def test_masked_psnr_uses_only_masked_pixels() -> None:
    target = torch.full((1, 3, 8, 8), 0.5)
    prediction = target.clone()
    prediction[..., :4] += 0.1
    prediction[..., 4:] = math.nan
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[..., :4] = True
    assert metrics.masked_psnr(prediction, target, mask).item() == pytest.approx(20, abs=1e-4)


def test_masked_ssim_is_the_mean_of_the_masked_map() -> None:
    prediction, target = random_pair(1, 1, 20, 24)
    mask = torch.zeros(1, 20, 24, dtype=torch.bool)
    mask[:, 3:11, 7:15] = True  # 5 rows and columns of border: rows 0..5 and columns 2..9 of the map
    expected = metrics.ssim_map(prediction, target)[0, 0:6, 2:10].mean()
    assert metrics.masked_ssim(prediction, target, mask).item() == pytest.approx(expected.item(), abs=1e-6)


def test_masked_sharpness_difference_uses_only_masked_pixels() -> None:
    target, prediction = torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 9, 9)
    target[0, 0, 6, 6] = 1  # sharpness 2 at (6, 6), 1 at (7, 6) and at (6, 7)
    mask = torch.zeros(1, 9, 9, dtype=torch.bool)
    mask[:, 5:9, 5:9] = True  # 16 pixels with a total of 4
    value = metrics.masked_sharpness_difference(prediction, target, mask)
    assert value.item() == pytest.approx(10 * math.log10(16 / 4), abs=1e-6)
    mask[:, 7:] = False
    mask[:, 3:5, 5:9] = True  # without row 7 and its 1
    value = metrics.masked_sharpness_difference(prediction, target, mask)
    assert value.item() == pytest.approx(10 * math.log10(16 / 3), abs=1e-6)


@pytest.mark.parametrize(("metric", "masked"), PAIRS)
def test_too_few_masked_pixels_give_nan_for_that_image_only(metric: Metric, masked: MaskedMetric) -> None:
    prediction, target = random_pair(3, 1, 30, 30)
    mask = torch.zeros(3, 30, 30, dtype=torch.bool)
    mask[0, 10:14, 10:14] = True
    mask[1, 10:14, 10:14] = True
    mask[1, 10, 10] = False
    assert masked(prediction, target, mask).isnan().tolist() == [False, True, True]


def test_masked_pixels_outside_the_map_do_not_count() -> None:
    prediction, target = random_pair(1, 1, 30, 30)
    mask = torch.zeros(1, 30, 30, dtype=torch.bool)
    mask[:, 0] = True
    assert metrics.masked_sharpness_difference(prediction, target, mask).isnan().all()
    mask[:, 25:] = True
    assert not metrics.masked_sharpness_difference(prediction, target, mask).isnan().any()
    assert metrics.masked_ssim(prediction, target, mask).isnan().all()
    assert not metrics.masked_psnr(prediction, target, mask).isnan().any()


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (64, 64), (59, 61)])
@pytest.mark.parametrize("channels", [1, 3])
def test_moving_pixels_are_all_in_a_shift_and_none_in_a_still_image(size: tuple[int, int], channels: int) -> None:
    previous = texture(*size).expand(2, channels, *size)
    shifted = texture(*size, down=1, right=-1).expand(2, channels, *size)
    moving = metrics.moving_pixels(previous, torch.stack([shifted[0], previous[1]]))
    assert moving.shape == (2, *size)
    assert moving.dtype == torch.bool
    assert moving[0].float().mean() > 0.95
    assert not moving[1].any()


def test_the_threshold_of_moving_pixels_is_in_pixels() -> None:
    previous, current = texture(64, 64), texture(64, 64, right=0.5)
    assert metrics.moving_pixels(previous, current).float().mean() > 0.95
    assert metrics.moving_pixels(previous, current, threshold=0.4).float().mean() > 0.9
    assert metrics.moving_pixels(previous, current, threshold=0.6).float().mean() < 0.1


def test_moving_pixels_are_those_of_the_object_in_the_current_frame() -> None:
    ground = 0.5 * texture(64, 96)
    thing = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    previous, current = ground.clone(), ground.clone()
    previous[..., 24:40, 30:46] = thing
    current[..., 24:40, 36:52] = thing  # six pixels to the right
    moving = metrics.moving_pixels(previous, current)[0]
    assert moving[24:40, 36:52].float().mean() > 0.9
    assert (
        moving[24:40, :30].float().mean() < 0.05
    )  # the flow from t-1 to t would mark the pixels in front of the object
    assert moving[24:40, 56:].float().mean() < 0.05
    assert moving[:12].float().mean() < 0.05
