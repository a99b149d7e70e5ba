"""Sets of images: folders of image files, and files of many images (see `tables`).

The class of an image is its folder, or its label in the file.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data.images.decode import SUFFIXES, Decoded, decode_image
from vidpred.data.images.tables import read_idx, read_table
from vidpred.data.recorded_splits import RecordedSplits
from vidpred.data.resize import resize_frame
from vidpred.data.split_lists import by_listing
from vidpred.data.splits import SPLITS, split_by_folder, split_by_hash
from vidpred.data.videos.index import find_files
from vidpred.errors import DataError, printable

SPLIT_WORDS = {"train": "train", "t10k": "test", "test": "test", "validation": "validation", "val": "validation"}


class FilesBelow(Sequence[Path]):
    """Files below a folder by their relative paths; a list of paths of hundreds of thousands takes seconds to build."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        return self.root / self.names[index]


@dataclass(frozen=True)
class ImageFiles:
    """A set of images on disk.

    Attributes:
        names: Unique name of each image.
        labels: `(N,)` int64, the class of each image; None without classes.
        classes: Names of the classes.
        splits: "train", "validation" or "test" for each image; "" if the set does not define it.
        arrays: `(N, H, W)` or `(N, H, W, C)` uint8; None if `files` is set.
        files: Path of each image; None if `arrays` is set.
        white_level: See `data.video.white_level`.
        fingerprints: Checksum of each file, see `files.content_fingerprint`; None: not checked yet, or `arrays` is set.
        origin: The file or folder of `arrays`, for messages.
    """

    names: list[str]
    labels: np.ndarray | None
    classes: list[str]
    splits: list[str]
    arrays: Sequence[np.ndarray] | np.ndarray | None = None
    files: Sequence[Path] | None = None
    white_level: float | None = None
    fingerprints: Sequence[str] | None = None
    origin: Path | None = None

    def place(self, index: int) -> str:
        """Return where an image is, for messages: its file, or its number in a file of many."""
        if self.files is not None:
            return printable(self.files[index])
        return f"{printable(self.origin or '')}: image {index}"

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> np.ndarray:
        """Return an image, `(H, W, C)` uint8 RGB or gray.

        Raises:
            DataError: The file cannot be decoded.
        """
        return self.decoded(index).image

    def decoded(self, index: int, strict: bool = False) -> Decoded:
        """Read image `index` as `decode.decode_image` does; `strict` as there. Raises DataError."""
        if self.arrays is not None:
            image = self.arrays[index]
            return Decoded(image[..., None] if image.ndim == 2 else image)
        assert self.files is not None
        return decode_image(self.files[index], self.white_level, strict=strict)

    def contents(self) -> dict[str, str]:
        """Return a checksum of each image's content by the image's name; "" if unknown."""
        if self.arrays is not None:
            checksums = (f"{zlib.crc32(np.ascontiguousarray(image).data):08x}" for image in self.arrays)
            return dict(zip(self.names, checksums, strict=True))
        return dict(zip(self.names, self.fingerprints or [""] * len(self), strict=True))

    def selected(self, numbers: np.ndarray) -> ImageFiles:
        """Return the images with these indices as a set of files, with the classes of the whole set."""
        assert self.files is not None
        return replace(
            self,
            names=[self.names[i] for i in numbers],
            labels=None if self.labels is None else self.labels[numbers],
            splits=[self.splits[i] for i in numbers],
            fingerprints=None if self.fingerprints is None else [self.fingerprints[i] for i in numbers],
            files=[self.files[i] for i in numbers],
        )

    def divided(self, fractions: Sequence[float], listing: Path | None = None) -> dict[str, np.ndarray]:
        """Return the indices of the images of each split.

        If the set defines a test split but no validation split, some training images become validation images.

        Args:
            fractions: Shares of training, validation and test.
            listing: CSV file of name,split that overrides the splits.
        """
        splits = self._listed(listing) if listing else self._assigned(fractions)
        return {split: np.array([i for i, own in enumerate(splits) if own == split], np.int64) for split in SPLITS}

    def _listed(self, listing: Path) -> list[str]:
        recorded = RecordedSplits.read(listing)
        if recorded is not None and recorded.parts:
            found = {part.clip: part.split for part in recorded.present(dict.fromkeys(self.names, 1), self.contents())}
        else:
            found = by_listing(listing, self.names)
        return [found.get(name, "") for name in self.names]

    def _assigned(self, fractions: Sequence[float]) -> list[str]:
        if not any(self.splits):
            found = split_by_hash(self.names, fractions)
            return [found[name] for name in self.names]
        splits = list(self.splits)
        if "validation" not in splits and fractions[1]:
            share = fractions[1] / (fractions[0] + fractions[1])
            train = [name for name, split in zip(self.names, splits, strict=True) if split == "train"]
            held_out = split_by_hash(train, (1 - share, share, 0))
            splits = [held_out.get(name, split) for name, split in zip(self.names, splits, strict=True)]
        return splits


