"""Folders of images, one folder per clip, as in KITTI, Caltech Pedestrian and Human3.6M.

    vidpred prepare frames kitti/raw data/kitti-128 size=128 rate=10
    vidpred prepare frames caltech data/caltech-128 size=128 rate=30 every=3

Images are sorted in natural order (frame2 before frame10). Every folder with images is a clip.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from vidpred.data.images.decode import SUFFIXES, read_image
from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.videos.containers import printable
from vidpred.errors import DataError

from .base import DividedSet, clip_name, parts_by_clip
from .command import main


class Frames(DividedSet):
    """Images of 8 or 16 bits, color or gray; they are converted to 8 bits without transparency."""

    name: ClassVar[str] = "frames"
    about: ClassVar[str] = "folders of images, one folder per clip (KITTI, Caltech, Human3.6M, ...)"
    expects: ClassVar[str] = "folders of images at any depth: <clip>/000001.png, <clip>/000002.png, ..."

    rate: float = Field(10.0, gt=0, description="Images per second.")
    every: int = Field(
        1, ge=1, description="Keep every n-th image, for example 3 to reduce 30 images per second to 10."
    )

    def items(self) -> list[Item]:
        folders = image_folders(self.source)
        if not folders:
            raise self.absent("no images" if self.source.is_dir() else "no such folder")
        kept = {name: images[:: self.every] for name, images in folders.items()}
        items = []
        for name, parts in parts_by_clip(self.parts({name: len(found) for name, found in kept.items()})).items():
            detail = {"parts": [[clip_name(part, parts), part.split, part.first, part.end] for part in parts]}
            items.append(Item(name, tuple(map(str, kept[name])), detail=detail))
        unlisted = kept.keys() - {item.name for item in items}
        return items + [Item(name, (), bad="not in any split") for name in sorted(unlisted)]

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        for name, split, first, end in item.detail["parts"]:
            yield Clip(name, split, read_images(item.files[first:end]), self.rate / self.every)


def image_folders(source: Path) -> dict[str, list[Path]]:
    """Return the images of every folder in natural order, by relative path; hidden files and folders are skipped."""
    found = {}
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = [name for name in files if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")]
        if images:
            relative = Path(folder).relative_to(source).as_posix()
            name = source.resolve().name if relative == "." else relative
            found[name] = [Path(folder) / image for image in sorted(images, key=natural_order)]
    return found


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a sort key by which numbers in names compare as numbers: frame2 comes before frame10."""
    words = re.split(r"([0-9]+)", name)
    return [(int(word), "") if index % 2 else (0, word) for index, word in enumerate(words)], name


def read_images(paths: tuple[str, ...]) -> Iterator[np.ndarray]:
    """Yield images as `(H, W, 3)` uint8 RGB.

    Raises:
        DataError: An image cannot be read, or differs in size from the first one.
    """
    shape = None
    for path in paths:
        try:
            image = read_image(Path(path))
        except DataError as error:
            why = str(error).partition(" [")[0]
            raise DataError(f"{printable(Path(path).name)}: {why} [{printable(path)}]") from None
        shape = shape or image.shape
        if image.shape != shape:
            sizes = f"{image.shape[1]}x{image.shape[0]}, but earlier images are {shape[1]}x{shape[0]}"
            raise DataError(f"{printable(Path(path).name)} is {sizes} [{printable(path)}]")
        yield image


if __name__ == "__main__":
    main(Frames.name)
