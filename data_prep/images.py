"""Pictures with or without classes, for image generators: a folder of folders, IDX files, arrays, torchvision's sets.

    vidpred prepare images faces/ data/faces-64 size=64
    vidpred prepare images /usr/share/datasets/fashion-mnist data/fashion channels=1
    vidpred prepare images downloads/ data/cifar torchvision=CIFAR10
    vidpred prepare images downloads/ data/faces-64 torchvision=CelebA size=64

Every class of every split becomes a clip; the class is the folder that a picture lies in, or the label beside it in a
file. With size, the middle square of a picture is scaled to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from vidpred.data.images.files import Pictures, find_pictures, squared
from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.errors import DataError

from .base import DataSet, Fractions
from .command import main
from .torchvision_sets import from_torchvision

RATE = 10.0  # pictures have no rate; the format wants one
BLOCK = 5000  # pictures that one process reads in one go


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
        None,
        description="the name of a set of torchvision.datasets that lies in SOURCE: CIFAR10, CelebA, LSUN (with lmdb)",
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
            raise DataError(f"pictures of different sizes in {name}; give size=")
        yield frame


if __name__ == "__main__":
    main(Images.name)
