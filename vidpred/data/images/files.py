"""Reading sets of images: folders of image files, IDX files (MNIST's format), NumPy arrays, CSV files of small images.

The class of an image is its folder, or its label in the file.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.data.array_layout import IMAGES, as_uint8, find_layout, has_byte_values
from vidpred.data.images.decode import SUFFIXES, Decoded, decode_image
from vidpred.data.recorded_splits import RecordedSplits
from vidpred.data.resize import scaled
from vidpred.data.split_lists import by_listing
from vidpred.data.splits import SPLITS, by_folder, by_hash
from vidpred.data.videos.index import find_files
from vidpred.errors import UNREADABLE, DataError, counted, one_line, printable

MAX_BAD_FRACTION = 0.2  # of the images of an array
CHECKED = 1024  # images whose values are checked at once
IMAGE_KEYS, LABEL_KEYS = ("images", "x", "data", "frames"), ("labels", "targets", "y")
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
    """

    names: list[str]
    labels: np.ndarray | None
    classes: list[str]
    splits: list[str]
    arrays: Sequence[np.ndarray] | np.ndarray | None = None
    files: Sequence[Path] | None = None
    white_level: float | None = None
    fingerprints: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> np.ndarray:
        """Return an image, `(H, W, C)` uint8 RGB or gray.

        Raises:
            DataError: The file cannot be decoded.
        """
        return self.decoded(index).image

    def decoded(self, index: int, strict: bool = False) -> Decoded:
        """Read an image as `decode.decode_image` does. Raises DataError."""
        if self.arrays is not None:
            image = self.arrays[index]
            return Decoded(image[..., None] if image.ndim == 2 else image)
        assert self.files is not None
        return decode_image(self.files[index], self.white_level, strict=strict)

    def contents(self) -> dict[str, str]:
        """Return a checksum of each image by name."""
        if self.arrays is not None:
            checksums = (f"{zlib.crc32(np.ascontiguousarray(image).data):08x}" for image in self.arrays)
            return dict(zip(self.names, checksums, strict=True))
        return dict(zip(self.names, self.fingerprints or [""] * len(self), strict=True))

    def selected(self, numbers: np.ndarray) -> ImageFiles:
        """Return some images of a set of files, with the classes of the whole set."""
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
            found = by_hash(self.names, fractions)
            return [found[name] for name in self.names]
        splits = list(self.splits)
        if "validation" not in splits and fractions[1]:
            share = fractions[1] / (fractions[0] + fractions[1])
            train = [name for name, split in zip(self.names, splits, strict=True) if split == "train"]
            held_out = by_hash(train, (1 - share, share, 0))
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


