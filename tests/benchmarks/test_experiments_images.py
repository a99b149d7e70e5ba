"""The experiments with image generators run from end to end on a few digits; their results are not checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.experiments.images import (
    augmentation,
    balls,
    growth,
    points,
    semi_supervised,
    solids,
)
from tests.image_files import write_clothes


@pytest.fixture(scope="module")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write IDX files of 28x28 pixels with the names of Fashion-MNIST."""
    folder = tmp_path_factory.mktemp("clothes")
    write_clothes(folder)
    return folder


@pytest.mark.slow
def test_growing_stylegan(clothes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = growth(tmp_path, 0, root=clothes, steps=7, width=8)
    scales = list(found["scales_by_step"].values())
    assert scales[0] == 0
    assert scales == sorted(scales)
    assert scales[-1] > 2
    assert (tmp_path / "growth.png").is_file()
    assert (tmp_path / "mixed.png").is_file()


@pytest.mark.slow
def test_samples_as_training_data(clothes: Path, tmp_path: Path) -> None:
    small = {"model.width": 2, "discriminator.width": 2, "training.batch_size": 8}
    found = augmentation(tmp_path, 0, clothes, real=40, drawn=60, steps=2, learning=20, changes=small)
    assert set(found["accuracy"]) == {"few", "few, mirrored", "samples alone", "few and samples"}
    assert found["test_images"] == 120
    labels = np.load(tmp_path / "few.npz")["labels"]
    assert np.bincount(labels).tolist() == [4] * 10
    assert len(np.load(tmp_path / "both.npz")["labels"]) == 100


@pytest.mark.slow
def test_few_labels(clothes: Path, tmp_path: Path) -> None:
    small = {"model.width": 2, "discriminator.width": 2, "training.batch_size": 8, "model.virtual_batch": 4}
    found = semi_supervised(tmp_path, 0, clothes, labeled=20, steps=2, changes=small)
    assert all(0 <= share <= 1 for share in found["accuracy"].values())
    assert len(found["accuracy"]) == 2
    assert np.bincount(np.load(tmp_path / "few.npz")["labels"]).tolist() == [2] * 10


@pytest.mark.slow
def test_covered_gaussians_are_counted(tmp_path: Path) -> None:
    found = points(tmp_path, 0, {"training.steps": 5, "training.validate_every": 0})
    assert set(found) == {"gaussians_gan", "gaussians_minibatch", "gaussians_r1", "gaussians_wgan_gp"}
    assert all(0 <= row["modes_covered"] <= 25 and 0 <= row["high_quality_share"] <= 1 for row in found.values())


@pytest.mark.slow
def test_details_of_solids_are_measured(tmp_path: Path) -> None:
    found = solids(tmp_path, 0, steps=2, count=12)
    assert set(found) == {"lotter_mse", "lotter_adversarial"}
    assert (tmp_path / "solids.png").is_file()
    found = balls(tmp_path / "balls", 0, steps=2, count=12)
    assert set(found) == {"true", "copy_last", "lotter_mse", "lotter_adversarial"}
    assert (tmp_path / "balls" / "balls.png").is_file()
