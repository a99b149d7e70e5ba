"""Pictures instead of videos: folders of image files, IDX files (MNIST's format), arrays, CSV files of small pictures.

The folder that a picture lies in, or the label beside it in a file, is its class.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vidpred.data.resize import scaled
from vidpred.data.splits import SPLITS, by_folder, by_hash, by_listing
from vidpred.data.videos.containers import printable
from vidpred.errors import UNREADABLE, DataError, one_line

SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"])
PICTURE_KEYS, LABEL_KEYS = ("images", "pictures", "x", "data", "frames"), ("labels", "targets", "y")
SPLIT_WORDS = {"train": "train", "t10k": "test", "test": "test", "validation": "validation", "val": "validation"}


@dataclass(frozen=True)
class Pictures:
    """A set of pictures as it lies on the disk.

    names: of every picture, unique. labels: `(N,)` int64, the class of each; none where the set says none. classes:
    the names of the classes. splits: train, validation or test for each picture, "" where the set says nothing.
    arrays: `(N, H, W)` or `(N, H, W, C)` uint8, or files: a path for each.
    """

    names: list[str]
    labels: np.ndarray | None
    classes: list[str]
    splits: list[str]
    arrays: Sequence[np.ndarray] | np.ndarray | None = None
    files: list[Path] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> np.ndarray:
        """`(H, W, C)` uint8 RGB or gray. Raises DataError naming a file that cannot be decoded."""
        if self.arrays is not None:
            picture = self.arrays[index]
            return picture[..., None] if picture.ndim == 2 else picture
        assert self.files is not None
        return read_picture(self.files[index])

    def divided(self, fractions: Sequence[float], listing: Path | None = None) -> dict[str, np.ndarray]:
        """split -> the numbers of its pictures. Where the set has a test split of its own but no validation split, that
        is a part of its training pictures. listing: a CSV of name,split that decides instead."""
        splits = self._listed(listing) if listing else self._assigned(fractions)
        return {split: np.array([i for i, own in enumerate(splits) if own == split], np.int64) for split in SPLITS}

    def _listed(self, listing: Path) -> list[str]:
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


def find_pictures(root: Path) -> Pictures | None:
    """The pictures of a file or folder; None where there are none (a folder of videos, perhaps). Raises DataError for
    files that should hold pictures and cannot be read."""
    if root.is_file():
        return _of_file(root)
    if not root.is_dir():
        return None
    idx = sorted(path for path in root.rglob("*") if "idx3-ubyte" in path.name and path.is_file())
    idx = [path for path in idx if path.suffix == ".gz" or path.with_name(f"{path.name}.gz") not in idx]
    idx = list({path.name.removesuffix(".gz"): path for path in idx}.values())
    return _joined(idx) if idx else _of_folder(root)


def _of_file(path: Path) -> Pictures | None:
    if "idx3-ubyte" in path.name:
        return _joined([path])
    if not path.name.lower().removesuffix(".gz").endswith((".npy", ".npz", ".csv")):
        return None
    pictures, labels = read_table(path)
    return _labelled(pictures, labels, [""] * len(pictures), path)


def read_table(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the images and the labels of an .npy, .npz, IDX or CSV file. Raises DataError."""
    if path.name.lower().removesuffix(".gz").endswith((".npy", ".npz")):
        return _arrays(path)
    return (read_idx(path), None) if _content(path)[:2] == b"\0\0" else _csv(path)


def _joined(files: list[Path]) -> Pictures:
    """IDX files of several splits as one set: train-images..., t10k-images... with their labels beside them."""
    pictures, labels, splits = [], [], []
    for path in files:
        own = read_idx(path)
        if own.ndim != 3:
            raise DataError(f"holds {own.ndim} axes, not pictures (N, H, W) [{path}]")
        beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
        twins = (beside, beside.with_name(f"{beside.name}.gz"), beside.with_suffix(""))
        found = next((other for other in twins if other != path and other.is_file()), None)
        own_labels = None if found is None else read_idx(found).astype(np.int64)
        if own_labels is not None and own_labels.shape != (len(own),):
            raise DataError(f"has {own_labels.shape} labels for {len(own)} pictures [{found}]")
        split = next((split for word, split in SPLIT_WORDS.items() if path.name.lower().startswith(word)), "")
        pictures.append(own)
        labels.append(own_labels)
        splits += [split if len(files) > 1 else ""] * len(own)
    if len({own.shape[1:] for own in pictures}) > 1:
        raise DataError(f"IDX files of different sizes are in one folder [{files[0].parent}]; keep one set a folder")
    known = [own for own in labels if own is not None]
    together = np.concatenate(known) if len(known) == len(labels) else None
    return _labelled(np.concatenate(pictures), together, splits, files[0])


def _labelled(pictures: np.ndarray, labels: np.ndarray | None, splits: list[str], path: Path) -> Pictures:
    if not len(pictures):
        raise DataError(f"holds no pictures [{path}]; use another file")
    classes: list[str] = []
    if labels is not None:
        kinds, labels = np.unique(labels, return_inverse=True)
        classes = [str(kind) for kind in kinds]
        labels = labels.astype(np.int64)
    return Pictures([f"{number:08}" for number in range(len(pictures))], labels, classes, splits, arrays=pictures)


