"""Real pictures for tests: scikit-learn's 1,797 digits of 8x8 pixels, in the files that users have."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """`(1797, 8, 8)` uint8 and `(1797,)` int64."""
    found = load_digits()
    return np.minimum(found.images * 16, 255).astype(np.uint8), found.target.astype(np.int64)


def write_idx(path: Path, values: np.ndarray, compressed: bool = False) -> None:
    """As Yann LeCun's page describes it."""
    content = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    content += values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if compressed else content)


def write_digits(path: Path, count: int = 300) -> Path:
    """An .npz of the first digits with their labels."""
    pictures, labels = digits()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, images=pictures[:count], labels=labels[:count])
    return path
