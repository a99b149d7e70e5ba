"""KTH actions: gray videos of 25 persons, 160x120.

    vidpred prepare kth data/kth
    vidpred prepare kth data/kth data/kth-128 --cache

Persons 1-16 are the training persons and 17-25 the test persons, as in most work on prediction; the validation set is
made of whole training persons. With --cache and 00sequences.txt beside the videos (the set comes with it) only the
listed stretches are taken, in which somebody is seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.splits import Part, whole
from vidpred.data.videos.containers import printable
from vidpred.data.videos.reader import stream_frames
from vidpred.errors import DataError

from .command import main
from .videos import VideoSet, stretch

NAME = re.compile(r"person(?P<person>\d\d)_(?P<action>\w+)_d(?P<scene>\d)_uncomp\.avi")
TEST_PERSONS = range(17, 26)
VALIDATION_PERSONS = (15, 16)
SEQUENCES = "00sequences.txt"


class Kth(VideoSet):
    """Schuldt, Laptev & Caputo, "Recognizing human actions: a local SVM approach", 2004."""

    name: ClassVar[str] = "kth"
    about: ClassVar[str] = "KTH actions, gray, split by persons"
    expects: ClassVar[str] = "<action>/personXX_<action>_dN_uncomp.avi"

    size: int | None = Field(128, ge=1, description="short side of the written frames in pixels; null: as the source")
    channels: Literal[1, 3] = Field(1, description="of the prepared frames: 1 for gray, 3 for colour")
    sequences: bool = Field(True, description="with --cache: take only the stretches that 00sequences.txt lists")
    square: bool = Field(False, description="with --cache: cut the middle square, so that frames are 128x128")

    def parts(self, lengths: Mapping[str, int]) -> list[Part]:
        splits = {name: split for name in lengths if (split := person_split(Path(name).name))}
        if not splits:
            raise self.absent("no video has a name of this set")
        return whole(lengths, splits)

    def items(self) -> list[Item]:
        stretches = read_sequences(self.source) if self.sequences else {}
        items = []
        for item in super().items():
            wanted = stretches.get(Path(item.name).name.removesuffix("_uncomp.avi"))
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
            wanted = stretch(frames, first - position, end - first)
            cuts = [cut - first for cut in item.detail["cuts"] if first < cut < end]
            cut_out = (np.ascontiguousarray(frame[top : top + side, left : left + side]) for frame in wanted)
            yield Clip(name, split, cut_out, item.detail["rate"], cuts=cuts)
            position = end


def person_split(name: str) -> str:
    """The split of a video by its name; empty for a name that is not of this set."""
    match = NAME.fullmatch(name)
    if match is None:
        return ""
    person = int(match["person"])
    return "test" if person in TEST_PERSONS else "validation" if person in VALIDATION_PERSONS else "train"


def read_sequences(source: Path) -> dict[str, list[tuple[int, int]]]:
    """ "person01_boxing_d1" -> the listed (first, last) frames, counted from 1; empty without the file."""
    file = source / SEQUENCES
    found = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if match := re.match(r"(person\d\d_\w+_d\d)\s+frames\s+(.*)", line.strip()):
                stretches = [(int(a), int(b)) for a, b in re.findall(r"(\d+)\s*-\s*(\d+)", match[2])]
                if any(a > b or a < 1 for a, b in stretches) or stretches != sorted(stretches):
                    raise DataError(
                        f"stretches of {match[1]} are out of order [{printable(file)}]; set sequences=false"
                    )
                found[match[1]] = stretches
    return found


if __name__ == "__main__":
    main(Kth.name)