def find_images(root: Path) -> ImageFiles | None:
    """Find the images of a file or folder; return None if there are none (for example in a folder of videos).

    Raises:
        DataError: A file of images cannot be read.
    """
    if root.is_file():
        return _of_file(root)
    if not root.is_dir():
        return None
    names = tuple(find_files(root))
    idx = sorted(root / name for name in names if "idx3-ubyte" in name.rpartition("/")[2])
    idx = [path for path in idx if path.suffix == ".gz" or path.with_name(f"{path.name}.gz") not in idx]
    idx = list({path.name.removesuffix(".gz"): path for path in idx}.values())
    return _joined(idx) if idx else _of_folder(root, names)


def _of_file(path: Path) -> ImageFiles | None:
    if "idx3-ubyte" in path.name:
        return _joined([path])
    if not path.name.lower().removesuffix(".gz").endswith((".npy", ".npz", ".csv")):
        return None
    images, labels = read_table(path)
    return _labeled(images, labels, [""] * len(images), path)


def _joined(files: list[Path]) -> ImageFiles:
    """Combine the IDX files of several splits (train-images..., t10k-images..., and their label files) into one set."""
    images, labels, splits = [], [], []
    for path in files:
        part = read_idx(path)
        if part.ndim != 3:
            raise DataError(f"has {part.ndim} axes, not three as images (N, H, W) [{path}]")
        label_file = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
        candidates = (label_file, label_file.with_name(f"{label_file.name}.gz"), label_file.with_suffix(""))
        found = next((other for other in candidates if other != path and other.is_file()), None)
        part_labels = None if found is None else read_idx(found).astype(np.int64)
        if part_labels is not None and part_labels.shape != (len(part),):
            raise DataError(f"has {part_labels.shape} labels for {len(part)} images [{found}]")
        split = next((split for word, split in SPLIT_WORDS.items() if path.name.lower().startswith(word)), "")
        images.append(part)
        labels.append(part_labels)
        splits += [split if len(files) > 1 else ""] * len(part)
    if len({part.shape[1:] for part in images}) > 1:
        raise DataError(f"IDX files of different sizes in one folder [{files[0].parent}]; keep one set per folder")
    present = [part for part in labels if part is not None]
    all_labels = np.concatenate(present) if len(present) == len(labels) else None
    return _labeled(np.concatenate(images), all_labels, splits, files[0])


def _labeled(images: np.ndarray, labels: np.ndarray | None, splits: list[str], path: Path) -> ImageFiles:
    if not len(images):
        raise DataError(f"contains no images [{path}]; use another file")
    classes: list[str] = []
    if labels is not None:
        kinds, labels = np.unique(labels, return_inverse=True)
        classes = [str(kind) for kind in kinds]
        labels = labels.astype(np.int64)
    return ImageFiles(
        [f"{number:08}" for number in range(len(images))], labels, classes, splits, arrays=images, origin=path
    )


@lru_cache(1)  # a start asks for several splits
def _of_folder(root: Path, found: tuple[str, ...]) -> ImageFiles | None:
    endings = tuple(SUFFIXES)
    names = [name for name in found if name.lower().endswith(endings)]
    if not names:
        return None
    splits = split_by_folder(names, (1, 0, 0))
    # The class is the innermost folder: train/cat/1.png and test/cat/2.png are both cats.
    parents = [name.split("/")[-2] if "/" in name else "" for name in names]
    if splits and all(name.count("/") == 1 for name in names):
        parents = [""] * len(names)  # the only folders are the splits
    classes = sorted(set(parents)) if "" not in parents and len(set(parents)) > 1 else []
    numbers = {kind: number for number, kind in enumerate(classes)}
    labels = np.array([numbers[parent] for parent in parents], np.int64) if classes else None
    return ImageFiles(names, labels, classes, [splits[name] if splits else "" for name in names],
                      files=FilesBelow(root, names))  # fmt: skip


def center_square(image: np.ndarray, size: int) -> np.ndarray:
    """Return the center square of a `(H, W, C)` uint8 image, scaled to `(size, size, C)`."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resize_frame(np.ascontiguousarray(image[top : top + side, left : left + side]), (size, size))
