"""Pictures with or without classes, for image generators: a folder of folders, IDX files, arrays, torchvision's sets.

    vidpred prepare images faces/ data/faces-64 --size 64
    vidpred prepare images /usr/share/datasets/fashion-mnist data/fashion --channels 1
    vidpred prepare images downloads/ data/cifar --torchvision CIFAR10

Every class of every split becomes a clip; the class is the folder that a picture lies in, or the label beside it in a
file. With --size, the middle square of a picture is scaled to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from data_prep.base import DataSet, Fractions
from data_prep.command import main
from vidpred.data.frame_writer import Clip, Item
from vidpred.data.pictures import Pictures, find_pictures, squared
from vidpred.errors import ConfigError, DataError

RATE = 10.0  # pictures have no rate; the format wants one
BLOCK = 5000  # pictures that one process reads in one go
OFFICIAL = ("train", "test")


class Images(DataSet):
    """A set of pictures."""

    name: ClassVar[str] = "images"
    about: ClassVar[str] = "pictures with or without classes: folders, IDX files (MNIST), arrays, torchvision's sets"
    expects: ClassVar[str] = (
        "pictures in folders (<class>/*.png, or train/<class>/*.png), *-idx3-ubyte[.gz] files, an .npz or .npy file of "
        "pictures (N, H, W) or (N, H, W, C) and labels, or a CSV of square gray pictures"
    )

    splits: Path | None = Field(None, description="CSV of path,train|validation|test (default: as the set says)")
    fractions: Fractions = Field((0.9, 0.05, 0.05), description="of train, validation and test, where it says nothing")
    torchvision: str | None = Field(
        None, description="the name of a set of torchvision.datasets that lies in SOURCE, as in CIFAR10 or SVHN"
    )

    def items(self) -> list[Item]:
        pictures = self.pictures()
        items = []
        for split, numbers in pictures.divided(self.fractions, self.splits).items():
            labels = np.full(len(numbers), -1) if pictures.labels is None else pictures.labels[numbers]
            for label in np.unique(labels):
                own = numbers[labels == label]
                kind = pictures.classes[label] if label >= 0 else "pictures"
                for block in range(0, len(own), BLOCK):
                    chosen = own[block : block + BLOCK].tolist()
                    files = tuple(str(pictures.files[i]) for i in chosen) if pictures.files else (str(self.source),)
                    name = f"{split}/{kind}" + (f" from {block}" if block else "")
                    items.append(Item(name, files, split, {"numbers": chosen, "label": int(label)}))
        return items

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        pictures = self.pictures()
        frames = (pictures.read(number) for number in item.detail["numbers"])
        cut = (squared(frame, size) if size else frame for frame in frames)
        yield Clip(item.name, item.split, one_size(cut, item.name), RATE, cuts=[], label=item.detail["label"])

    def classes(self) -> list[str]:
        return self.pictures().classes

    def pictures(self) -> Pictures:
        return _pictures(self.source, self.torchvision, self.expects)


@lru_cache(1)
def _pictures(source: Path, name: str | None, expects: str) -> Pictures:
    found = from_torchvision(source, name) if name else find_pictures(source)
    if found is None:
        why = "no pictures" if source.exists() else "no such file or folder"
        raise DataError(f"{why} [{source}]; images expects {expects}")
    return found


def one_size(frames: Iterator[np.ndarray], name: str) -> Iterator[np.ndarray]:
    """Raises DataError for a picture of another size than the first."""
    shape = None
    for frame in frames:
        shape = shape or frame.shape[:2]
        if frame.shape[:2] != shape:
            raise DataError(f"pictures of different sizes in {name}; give --size")
        yield frame


# Sets of torchvision that have no one class a picture, or are too large to be held in memory as the others are.
UNCLASSIFIED = {
    "CelebA": "its pictures are a folder, which is read as it is: SOURCE is .../celeba/img_align_celeba",
    "LSUN": "its databases have to be exported as folders of pictures, a folder a class: SOURCE is the folder of these",
}


def from_torchvision(root: Path, name: str) -> Pictures:
    """A classified set of torchvision that lies on the disk; nothing is downloaded. Raises ConfigError, DataError."""
    from torchvision import datasets

    if name in UNCLASSIFIED:
        raise ConfigError(f"[--torchvision {name}] {UNCLASSIFIED[name]}; leave the option out")
    kind = getattr(datasets, name, None)
    if not isinstance(kind, type):
        raise ConfigError(f"[--torchvision {name}] torchvision.datasets has no such set")
    parts = {split: _one_of_torchvision(kind, root, split) for split in OFFICIAL}
    arrays = np.concatenate([pictures for pictures, _ in parts.values()])
    labels = np.concatenate([labels for _, labels in parts.values()])
    splits = [split for split, (pictures, _) in parts.items() for _ in range(len(pictures))]
    numbers = np.unique(labels)
    kinds, labels = numbers, np.searchsorted(numbers, labels)
    return Pictures([f"{n:08}" for n in range(len(arrays))], labels, [str(k) for k in kinds], splits, arrays=arrays)


def _one_of_torchvision(kind: type, root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        try:
            data = kind(str(root), train=split == "train", download=False)
        except TypeError:  # some sets name their splits
            data = kind(str(root), split=split, download=False)
        pairs = [(np.asarray(picture.convert("RGB")), int(label)) for picture, label in data]
    except (RuntimeError, OSError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"torchvision cannot read its {kind.__name__} ({error}) [{root}]") from None
    if len({picture.shape for picture, _ in pairs}) != 1:
        raise DataError(f"{kind.__name__} has pictures of different sizes [{root}]; write them to a folder instead")
    return np.stack([picture for picture, _ in pairs]), np.array([label for _, label in pairs], np.int64)


if __name__ == "__main__":
    main(Images.name)
