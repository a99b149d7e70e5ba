"""KTH actions: gray videos of 25 persons, 160x120.

    vidpred prepare kth data/kth
    vidpred prepare kth data/kth data/kth-128 --cache

Persons 1-16 are for training and persons 17-25 for testing, as in most work on prediction; two of the training persons
form the validation set. With --cache and 00sequences.txt (part of the set) next to the videos, only the listed
sequences are used, in which a person is visible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from vidpred.bounds import MOST_SIDE
from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.splits import Part, whole_clips
from vidpred.data.videos.reader import stream_frames
from vidpred.errors import DataError, printable
from vidpred.files import read_bytes

from .command import main
from .videos import VideoSet, take_frames

NAME = re.compile(r"person(?P<person>\d\d)_(?P<action>\w+)_d(?P<scene>\d)_uncomp\.avi")
TEST_PERSONS = range(17, 26)
VALIDATION_PERSONS = (15, 16)
SEQUENCES = "00sequences.txt"


class Kth(VideoSet):
    """Schuldt, Laptev & Caputo, "Recognizing human actions: a local SVM approach", 2004."""

    name: ClassVar[str] = "kth"
    about: ClassVar[str] = "KTH actions, gray, split by persons"
    expects: ClassVar[str] = "<action>/personXX_<action>_dN_uncomp.avi"

    size: int | None = Field(
        128,
        ge=1,
        le=MOST_SIDE,
        description="Short side of the prepared frames in pixels. null: the size of the source.",
    )
    channels: Literal[1, 3] = Field(1, description="Channels of the prepared frames: 1 for gray, 3 for color.")
    sequences: bool = Field(True, description="With --cache, use only the sequences listed in 00sequences.txt.")
    square: bool = Field(False, description="With --cache, crop the center square, so that frames are 128x128.")

    def parts(self, lengths: Mapping[str, int]) -> list[Part]:
        splits = {name: split for name in lengths if (split := person_split(Path(name).name))}
        if not splits:
            raise self.absent("no video is named as in this set")
        return whole_clips(lengths, splits)

    def items(self) -> list[Item]:
        sequences = read_sequences(self.source) if self.sequences else {}
        items = []
        for item in super().items():
            wanted = sequences.get(Path(item.name).name.removesuffix("_uncomp.avi"))
            if item.bad or wanted is None:
                items.append(item)
                continue
            ((name, split, _, end),) = item.detail["parts"]
            numbered = enumerate(wanted, 1)
            parts = [[f"{name} [{number}]", split, a - 1, min(b, end)] for number, (a, b) in numbered if a <= end]
            items.append(Item(item.name, item.files, detail={**item.detail, "parts": parts}))
        return items

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        if not self.square:
            yield from super().clips(item, size)
            return
        height, width = item.detail["height"], item.detail["width"]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        frames = stream_frames(Path(item.files[0]), None, self.channels)
        position = 0
        for name, split, first, end in item.detail["parts"]:
            wanted = take_frames(frames, first - position, end - first)
            cuts = [cut - first for cut in item.detail["cuts"] if first < cut < end]
            squares = (np.ascontiguousarray(frame[top : top + side, left : left + side]) for frame in wanted)
            yield Clip(name, split, squares, item.detail["rate"], cuts=cuts)
            position = end


def person_split(name: str) -> str:
    """Return the split of a video by its name; empty if it is not named as in this set."""
    match = NAME.fullmatch(name)
    if match is None:
        return ""
    person = int(match["person"])
    return "test" if person in TEST_PERSONS else "validation" if person in VALIDATION_PERSONS else "train"


def read_sequences(source: Path) -> dict[str, list[tuple[int, int]]]:
    """Read the (first, last) frames, counted from 1, of each video ("person01_boxing_d1"); empty without the file.

    Raises:
        DataError: The sequences of a video are out of order, or overlap.
    """
    file = source / SEQUENCES
    found = {}
    if file.is_file():
        for line in read_bytes(file).decode(errors="replace").splitlines():
            if match := re.match(r"(person\d\d_\w+_d\d)\s+frames\s+(.*)", line.strip()):
                sequences = [(int(a), int(b)) for a, b in re.findall(r"(\d+)\s*-\s*(\d+)", match[2])]
                overlap = any(before[1] >= first for before, (first, _) in pairwise(sequences))
                if overlap or any(a > b or a < 1 for a, b in sequences):
                    raise DataError(
                        f"sequences of {match[1]} are out of order, or overlap [{printable(file)}]; set sequences=false"
                    )
                found[match[1]] = sequences
    return found


if __name__ == "__main__":
    main(Kth.name)
