"""The arithmetic of FID and FVD against hand-computed Gaussians, scipy's matrix root and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vidpred.evaluation.frechet import Moments, distance, frechet_distance


def moments(*batches: Tensor) -> Moments:
    found = Moments()
    for batch in batches:
        found.add(batch)
    return found


def test_gaussians_of_one_dimension() -> None:
    """(m1 - m2)^2 + (s1 - s2)^2 for means 1 and 4 and standard deviations 2 and 5."""
    one = torch.tensor([1.0]), torch.tensor([[4.0]])
    other = torch.tensor([4.0]), torch.tensor([[25.0]])
    assert frechet_distance(*one, *other) == pytest.approx(9 + 9)
    assert frechet_distance(*one, *one) == 0


@pytest.mark.slow
def test_correlated_gaussians_against_scipy() -> None:
    from scipy.linalg import sqrtm

    random = np.random.default_rng(0)
    first, second = (random.standard_normal((40, 6)) @ random.standard_normal((6, 6)) for _ in range(2))
    c1, c2 = np.cov(first.T), np.cov(second.T)
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * sqrtm(c1 @ c2).real)
    found = distance(moments(torch.from_numpy(first)), moments(*torch.from_numpy(second).split(7)))
    assert found == pytest.approx(expected, rel=1e-9)


def test_moments_equal_numpy_far_from_zero() -> None:
    features = torch.from_numpy(np.random.default_rng(1).standard_normal((30, 4)) * 1e-3 + 1e5)
    found = moments(*features.split(8))
    np.testing.assert_allclose(found.mean.numpy(), features.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance.numpy(), np.cov(features.numpy().T), rtol=1e-5, atol=1e-12)


def test_fewer_samples_than_features() -> None:
    """The covariances lack full rank: the two sets lie on orthogonal lines."""
    first = moments(torch.tensor([[-1.0, 0, 0], [1, 0, 0]]))  # variance 2 along the first axis
    second = moments(torch.tensor([[0.0, -2, 0], [0, 2, 0]]))  # variance 8 along the second
    assert distance(first, second) == pytest.approx(2 + 8)
    assert math.isnan(distance(first, moments(torch.zeros(1, 3))))


class Corners(nn.Module):
    """A feature network of eight numbers per image, small enough for a test."""

    num_features = 8

    def forward(self, images: Tensor) -> Tensor:
        return images.double()[:, :2, :2, :2].flatten(1) / 255


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_equals_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    true, made = (torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8, generator=g) for g in seeds(2))
    reference = FrechetInceptionDistance(feature=Corners(), input_img_size=(3, 4, 4)).set_dtype(torch.float64)
    reference.update(true, real=True)
    reference.update(made, real=False)
    found = distance(moments(Corners()(true)), moments(Corners()(made)))
    assert found == pytest.approx(float(reference.compute()), abs=1e-8)


def seeds(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]
