"""The index of a folder of images: each file is decoded once, and the results are stored as JSON Lines.

<folder>/.vidpred/images.jsonl holds the format version and the settings in its first line, and [path, bytes, mtime_ns,
reason, peak, fingerprint] of one image in each further line, with an empty reason if it can be read. A line is valid
while the file's size and modification time are unchanged. If the folder is read-only, the index is stored in the user's
cache folder.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from vidpred.data.files_unchanged import look_once
from vidpred.data.images.decode import SUFFIXES, check_image, require_white_level
from vidpred.data.images.files import ImageFiles, find_images
from vidpred.data.settings import DataSettings
from vidpred.data.videos.index import (
    SAVE_SECONDS,
    first_rows,
    index_file,
    load_index,
    warn_of_unread_files,
    write_bad_files,
    write_if_possible,
)  # fmt: skip
from vidpred.errors import DataError, warn
from vidpred.files import parse_json, with_checksum
from vidpred.processes.memory import without_collection
from vidpred.processes.pool import available_cores

VERSION = "vidpred images 2"
BLOCK = 256  # images that a thread decodes at once


class Checked(NamedTuple):
    """What a check of a file showed.

    Attributes:
        bytes: File size.
        mtime_ns: Time of the last modification.
        reason: Why it cannot be used; "" if it can.
        peak: See `decode.Decoded`.
        fingerprint: See `files.content_fingerprint`; "" if it cannot be used.
    """

    bytes: int
    mtime_ns: int
    reason: str
    peak: int
    fingerprint: str


@dataclass(frozen=True)
class Scan:
    """A scan of files below `root`.

    Attributes:
        root: Folder of images.
        white_level: See `data.video.white_level`.
        max_pixels: See `data.video.max_pixels`.
        progress: Show a progress bar.
    """

    root: Path
    white_level: float | None
    max_pixels: int
    progress: bool = field(default=False, compare=False)

    def run(self, names: Sequence[str]) -> dict[str, Checked]:
        """Decode files that are new or changed since the last scan, and return the results of all.

        Args:
            names: Relative paths.
        """
        prefix = os.path.join(self.root, "")
        with without_collection():
            stamps = {name: _stamp(prefix + name) for name in names}
        indexed = load_index(index_file(self.root, "images"), self._header, _parsed)
        found = {name: indexed[name] for name in stamps if name in indexed and stamps[name] == indexed[name][:2]}
        todo = [name for name in stamps if name not in found]
        saved, lines = time.monotonic(), dict[str, str]()
        for name, reason, peak, fingerprint in self._decode_all(todo):
            found[name] = Checked(*stamps[name], reason, peak, fingerprint)
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save(found, lines)
                saved = time.monotonic()
        if todo:
            self._save(found, lines)
        return found

    def _decode_all(self, names: Sequence[str]) -> Iterator[tuple[str, str, int, str]]:
        blocks = [names[first : first + BLOCK] for first in range(0, len(names), BLOCK)]
        hidden = not (self.progress and len(names) > BLOCK)
        with (
            ThreadPoolExecutor(available_cores()) as pool,  # decoders release the GIL
            tqdm(total=len(names), desc="check images", unit="file", disable=hidden) as bar,
        ):
            for block in pool.map(self._decode_block, blocks):
                yield from block
                bar.update(len(block))

    def _decode_block(self, names: Sequence[str]) -> list[tuple[str, str, int, str]]:
        return [(name, *self._decode(name)) for name in names]

    def _decode(self, name: str) -> tuple[str, int, str]:
        path = self.root / name
        try:
            return "", *check_image(path, self.white_level, self.max_pixels)
        except DataError as error:
            return str(error).rsplit(" [", 1)[0], 0, ""

    @property
    def _header(self) -> list[Any]:
        return [VERSION, self.white_level, self.max_pixels]

    def _save(self, found: Mapping[str, Checked], lines: dict[str, str]) -> None:
        """Write the index, whose lines `lines` keeps; if it cannot be stored, it is built again next time."""
        lines |= {name: json.dumps([name, *found[name]]) for name in found.keys() - lines.keys()}
        text = with_checksum([json.dumps(self._header), *(lines[name] for name in sorted(lines))])
        write_if_possible(index_file(self.root, "images"), text)


def _parsed(lines: list[str]) -> dict[str, Checked]:
    rows = parse_json(f"[{','.join(lines)}]")
    if any([*map(type, row)] != [str, int, int, str, int, str] for row in rows):
        raise ValueError("values of other types")
    return {name: Checked(*checked) for name, *checked in rows}


def _stamp(file: str) -> tuple[int, int]:
    try:
        status = os.stat(file)
    except OSError:  # the decoder finds out why
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _checked(scan: Scan) -> tuple[ImageFiles | None, dict[str, Checked]]:
    """Find images, and check them if each is a file."""
    images = find_images(scan.root)
    if images is None or images.files is None:
        return images, {}
    found = scan.run(images.names)
    fingerprints = [found[name].fingerprint for name in images.names]
    return replace(images, white_level=scan.white_level, fingerprints=fingerprints), found


def usable_images(settings: DataSettings, progress: bool = False) -> ImageFiles | None:
    """Return the images of `data.root` without those that cannot be read; None if there are none.

    Skipped images are listed in bad_images.csv next to the index.

    Args:
        settings: Data settings; see `data.video.on_bad_video`, `white_level`, `max_pixels` and `data.max_bad_fraction`.
        progress: Show a progress bar, and warn about skipped images.

    Raises:
        DataError: Too many images cannot be read or, if `on_bad_video` is "error", one cannot.
    """
    root, video = Path(str(settings.root)), settings.video_settings
    scan = Scan(root, video.white_level, video.max_pixels, progress)
    images, found = look_once(scan, lambda: _checked(scan))
    if images is None or images.files is None:
        return images
    if progress:
        warn_of_unread_files(root, SUFFIXES, "images")
    bad = [(name, found[name].reason) for name in images.names if found[name].reason]
    total, what = len(images), f"{len(bad):,} of {len(images):,} images cannot be read"
    if bad and video.on_bad_video == "error":
        raise DataError(f"{what} [{root}]: {first_rows(bad)}; remove them or set data.video.on_bad_video=skip")
    if len(bad) > settings.allowed_bad_fraction * total or len(bad) == total:
        raise DataError(f"{what} [{root}]: {first_rows(bad)}; remove them or raise data.max_bad_fraction")
    require_white_level((found[name].peak for name in images.names), root)
    listing = index_file(root, "images").with_name("bad_images.csv")
    write_bad_files(listing, bad)
    if not bad:
        return images
    if progress:
        warn(f"{what} and are skipped: {first_rows(bad)} [{listing}]")
    return images.selected(np.array([i for i, name in enumerate(images.names) if not found[name].reason]))
