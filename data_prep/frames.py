"""Folders of images, one folder per clip, as in KITTI, Caltech Pedestrian and Human3.6M; animations and image stacks.

    vidpred prepare frames kitti/raw data/kitti-128 size=128 rate=10
    vidpred prepare frames caltech data/caltech-128 size=128 rate=30 every=3

Every folder with images is a clip, and so is every animation (PNG, WebP, GIF) and every stack of pages (TIFF). Images
are sorted by the numbers in their names, which may be signed, decimal or hexadecimal. Several views in a folder
(000_left.png, 000_right.png, ...) become one clip each. At an image that cannot be read, a clip ends and another one
begins.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from vidpred.data.images.decode import SUFFIXES, Decoded, decode_image, require_white_level
from vidpred.data.images.stacks import SUFFIXES as STACKS
from vidpred.data.images.stacks import Stack, count_frames
from vidpred.data.prepared.frame_writer import Clip, Item, reason
from vidpred.data.videos.index import find_files, warn_of_unread_files
from vidpred.errors import DataError, printable

from .base import DividedSet, ImageSet, clip_name, parts_by_clip, unlisted
from .command import main
from .frame_order import by_view, in_order

Read = tuple[int, str, Decoded | str]  # number and name of a frame, and the frame or why it cannot be read


class Frames(DividedSet, ImageSet):
    """Folders of images, and image files of several frames."""

    name: ClassVar[str] = "frames"
    about: ClassVar[str] = "folders of images, one folder per clip (KITTI, Caltech, Human3.6M, ...), and image stacks"
    expects: ClassVar[str] = (
        "folders of images at any depth: <clip>/000001.png, <clip>/000002.png, ..., or files of several images"
    )

    rate: float = Field(
        10.0, gt=0, description="Images per second. Unless this is given, animations have the rate that they state."
    )
    every: int = Field(
        1, ge=1, description="Keep every n-th image, for example 3 to reduce 30 images per second to 10."
    )

    def items(self) -> list[Item]:
        found = image_clips(self.source)
        if not found:
            raise self.absent("no images" if self.source.exists() else "no such folder")
        report_readings(found)
        warn_of_unread_files(self.source, SUFFIXES | STACKS, "images")
        items = []
        by_clip = parts_by_clip(self.parts({n: -(-c.frames // self.every) for n, c in found.items()}))
        for name, parts in by_clip.items():
            clip = found[name]
            files = clip.files if clip.is_stack else clip.files[:: self.every]
            detail = {"parts": [[clip_name(part, parts), part.split, part.first, part.end] for part in parts]}
            items.append(Item(name, tuple(map(str, files)), detail=detail | ({"stack": True} if clip.is_stack else {})))
        return items + unlisted(found, by_clip)

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        rate, step, white_level = self.rate, self.every, self.white_level
        if item.detail.get("stack"):
            stack = Stack(Path(item.files[0]), white_level)
            rate = rate if stack.rate is None or "rate" in self.model_fields_set else stack.rate

            def read(number: int) -> Read:
                return attempt(number, f"{item.name} frame {number * step}", lambda: stack.read(number * step))
        else:

            def read(number: int) -> Read:
                path = Path(item.files[number])
                name = f"{item.name}/{path.name}"
                return attempt(number, name, lambda: decode_image(path, white_level, strict=True))

        for name, split, first, end in item.detail["parts"]:
            yield from whole_clips(name, split, map(read, range(first, end)), rate / self.every)


@dataclass(frozen=True)
class ImageClip:
    """The files of a clip.

    Attributes:
        files: Images in temporal order, or one file of several frames.
        frames: Number of frames.
        is_stack: Whether it is one file.
        reading: How the names were read, if another reading gives another order; else "".
    """

    files: list[Path]
    frames: int
    is_stack: bool = False
    reading: str = ""


def image_clips(source: Path) -> dict[str, ImageClip]:
    """Return the clips of a folder by relative path, or of one file of several frames; hidden files are skipped."""
    if source.is_file():
        return {source.name: ImageClip([source], count_frames(source), True)} if count_frames(source) > 1 else {}
    folders: dict[str, list[str]] = defaultdict(list)
    clips = {}
    for name in find_files(source):
        if Path(name).suffix.lower() in SUFFIXES | STACKS:
            if (frames := count_frames(source / name)) > 1:
                clips[name] = ImageClip([source / name], frames, True)
            else:
                folder, _, file = name.rpartition("/")
                folders[folder].append(file)
    own = source.resolve().name
    own = own if own not in folders else "."  # of clips/1.png and clips/clips/1.png, each is a frame of another clip
    for folder in sorted(folders):
        for view, names in by_view(folders[folder]).items():
            ordered, reading = in_order(names)
            reading = f"separate views{f' of {reading}' if reading else ''}" if view else reading
            clip = f"{folder or own}{f' ({view})' if view else ''}"
            clips[clip] = ImageClip([source / folder / file for file in ordered], len(ordered), False, reading)
    return dict(sorted(clips.items()))


def report_readings(clips: dict[str, ImageClip]) -> None:
    """Print how ambiguous names of frames were read, one line per reading."""
    readings: dict[str, list[str]] = defaultdict(list)
    for name, clip in clips.items():
        readings[clip.reading].append(name)
    for reading, names in readings.items():
        if reading:
            where = f"{printable(names[0])}{f' and {len(names) - 1:,} more' if len(names) > 1 else ''}"
            print(f"vidpred: frame names are read as {reading} in {where}", file=sys.stderr)


def attempt(number: int, name: str, decode: Callable[[], Decoded]) -> Read:
    """Decode a frame; return why it cannot be decoded instead of raising an error."""
    try:
        return number, name, decode()
    except DataError as error:
        return number, name, reason(error)


def whole_clips(name: str, split: str, reads: Iterable[Read], rate: float) -> Iterator[Clip]:
    """Yield a clip of every run of frames that can be read and have one size; each must be read before the next."""
    left = iter(reads)
    held: list[Read] = []  # the first frame of the next run
    title = name
    while True:
        skipped: list[tuple[str, str]] = []
        yield Clip(title, split, _run(left, held, skipped, title), rate, separate=True, skipped=skipped)
        if not held:
            return
        title = f"{name} from {held[0][0]}"


def _run(left: Iterator[Read], held: list[Read], skipped: list[tuple[str, str]], title: str) -> Iterator[np.ndarray]:
    """Yield frames up to the first bad one; then skip to the next good one, and hold it.

    Raises:
        DataError: The frames have 16 bits of which at most 12 are used.
    """
    shape = None
    peaks = []
    while (read := held.pop() if held else next(left, None)) is not None:
        _, name, frame = read
        if isinstance(frame, Decoded) and shape in (None, frame.image.shape):
            shape = frame.image.shape
            peaks.append(frame.peak)
            yield frame.image
            continue
        if isinstance(frame, Decoded):
            height, width = frame.image.shape[:2]
            assert shape is not None
            frame = f"is {width}x{height}, but the images before it are {shape[1]}x{shape[0]}"
        skipped.append((name, frame))
        if shape is not None:
            _hold_next(left, held, skipped)
            break
    require_white_level(peaks, title)


def _hold_next(left: Iterator[Read], held: list[Read], skipped: list[tuple[str, str]]) -> None:
    for read in left:
        _, name, frame = read
        if isinstance(frame, Decoded):
            held.append(read)
            return
        skipped.append((name, frame))


if __name__ == "__main__":
    main(Frames.name)
