"""Reading files of many images: IDX files (MNIST's format), NumPy arrays, CSV files of small images."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from vidpred.data.array_layout import IMAGES, as_uint8, find_layout, has_byte_values, read_entry
from vidpred.errors import UNREADABLE, DataError, counted, one_line, printable, warn
from vidpred.files import MAX_BYTES, open_regular, read_bytes

MAX_BAD_FRACTION = 0.2  # of the images of an array
CHECKED = 1024  # images whose values are checked at once
IMAGE_KEYS, LABEL_KEYS = ("images", "x", "data", "frames"), ("labels", "targets", "y")


def read_table(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the images and the labels of an .npy, .npz, IDX or CSV file.

    Raises:
        DataError: The file cannot be read, or does not contain images.
    """
    if path.name.lower().removesuffix(".gz").endswith((".npy", ".npz")):
        return _arrays(path)
    return (read_idx(path), None) if _content(path)[:2] == b"\0\0" else _csv(path)


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
        content = read_bytes(path, MAX_BYTES)
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except UNREADABLE as error:
        raise DataError(f"cannot read the file ({one_line(error)}) [{printable(str(path))}]") from None


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the images (uint8, or float in [0, 1]) and labels of an .npy or .npz file."""
    try:
        with open_regular(path) as file:  # numpy does not close files that it cannot read
            loaded = np.load(file, allow_pickle=False)
            alone = isinstance(loaded, np.ndarray)
            wanted = () if alone else [key for key in (*IMAGE_KEYS, *LABEL_KEYS) if key in loaded.files]
            tables = {"images": loaded} if alone else {key: read_entry(loaded, key) for key in wanted}
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
    warn(f"{text}; left out [{printable(path)}]")


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
