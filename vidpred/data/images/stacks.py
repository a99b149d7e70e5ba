"""Animations (PNG, WebP, GIF) and stacks of pages (TIFF): image files that are clips."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from vidpred.data.images.decode import UNDECODABLE, Decoded, check_png, decode_page, pages_of
from vidpred.errors import DataError, printable, short
from vidpred.files import MAX_BYTES, open_regular, read_bytes

SUFFIXES = frozenset((".png", ".apng", ".webp", ".gif", ".tif", ".tiff"))
PNG, ANIMATED, DATA = b"\x89PNG\r\n\x1a\n", b"acTL", b"IDAT"
HEAD = 4096  # bytes


class Stack:
    """An open file of one or more frames.

    Attributes:
        path: The file.
        rate: Frames per second, if the file states it.
    """

    def __init__(self, path: Path, white_level: float | None = None) -> None:
        """Open a file.

        Args:
            path: The file.
            white_level: See `decode`.

        Raises:
            DataError: It cannot be read.
        """
        self.path, self._white_level = path, white_level
        try:
            self._content = read_bytes(path, MAX_BYTES)
            check_png(self._content)
            self._opened = Image.open(io.BytesIO(self._content))
            self._pages = pages_of(self._opened)
            duration = self.duration(0)
        except UNDECODABLE as error:
            raise DataError(f"cannot decode the images: {short(error)} [{printable(path)}]") from None
        self.rate = 1000 / duration if duration else None

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the frames in pixels."""
        width, height = self._opened.size
        return height, width

    def duration(self, number: int) -> float | None:
        """Return for how many milliseconds a frame is shown, if the file states it."""
        self._opened.seek(self._pages[number])
        if self._opened.format == "WEBP":  # states it with each frame
            self._opened.load()
        return self._opened.info.get("duration") or None

    def read(self, number: int) -> Decoded:
        """Decode frame `number`, from 0. Raises DataError."""
        try:
            return decode_page(self._content, self._opened, self._pages[number], self._white_level)
        except DataError as error:
            raise DataError(f"{error} [{printable(self.path)}]") from None
        except UNDECODABLE as error:
            raise DataError(f"cannot decode the image: {short(error)} [{printable(self.path)}]") from None


def count_frames(path: Path) -> int:
    """Return the number of frames of an image file, without decoding them; 1 if it cannot be read."""
    if path.suffix.lower() not in SUFFIXES:
        return 1
    try:
        with open_regular(path) as file:
            head = file.read(HEAD)
            before, data, _ = head.partition(DATA)
            if head.startswith(PNG) and data and ANIMATED not in before:
                return 1
            file.seek(0)
            with Image.open(file) as opened:
                return len(pages_of(opened))
    except UNDECODABLE:
        return 1
