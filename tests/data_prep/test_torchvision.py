"""Sets of torchvision: read where they lie, whichever way they name their splits; those that do not fit are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from data_prep.images import from_torchvision
from vidpred.errors import ConfigError, DataError


def pictures(count: int, shade: int) -> list[tuple[Image.Image, int]]:
    return [(Image.fromarray(np.full((6, 6), shade, np.uint8)), 3 + 4 * (number % 2)) for number in range(count)]


class ByFlag(list[tuple[Image.Image, int]]):
    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert not download
        super().__init__(pictures(4, 200) if train else pictures(2, 100))


class ByName(list[tuple[Image.Image, int]]):
    def __init__(self, root: str, split: str, download: bool) -> None:
        assert not download
        super().__init__(pictures(4, 200) if split == "train" else pictures(2, 100))


@pytest.mark.parametrize("kind", [ByFlag, ByName])
def test_both_ways_of_naming_splits(kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "Mine", kind, raising=False)
    found = from_torchvision(tmp_path, "Mine")
    assert found.arrays is not None
    assert found.labels is not None
    assert found.classes == ["3", "7"]
    assert found.labels.tolist() == [0, 1, 0, 1, 0, 1]
    splits = {"train": 200, "test": 100}
    assert found.splits is not None
    for split, picture in zip(found.splits, found.arrays, strict=True):
        assert (picture == splits[split]).all()
    assert found.splits.count("test") == 2


@pytest.mark.parametrize(
    ("name", "said"), [("CelebA", "img_align_celeba"), ("LSUN", "a folder a class"), ("Nothing", "no such set")]
)
def test_others_are_named(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        from_torchvision(tmp_path, name)


def test_a_set_that_is_not_there_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="CIFAR10"):
        from_torchvision(tmp_path, "CIFAR10")
