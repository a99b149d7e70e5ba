"""Sets of torchvision as images; they must be on disk already, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data.images.files import ImageFiles
from vidpred.errors import UNREADABLE, ConfigError, DataError, one_line, printable
from vidpred.files import check_folder, read_bytes

NOT_THE_SET: tuple[type[Exception], ...] = (*UNREADABLE, TypeError, AttributeError)
OFFICIAL = ("train", "test")
CELEBA_SPLITS = {"0": "train", "1": "validation", "2": "test"}  # in list_eval_partition.txt
LSUN_SPLITS = {"train": "train", "val": "test"}  # the test images have no classes


def from_torchvision(root: Path, name: str) -> ImageFiles:
    """Read a set by its name in torchvision.datasets.

    Raises:
        ConfigError: There is no such set, or a package is missing.
        DataError: The set cannot be read.
    """
    from torchvision import datasets

    if name in LARGE:
        return LARGE[name](root)
    kind = getattr(datasets, name, None)
    if not isinstance(kind, type):
        raise ConfigError(f"[torchvision={name}] torchvision.datasets has no such set")
    files = root / str(getattr(kind, "base_folder", name))
    if files.is_dir():
        check_folder(files)
    parts = {split: _classified(kind, root, split) for split in OFFICIAL}
    arrays = np.concatenate([images for images, _ in parts.values()])
    labels = np.concatenate([labels for _, labels in parts.values()])
    splits = [split for split, (images, _) in parts.items() for _ in range(len(images))]
    numbers = np.unique(labels)
    kinds, labels = numbers, np.searchsorted(numbers, labels)
    names = [f"{number:08}" for number in range(len(arrays))]
    return ImageFiles(names, labels, [str(kind) for kind in kinds], splits, arrays=arrays, origin=root)


def _classified(kind: type, root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the images and labels of one split of a set with one class per image."""
    try:
        try:
            data = kind(str(root), train=split == "train", download=False)
        except TypeError:  # some sets name their splits
            data = kind(str(root), split=split, download=False)
        pairs = [(np.asarray(image.convert("RGB")), int(label)) for image, label in data]
    except NOT_THE_SET as error:
        raise DataError(f"torchvision cannot read {kind.__name__} ({one_line(error)}) [{root}]") from None
    if len({image.shape for image, _ in pairs}) != 1:
        raise DataError(f"{kind.__name__} has images of different sizes [{root}]; write them to a folder instead")
    return np.stack([image for image, _ in pairs]), np.array([label for _, label in pairs], np.int64)


def celeba(root: Path) -> ImageFiles:
    """Find the aligned faces of CelebA, with its official splits and without its forty attributes.

    Raises:
        DataError: The list of splits or an image is missing.
    """
    base = root / "celeba" if (root / "celeba").is_dir() else root
    listing, folder = base / "list_eval_partition.txt", base / "img_align_celeba"
    try:
        rows = [line.split() for line in read_bytes(listing).decode().splitlines() if line.strip()]
        splits = [CELEBA_SPLITS[number] for _, number in rows]
    except NOT_THE_SET as error:
        raise DataError(
            f"cannot read CelebA's splits ({one_line(error)}) [{listing}]; SOURCE must contain "
            "celeba/list_eval_partition.txt and celeba/img_align_celeba/"
        ) from None
    names = [name for name, _ in rows]
    missing = next((name for name in names if not (folder / name).is_file()), None)
    if missing is not None or not names:
        raise DataError(f"no image {missing or ''} of CelebA [{folder}]; extract img_align_celeba.zip there")
    return ImageFiles(names, None, [], splits, files=[folder / name for name in names])


class LazyImages(Sequence[np.ndarray]):
    """The images of several sets, one after another, each read on access."""

    def __init__(self, sets: Sequence[Any]) -> None:
        self.sets, self.ends = sets, list(accumulate(map(len, sets)))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: Any) -> Any:
        place = int(np.searchsorted(self.ends, index, side="right"))
        first = self.ends[place - 1] if place else 0
        try:
            image, _ = self.sets[place][index - first]
            return np.asarray(image.convert("RGB"))
        except UNREADABLE as error:
            raise DataError(f"cannot decode image {index} ({one_line(error)}) [{self.sets[place].root}]") from None


def lsun(root: Path) -> ImageFiles:
    """Read LSUN: all scene categories with a database (bedroom_train_lmdb, bedroom_val_lmdb, ...).

    Raises:
        ConfigError: lmdb is not installed.
        DataError: There is no database, or it cannot be read.
    """
    from torchvision import datasets

    found = {
        (path.name.removesuffix(f"_{official}_lmdb"), official): split
        for path in sorted(root.glob("*_lmdb"))
        for official, split in LSUN_SPLITS.items()
        if path.name.endswith(f"_{official}_lmdb")
    }
    if not found:
        raise DataError(
            f"no LSUN database such as bedroom_train_lmdb [{printable(root)}]; extract its .zip files there"
        )
    for category, official in found:
        check_folder(root / f"{category}_{official}_lmdb")
    try:
        sets = [datasets.LSUN(str(root), classes=[f"{category}_{official}"]) for category, official in found]
    except ImportError as error:
        raise ConfigError(f"[torchvision=LSUN] needs lmdb ({error}); pip install lmdb") from None
    except Exception as error:  # lmdb defines its own exceptions
        raise DataError(f"torchvision cannot read LSUN ({one_line(error)}) [{printable(root)}]") from None
    classes = sorted({category for category, _ in found})
    labels = np.concatenate([np.full(len(part), classes.index(key[0])) for key, part in zip(found, sets, strict=True)])
    splits = [split for split, part in zip(found.values(), sets, strict=True) for _ in range(len(part))]
    if not len(labels):
        raise DataError(f"LSUN's databases are empty [{printable(root)}]; download them again")
    names = [f"{number:08}" for number in range(len(labels))]
    return ImageFiles(names, labels.astype(np.int64), classes, splits, arrays=LazyImages(sets), origin=root)


LARGE = {"CelebA": celeba, "LSUN": lsun}  # too large for memory: read one image at a time
