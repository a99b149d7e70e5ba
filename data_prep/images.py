"""Images with or without classes, for image generators: folders, IDX files, arrays, torchvision's sets.

    vidpred prepare images faces/ data/faces-64 size=64
    vidpred prepare images /usr/share/datasets/fashion-mnist data/fashion channels=1
    vidpred prepare images downloads/ data/cifar torchvision=CIFAR10
    vidpred prepare images downloads/ data/faces-64 torchvision=CelebA size=64

Every class of every split becomes a clip; the class of an image is its folder, or its label in the file. With size, the
center square of each image is scaled to that size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from vidpred.data.images.decode import SUFFIXES, require_white_level
from vidpred.data.images.files import ImageFiles, center_square, find_images
from vidpred.data.prepared.frame_writer import Clip, Item, reason
from vidpred.data.videos.index import warn_of_unread_files
from vidpred.errors import DataError

from .base import Fractions, ImageSet
from .command import main
from .torchvision_sets import from_torchvision

RATE = 10.0  # required by the format; images have no rate
BLOCK = 5000  # images per item


class Images(ImageSet):
    """A set of images."""

    name: ClassVar[str] = "images"
    of_images: ClassVar[bool] = True
    about: ClassVar[str] = "images with or without classes: folders, IDX files (MNIST), arrays, torchvision's sets"
    expects: ClassVar[str] = (
        "images in folders (<class>/*.png, or train/<class>/*.png), *-idx3-ubyte[.gz] files, an .npz or .npy file of "
        "images (N, H, W) or (N, H, W, C) and labels, or a CSV of square gray images"
    )

    splits: Path | None = Field(
        None, description="CSV file of path,train|validation|test. null: the splits of the set."
    )
    fractions: Fractions = Field(
        (0.9, 0.05, 0.05), description="Shares of train, validation and test, if the set has no splits."
    )
    torchvision: str | None = Field(
        None, description="Name of a set of torchvision.datasets in SOURCE: CIFAR10, CelebA, LSUN (needs lmdb), ..."
    )

    def items(self) -> list[Item]:
        images = self.images()
        items = []
        for split, numbers in images.divided(self.fractions, self.splits).items():
            labels = np.full(len(numbers), -1) if images.labels is None else images.labels[numbers]
            for label in np.unique(labels):
                members = numbers[labels == label]
                kind = images.classes[label] if label >= 0 else "images"
                for block in range(0, len(members), BLOCK):
                    chosen = members[block : block + BLOCK].tolist()
                    files = tuple(str(images.files[i]) for i in chosen) if images.files else (str(self.source),)
                    name = f"{split}/{kind}" + (f" from {block}" if block else "")
                    items.append(Item(name, files, split, {"numbers": chosen, "label": int(label)}))
        return items

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        images = self.images()
        skipped: list[tuple[str, str]] = []

        def frames() -> Iterator[np.ndarray]:
            peaks = []
            for number in item.detail["numbers"]:
                try:
                    decoded = images.decoded(number, strict=True)
                except DataError as error:
                    skipped.append((images.names[number] if images.files else images.place(number), reason(error)))
                else:
                    peaks.append(decoded.peak)
                    yield center_square(decoded.image, size) if size else decoded.image
            require_white_level(peaks, item.name)

        yield Clip(
            item.name, item.split, one_size(frames(), item.name), RATE, cuts=[], label=item.detail["label"],
            separate=True, skipped=skipped,
        )  # fmt: skip

    def classes(self) -> list[str]:
        return self.images().classes

    def images(self) -> ImageFiles:
        """Return the images of the set.

        Raises:
            DataError: There are no images, or they cannot be read.
        """
        found = _images(self.source, self.torchvision, self.expects)
        return replace(found, white_level=self.white_level)


@lru_cache(1)
def _images(source: Path, name: str | None, expects: str) -> ImageFiles:
    found = from_torchvision(source, name) if name else find_images(source)
    if found is None:
        why = "no images" if source.exists() else "no such file or folder"
        raise DataError(f"{why} [{source}]; images expects {expects}")
    if found.files is not None:
        warn_of_unread_files(source, SUFFIXES, "images")
    return found


def one_size(frames: Iterator[np.ndarray], name: str) -> Iterator[np.ndarray]:
    """Yield the frames, checking that all have the same size.

    Raises:
        DataError: A frame differs in size from the first one.
    """
    shape = None
    for frame in frames:
        shape = shape or frame.shape[:2]
        if frame.shape[:2] != shape:
            raise DataError(f"images of different sizes in {name}; set size")
        yield frame


if __name__ == "__main__":
    main(Images.name)
