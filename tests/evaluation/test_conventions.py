"""Metrics in other conventions, against hand-computed values and reference libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.video_files import numbered_frames
from vidpred.evaluation import mathieu2016, metrics, openstl


def images(seed: int = 0, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(2, channels, 20, 24, generator=generator)
    return (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1), target


ALL = torch.ones(2, 20, 24, dtype=torch.bool)


def test_as_released_psnr_by_hand() -> None:
    """A quarter of the pixels moves, each with an error of 0.5 in [-1, 1]: the mean over all pixels is 0.25 / 4."""
    target = torch.full((1, 3, 4, 4), 0.5)
    prediction = target + 0.25
    moving = torch.zeros(1, 4, 4, dtype=torch.bool)
    moving[:, :2, :2] = True
    expected = 10 * math.log10(255**2 / (128**2 * 0.25 / 4))
    assert float(mathieu2016.psnr(prediction, target, moving)) == pytest.approx(expected, abs=1e-4)
    assert expected == pytest.approx(18.0276, abs=1e-3)


def test_as_released_psnr_against_the_plain_one() -> None:
    """If all pixels move, it is the plain PSNR minus the 0.034 dB of a half range of 128; a mask adds its share."""
    prediction, target = images()
    offset = 20 * math.log10(127.5 / 128)
    torch.testing.assert_close(mathieu2016.psnr(prediction, target, ALL), metrics.psnr(prediction, target) + offset)
    moving = torch.zeros_like(ALL)
    moving[:, :5] = True  # a quarter
    masked = metrics.masked_psnr(prediction, target, moving) + 10 * math.log10(4) + offset
    torch.testing.assert_close(mathieu2016.psnr(prediction, target, moving), masked)


def test_as_released_sharpness_by_hand() -> None:
    """The prediction is flat; the 5x5 target has one inner column that is brighter by 0.5 (1 in [-1, 1]).

    Of the 3x3 inner pixels, those of the column and of the next one differ from their left neighbors by 1: 6 of 9.
    """
    target = torch.full((1, 1, 5, 5), 0.25)
    target[..., 2] = 0.75
    prediction = torch.full((1, 1, 5, 5), 0.25)
    moving = torch.ones(1, 5, 5, dtype=torch.bool)
    expected = 10 * math.log10(255**2 / (128**2 * 6 / 9))
    assert float(mathieu2016.sharpness_difference(prediction, target, moving)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_as_released_ssim_against_scikit_image() -> None:
    """Zeros outside are the same as padding the luma with zeros and cropping the map."""
    from skimage.metrics import structural_similarity

    prediction, target = images()
    values = mathieu2016.ssim(prediction, target, ALL)
    weights = np.array([0.299, 0.587, 0.114])[:, None, None]
    for k in range(2):
        first, second = (np.pad((p[k].double().numpy() * 255 * weights).sum(0), 10) for p in (prediction, target))
        _, whole = structural_similarity(
            first, second, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
            truncate=3.5,
        )  # fmt: skip
        assert float(values[k]) == pytest.approx(whole[10:-10, 10:-10].mean(), abs=1e-6)


def test_the_moving_mask_follows_the_fast_object() -> None:
    """A bright square moves to the right over still texture: the mask covers it, and is empty without motion."""
    generator = torch.Generator().manual_seed(1)
    texture = torch.nn.functional.interpolate(torch.rand(1, 3, 16, 16, generator=generator), size=64, mode="bicubic")
    frames = [(0.3 * texture).clamp(0, 1).clone() for _ in range(2)]
    patch = 0.5 + 0.5 * torch.rand(1, 3, 16, 16, generator=generator)
    for frame, column in zip(frames, (20, 24), strict=True):
        frame[..., 24:40, column : column + 16] = patch
    mask = mathieu2016.moving_mask(*frames)[0]
    assert mask[26:38, 24:34].float().mean() > 0.6
    assert mask[:14].sum() == 0
    assert mathieu2016.moving_mask(frames[0], frames[0]).sum() == 0


def test_samples_without_movement_are_dropped() -> None:
    prediction, target = images()
    moving = ALL.clone()
    moving[1] = False
    assert mathieu2016.counted_samples(prediction, target, moving).tolist() == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_openstl_against_numpy_and_scikit_image(channels: int) -> None:
    """The formulas of OpenSTL in NumPy: sums over pixels, means over samples; SSIM with a data range of 2."""
    from skimage.metrics import structural_similarity

    prediction, target = images(3, channels)
    first, second = prediction.numpy(), target.numpy()
    mse = np.mean((first - second)[:, None] ** 2, axis=(0, 1)).sum()
    mae = np.mean(np.abs(first - second)[:, None], axis=(0, 1)).sum()
    assert float(openstl.mse_sum(prediction, target).mean()) == pytest.approx(mse, rel=1e-5)
    assert float(openstl.mae_sum(prediction, target).mean()) == pytest.approx(mae, rel=1e-5)
    for k in range(2):
        expected = structural_similarity(first[k], second[k], data_range=2, channel_axis=0)
        assert float(openstl.ssim(prediction, target)[k]) == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(openstl.psnr(prediction, target), metrics.psnr(prediction, target))


@pytest.mark.slow
def test_on_frames_of_a_video() -> None:
    """The references agree also on two frames of a moving texture, not only on noise."""
    from skimage.metrics import structural_similarity

    frames = torch.from_numpy(numbered_frames(2, 48, 64)).permute(0, 3, 1, 2).float() / 255
    expected = structural_similarity(frames[0].numpy(), frames[1].numpy(), data_range=2, channel_axis=0)
    assert float(openstl.ssim(frames[:1], frames[1:])) == pytest.approx(expected, abs=1e-5)