def _of_folder(root: Path) -> Pictures | None:
    files = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(folder) / name for name in sorted(names)
                  if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")]  # fmt: skip
    if not files:
        return None
    names = [file.relative_to(root).as_posix() for file in files]
    splits = by_folder(names, (1, 0, 0))
    # The class is the innermost folder: train/cat/1.png and test/cat/2.png are both cats.
    parents = [name.split("/")[-2] if "/" in name else "" for name in names]
    if splits and all(name.count("/") == 1 for name in names):
        parents = [""] * len(names)  # the only folders are the splits
    classes = sorted(set(parents)) if "" not in parents and len(set(parents)) > 1 else []
    numbers = {kind: number for number, kind in enumerate(classes)}
    labels = np.array([numbers[parent] for parent in parents], np.int64) if classes else None
    return Pictures(names, labels, classes, [splits[name] if splits else "" for name in names], files=files)


def read_picture(path: Path) -> np.ndarray:
    """`(H, W, 3)` uint8 RGB. Raises DataError."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"cannot read the picture: {error.strerror} [{printable(str(path))}]") from None
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    if picture is None:
        raise DataError(f"no picture that can be decoded [{printable(str(path))}]; remove it")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of uint8, gzipped or not: two zeros, type 8, the number of axes, their sizes as big-endian 32 bits,
    the values. Raises DataError."""
    content = _content(path)
    axes = content[3] if len(content) > 4 and content[:3] == b"\0\0\x08" else 0
    sizes = tuple(int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes))
    if not axes or len(content) != 4 + 4 * axes + int(np.prod(sizes)):
        raise DataError(f"is no whole IDX file of uint8 [{path}]; fetch it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(sizes)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except UNREADABLE as error:
        raise DataError(f"cannot read the file ({one_line(error)}) [{printable(str(path))}]") from None


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Pictures and labels of an .npy or .npz file: uint8, or float in [0, 1]."""
    try:
        with path.open("rb") as file:  # numpy leaves files that it cannot read open
            loaded = np.load(file, allow_pickle=False)
            alone = isinstance(loaded, np.ndarray)
            tables = {"images": loaded} if alone else {key: loaded[key] for key in loaded.files}
    except UNREADABLE as error:
        raise DataError(f"cannot read the arrays ({one_line(error)}) [{path}]") from None
    key = next((key for key in PICTURE_KEYS if key in tables), "")
    if not key:
        raise DataError(f"has none of the arrays {', '.join(PICTURE_KEYS)} [{path}]; name one so")
    pictures = tables[key]
    if pictures.ndim == 4 and pictures.shape[-1] not in (1, 3) and pictures.shape[1] in (1, 3):
        pictures = pictures.transpose(0, 2, 3, 1)
    if pictures.ndim not in (3, 4) or (pictures.ndim == 4 and pictures.shape[-1] not in (1, 3)):
        raise DataError(f"{key} of shape {pictures.shape} are no pictures (N, H, W) or (N, H, W, 1 or 3) [{path}]")
    if np.issubdtype(pictures.dtype, np.floating) and pictures.size:
        if not (pictures.min() >= 0 and pictures.max() <= 1):
            raise DataError(f"{key} lie in [{pictures.min():g}, {pictures.max():g}], not in [0, 1] [{path}]")
        pictures = np.rint(pictures * 255).astype(np.uint8)
    if not pictures.size:
        raise DataError(f"{key} of shape {pictures.shape} hold no pictures [{path}]; use another file")
    if pictures.dtype != np.uint8:
        raise DataError(f"{key} are {pictures.dtype}; they must be uint8, or float in [0, 1] [{path}]")
    labels = next((tables[name] for name in LABEL_KEYS if name in tables), None)
    if labels is not None and labels.shape != (len(pictures),):
        raise DataError(f"has labels of shape {labels.shape} for {len(pictures)} pictures [{path}]")
    return pictures, labels


def _csv(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Square gray pictures, one a row, values in [0, 255], with or without a label after them; or before them where a
    header says so."""
    lines = _content(path).decode("utf-8", "replace").splitlines()
    first = bool(lines) and lines[0].lower().startswith("label")
    try:
        rows = np.array([line.split(",") for line in lines[first:]], np.float64)
    except ValueError:
        raise DataError(f"is no table of numbers [{path}]; use another file") from None
    side = int(max(rows.shape[-1], 0) ** 0.5)
    if rows.ndim != 2 or rows.shape[1] - side**2 not in (0, 1) or rows.min() < 0 or rows.max() > 255:
        raise DataError(f"rows are no square gray pictures with values in [0, 255] [{path}]; use another file")
    labels = None
    if rows.shape[1] == side**2 + 1:
        labels, rows = (rows[:, 0], rows[:, 1:]) if first else (rows[:, -1], rows[:, :-1])
        labels = labels.astype(np.int64)
    return rows.astype(np.uint8).reshape(-1, side, side), labels


def squared(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle square of `(H, W, C)` uint8, scaled to `size`."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return scaled(np.ascontiguousarray(picture[top : top + side, left : left + side]), (size, size))
