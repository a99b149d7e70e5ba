"""Sets of torchvision: read in place, with either way of choosing splits; unsuitable sets are reported."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.images import Images
from data_prep.torchvision_sets import from_torchvision
from vidpred.data.build import build_source
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError, DataError


def images(count: int, shade: int) -> list[tuple[Image.Image, int]]:
    return [(Image.fromarray(np.full((6, 6), shade, np.uint8)), 3 + 4 * (number % 2)) for number in range(count)]


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a stand-in for torchvision.datasets, whose import takes seconds."""
    module = ModuleType("torchvision")
    module.datasets = ModuleType("datasets")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", module)
    return module.datasets


class ByFlag(list[tuple[Image.Image, int]]):
    """A set whose split is chosen by a flag."""

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert not download
        super().__init__(images(4, 200) if train else images(2, 100))


class ByName(list[tuple[Image.Image, int]]):
    """A set whose split is chosen by name."""

    def __init__(self, root: str, split: str, download: bool) -> None:
        assert not download
        super().__init__(images(4, 200) if split == "train" else images(2, 100))


@pytest.mark.parametrize("kind", [ByFlag, ByName])
def test_both_ways_of_naming_splits(kind: type, tmp_path: Path, datasets: Any) -> None:
    datasets.Mine = kind
    found = from_torchvision(tmp_path, "Mine")
    assert found.arrays is not None
    assert found.labels is not None
    assert found.classes == ["3", "7"]
    assert found.labels.tolist() == [0, 1, 0, 1, 0, 1]
    splits = {"train": 200, "test": 100}
    assert found.splits is not None
    for split, image in zip(found.splits, found.arrays, strict=True):
        assert (image == splits[split]).all()
    assert found.splits.count("test") == 2


@pytest.mark.slow
def test_celeba_has_its_official_splits(tmp_path: Path) -> None:
    faces = tmp_path / "celeba" / "img_align_celeba"
    faces.mkdir(parents=True)
    for number in range(6):
        Image.fromarray(np.full((20, 16, 3), 40 * number, np.uint8)).save(faces / f"{number:06}.png")
    listing = tmp_path / "celeba" / "list_eval_partition.txt"
    listing.write_text("".join(f"{number:06}.png {number // 2}\n" for number in range(6)))
    target = tmp_path / "prepared"
    settings = Images(source=tmp_path, torchvision="CelebA")
    prepare(settings, target, size=8, workers=1, progress=False)
    data = DataSettings(root=str(target), context_frames=0, crop_size=8, augment={"horizontal_flip": False})
    for place, split in enumerate(("train", "validation", "test")):
        batch = build_source(data, split, [0]).draw([0, 1], [0, 1], 0)
        assert sorted(batch.future.flatten(1)[:, 0].tolist()) == [80 * place, 80 * place + 40]
    (faces / "000003.png").unlink()
    with pytest.raises(DataError, match=r"no image 000003\.png of CelebA"):
        from_torchvision(tmp_path, "CelebA")
    for listed in ("000000.png 7\n", "000000.png\n"):
        listing.write_text(listed)
        with pytest.raises(DataError, match="cannot read CelebA's splits"):
            from_torchvision(tmp_path, "CelebA")


class Scenes(list[tuple[Image.Image, int]]):
    """A stand-in for torchvision's LSUN with one category, in which every image has a different shade."""

    def __init__(self, root: str, classes: list[str]) -> None:
        category, split = classes[0].rsplit("_", 1)
        base = {"church_outdoor": 50, "bedroom": 10}[category] + (100 if split == "val" else 0)
        self.root = root
        super().__init__(
            (Image.fromarray(np.full((9, 9), base + number, np.uint8)), 0)
            for number in range(3 if split == "train" else 1)
        )


def test_lsun_is_read_one_image_at_a_time(tmp_path: Path, datasets: Any) -> None:
    datasets.LSUN = Scenes
    with pytest.raises(DataError, match="bedroom_train_lmdb"):
        from_torchvision(tmp_path, "LSUN")
    for name in ("bedroom_train_lmdb", "bedroom_val_lmdb", "church_outdoor_train_lmdb"):
        (tmp_path / name).mkdir()
    found = from_torchvision(tmp_path, "LSUN")
    assert found.classes == ["bedroom", "church_outdoor"]
    assert found.labels is not None
    assert found.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert found.splits == [*["train"] * 3, "test", *["train"] * 3]
    assert [int(found.read(number)[0, 0, 0]) for number in range(7)] == [10, 11, 12, 110, 50, 51, 52]
    assert found.read(0).shape == (9, 9, 3)


@pytest.mark.slow
def test_missing_lmdb_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    (tmp_path / "bedroom_train_lmdb").mkdir()
    with pytest.raises(ConfigError, match="pip install lmdb"):
        from_torchvision(tmp_path, "LSUN")


def test_a_set_that_torchvision_lacks_is_named(tmp_path: Path, datasets: Any) -> None:
    with pytest.raises(ConfigError, match="no such set"):
        from_torchvision(tmp_path, "Nothing")


@pytest.mark.slow
def test_a_missing_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="CIFAR10"):
        from_torchvision(tmp_path, "CIFAR10")