def read_table(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the images and the labels of an .npy, .npz, IDX or CSV file.

    Raises:
        DataError: The file cannot be read, or does not contain images.
    """
    if path.name.lower().removesuffix(".gz").endswith((".npy", ".npz")):
        return _arrays(path)
    return (read_idx(path), None) if _content(path)[:2] == b"\0\0" else _csv(path)


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
    return ImageFiles([f"{number:08}" for number in range(len(images))], labels, classes, splits, arrays=images)


@lru_cache(1)  # a start asks for several splits
def _of_folder(root: Path, found: tuple[str, ...]) -> ImageFiles | None:
    endings = tuple(SUFFIXES)
    names = [name for name in found if name.lower().endswith(endings)]
    if not names:
        return None
    splits = by_folder(names, (1, 0, 0))
    # The class is the innermost folder: train/cat/1.png and test/cat/2.png are both cats.
    parents = [name.split("/")[-2] if "/" in name else "" for name in names]
    if splits and all(name.count("/") == 1 for name in names):
        parents = [""] * len(names)  # the only folders are the splits
    classes = sorted(set(parents)) if "" not in parents and len(set(parents)) > 1 else []
    numbers = {kind: number for number, kind in enumerate(classes)}
    labels = np.array([numbers[parent] for parent in parents], np.int64) if classes else None
    return ImageFiles(names, labels, classes, [splits[name] if splits else "" for name in names],
                      files=FilesBelow(root, names))  # fmt: skip


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of uint8, gzipped or not.

    The format: two zeros, type 8, the number of axes, their sizes as big-endian 32-bit integers, the values.

    Raises:
        DataError: The file cannot be read, or is not a complete IDX file.
    """
    content = _content(path)
    axes = content[3] if len(content) > 4 and content[:3] == b"\0\0\x08" else 0
    sizes = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes))
    if not axes or len(content) != 4 + 4 * axes + prod(sizes):
        raise DataError(f"not a complete IDX file of uint8 [{path}]; download it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(sizes)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except UNREADABLE as error:
        raise DataError(f"cannot read the file ({one_line(error)}) [{printable(str(path))}]") from None


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the images (uint8, or float in [0, 1]) and labels of an .npy or .npz file."""
    try:
        with path.open("rb") as file:  # numpy does not close files that it cannot read
            loaded = np.load(file, allow_pickle=False)
            alone = isinstance(loaded, np.ndarray)
            wanted = () if alone else [key for key in (*IMAGE_KEYS, *LABEL_KEYS) if key in loaded.files]
            tables = {"images": loaded} if alone else {key: loaded[key] for key in wanted}
    except UNREADABLE as error:
        raise DataError(f"cannot read the arrays ({one_line(error)}) [{path}]") from None
    key = next((key for key in IMAGE_KEYS if key in tables), "")
    if not key:
        raise DataError(f"has none of the arrays {', '.join(IMAGE_KEYS)} [{path}]; rename one")
    images = tables[key]
    if not images.size:
        raise DataError(f"{key} of shape {images.shape} contain no images [{path}]; use another file")
    if find_layout(images.shape, IMAGES, printable(path), "transpose it") == "NCHW":
        images = images.transpose(0, 2, 3, 1)
    labels = next((tables[name] for name in LABEL_KEYS if name in tables), None)
    labels = labels[:, 0] if labels is not None and labels.shape == (len(images), 1) else labels
    if labels is not None and np.issubdtype(labels.dtype, np.floating) and not np.isfinite(labels).all():
        raise DataError(f"has labels that are not finite numbers [{printable(path)}]; correct them")
    if labels is not None and labels.shape != (len(images),):
        raise DataError(f"has labels of shape {labels.shape} for {len(images)} images [{path}]")
    images, labels, as_bytes = _usable(images, labels, path)
    try:
        images = as_uint8(images, as_bytes) if images.ndim == 4 else as_uint8(images[..., None], as_bytes)[..., 0]
    except DataError as error:
        raise DataError(f"{error} [{printable(path)}]") from None
    return images, labels


def _usable(images: np.ndarray, labels: np.ndarray | None, path: Path) -> tuple[np.ndarray, np.ndarray | None, bool]:
    """Leave out images with impossible values, with a warning.

    Returns:
        The other images and their labels, and whether floats are bytes (see `has_byte_values`).

    Raises:
        DataError: Too many images have impossible values.
    """
    numbers = np.issubdtype(images.dtype, np.floating) or np.issubdtype(images.dtype, np.integer)
    if images.dtype == np.uint8 or not numbers:
        return images, labels, False
    rows = images.reshape(len(images), -1)
    low, high = rows.min(1), rows.max(1)  # not finite where a value is not
    known = rows[(low >= 0) & (high <= 255)]
    as_bytes = has_byte_values(known[first : first + CHECKED] for first in range(0, len(known), CHECKED))
    most = 255 if as_bytes or np.issubdtype(images.dtype, np.integer) else 1
    with np.errstate(invalid="ignore"):
        good = (low >= 0) & (high <= most)
    bad = np.flatnonzero(~good)
    if len(bad) in (0, len(images)):
        return images, labels, as_bytes
    what = f"have values that are not finite or outside [0, {most}]"
    _report(bad.tolist(), len(images), what, path, "scale them to [0, 1], or to [0, 255] as uint8")
    return images[good], None if labels is None else labels[good], as_bytes


def _report(bad: Sequence[int], total: int, what: str, path: Path, remedy: str = "correct them") -> None:
    """Warn about images that are left out. Raises DataError if they are too many."""
    if not bad:
        return
    named = ", ".join(map(str, sorted(bad)[:3])) + (", ..." if len(bad) > 3 else "")
    text = f"{len(bad):,} of {counted(total, 'image')} {what}, from number {named}"
    if len(bad) > MAX_BAD_FRACTION * total:
        raise DataError(f"{text} [{printable(str(path))}]; {remedy}")
    print(f"vidpred: warning: {text}; left out [{printable(path)}]", file=sys.stderr)


def _csv(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a table of square gray images, one per row, with values in [0, 255].

    Labels are optional: in the first column if there is a header that starts with "label", else in the last column.
    """
    lines = [line for line in _content(path).decode("utf-8-sig", "replace").splitlines() if line.strip()]
    first = bool(lines) and lines[0].lower().strip('"').startswith("label")
    delimiter = max(",;\t", key=lines[-1].count) if lines else ","
    rows, bad = _numbers([line.split(delimiter) for line in lines[first:]])
    side = int(rows.shape[1] ** 0.5)
    if not rows.size:
        raise DataError(f"not a table of numbers [{printable(path)}]; use another file")
    if rows.shape[1] - side**2 not in (0, 1):
        raise DataError(
            f"rows are not square gray images with values in [0, 255] [{printable(path)}]; use another file"
        )
    labels, pixels = None, rows
    if rows.shape[1] == side**2 + 1:
        labels, pixels = (rows[:, 0], rows[:, 1:]) if first else (rows[:, -1], rows[:, :-1])
    good = (pixels >= 0).all(1) & (pixels <= 255).all(1)
    if labels is not None:
        good &= np.isfinite(labels)
        labels = labels[good].astype(np.int64)
    places = np.delete(np.arange(len(rows) + len(bad)), bad)[~good]  # of the rows that are numbers
    _report([*bad, *places.tolist()], len(rows) + len(bad), "are not rows of numbers in [0, 255] of one length", path)
    return pixels[good].astype(np.uint8).reshape(-1, side, side), labels


def _numbers(rows: list[list[str]]) -> tuple[np.ndarray, list[int]]:
    """Return rows of numbers, `(N, most frequent length)`, and the places of the others."""
    length = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    try:
        return np.array(rows, np.float64).reshape(len(rows), length), []
    except ValueError:  # row by row
        found = [_row(row) if len(row) == length else None for row in rows]
    good = [row for row in found if row is not None]
    return np.array(good, np.float64).reshape(len(good), length), [i for i, row in enumerate(found) if row is None]


def _row(fields: list[str]) -> np.ndarray | None:
    try:
        return np.array(fields, np.float64)
    except ValueError:
        return None


def squared(image: np.ndarray, size: int) -> np.ndarray:
    """Return the center square of a `(H, W, C)` uint8 image, scaled to `size`."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return scaled(np.ascontiguousarray(image[top : top + side, left : left + side]), (size, size))
