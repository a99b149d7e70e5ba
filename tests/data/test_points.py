"""The worlds of points, and the modes that a set of points covers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from vidpred.data.build import build_source
from vidpred.data.partial_labels import PartiallyLabeled, choose_evenly
from vidpred.data.settings import DataSettings
from vidpred.data.worlds.points import POINTS, PointWindows, to_images, to_points
from vidpred.errors import DataError
from vidpred.evaluation.modes import measure_coverage


@pytest.mark.parametrize(("name", "modes"), [("eight_gaussians", 8), ("twenty_five_gaussians", 25)])
def test_points_have_the_moments_of_the_world(name: str, modes: int) -> None:
    source = PointWindows(name, 20_000, 3)  # type: ignore[arg-type]
    batch = source.draw(range(20_000), range(20_000), 0)
    points, world = to_points(batch.future[:, 0]), POINTS[name]
    assert batch.labels is not None
    labels = batch.labels.numpy()
    assert np.abs(np.bincount(labels, minlength=modes) / 20_000 - 1 / modes).max() < 0.01
    steps = (points - world.centers[labels]) / world.std
    assert abs(steps.mean()) < 0.02
    np.testing.assert_allclose(np.cov(steps.T), np.eye(2), atol=0.05)
    assert measure_coverage(points, world).modes_covered == modes
    assert {type(value) for value in measure_coverage(points, world).logged().values()} == {float}, "for trackers"
    assert measure_coverage(points, world).high_quality_share == pytest.approx(
        1 - math.exp(-4.5), abs=0.003
    )  # within 3 standard deviations in 2-D


def test_images_of_points_and_back() -> None:
    points = np.array([[-4.0, 2.5], [0, 0]])
    images = to_images(points)
    assert images.shape == (2, 1, 2, 1)
    np.testing.assert_allclose(images[0, 0, :, 0], [0.1, 0.75], rtol=1e-6)
    import torch

    np.testing.assert_allclose(to_points(torch.from_numpy(images)), points, atol=1e-6)


def test_coverage_by_hand() -> None:
    """Check three points at one center, one at another, one far away: KL = 3/4 ln(3/4 * 8) + 1/4 ln(1/4 * 8)."""
    world = POINTS["eight_gaussians"]
    points = np.concatenate([world.centers[[2, 2, 2, 5]], np.zeros((1, 2))])
    found = measure_coverage(points, world)
    assert (found.modes_covered, found.high_quality_share) == (2, 0.8)
    assert found.divergence == pytest.approx(0.75 * math.log(6) + 0.25 * math.log(2))
    assert measure_coverage(world.centers, world).divergence == pytest.approx(0)
    assert measure_coverage(np.zeros((4, 2)), world).modes_covered == 0


def test_few_labels_are_balanced() -> None:
    labels = np.array([0] * 50 + [1] * 5 + [2] * 20)
    assert np.bincount(labels[choose_evenly(labels, 9)]).tolist() == [3, 3, 3]
    assert np.bincount(labels[choose_evenly(labels, 25)]).tolist() == [10, 5, 10]


def test_hidden_labels_stay_hidden() -> None:
    few = PartiallyLabeled(PointWindows("eight_gaussians", 400, 0), 16)
    labels = few.draw(list(range(400)), list(range(400)), 0).labels
    assert labels is not None
    assert few.labels is not None
    assert labels.tolist() == few.labels.tolist()
    assert (labels >= 0).nonzero().flatten().tolist() == few.labeled.tolist()
    assert np.bincount(labels[labels >= 0].numpy()).tolist() == [2] * 8
    with pytest.raises(DataError, match="data.labeled"):
        PartiallyLabeled(build_source(DataSettings(), "train", [0]), 4)


def test_a_share_of_the_samples_is_labeled() -> None:
    few = PartiallyLabeled(PointWindows("eight_gaussians", 4000, 0), 16, 0.25)
    places = list(range(2000))
    labels = few.draw(places, places, 0).labels
    assert labels is not None
    assert (labels >= 0).float().mean() == pytest.approx(0.25, abs=0.03)
    assert labels[labels >= 0].bincount().min() > 35, "every class is drawn"
    again, other = few.draw(places[500:], places[500:], 0).labels, few.draw(places, places, 1).labels
    assert again is not None
    assert torch.equal(labels[500:], again), "a function of seed and position"
    assert other is not None
    assert not torch.equal(labels, other)
    with pytest.raises(ValidationError, match="labeled_share"):
        DataSettings(labeled_share=0.2)


def test_an_image_model_needs_images() -> None:
    with pytest.raises(DataError, match="data.root"):
        build_source(DataSettings(context_frames=0), "train", [0])
