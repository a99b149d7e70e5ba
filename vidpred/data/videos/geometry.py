"""How stored frames are shown: turned, mirrored, and with square pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

ASPECTS = (0.2, 5.0)  # width over height of a pixel; anything else is a damaged header


class Geometry(NamedTuple):
    """The shape and orientation in which the frames of a video are shown.

    Attributes:
        height: Height after rotation, with square pixels.
        width: Width after rotation, with square pixels.
        rotation: Degrees counter-clockwise, a multiple of 90.
        mirrored: Whether frames are mirrored left to right after the rotation.
    """

    height: int
    width: int
    rotation: int
    mirrored: bool


def geometry_of(frame: Any, stream: Any) -> Geometry:
    """Return the geometry of a decoded frame of a stream: pixels become square by scaling the width."""
    aspect = float(stream.sample_aspect_ratio or 1)
    width = round(frame.width * aspect) if ASPECTS[0] <= aspect <= ASPECTS[1] else frame.width
    rotation, mirrored = _orientation(frame)
    height, width = (frame.height, width) if rotation % 180 == 0 else (width, frame.height)
    return Geometry(height, width, rotation, mirrored)


def _orientation(frame: Any) -> tuple[int, bool]:
    """Return (rotation, mirrored) from the display matrix: stored (x, y) is shown at (a x + c y, b x + d y)."""
    try:
        data = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV knows only some kinds of data next to a frame: not EXIF, several views, ...
        return round(frame.rotation / 90) * 90 % 360, False
    if data is None:
        return 0, False
    (a, b), (c, d) = np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        shown = _flip(np.arange(6).reshape(2, 3), d < 0, a < 0)
    else:
        shown = _flip(np.arange(6).reshape(2, 3).T, b < 0, c < 0)
    for turns in range(4):
        for mirrored in (False, True):
            if np.array_equal(upright(np.arange(6).reshape(2, 3), 90 * turns, mirrored), shown):
                return 90 * turns, mirrored
    raise AssertionError("every orientation is a rotation, mirrored or not")


def _flip(image: np.ndarray, rows: bool, columns: bool) -> np.ndarray:
    return image[:: -1 if rows else 1, :: -1 if columns else 1]


def upright(image: np.ndarray, rotation: int, mirrored: bool) -> np.ndarray:
    """Return a view of an image `(H, W, ...)`, turned and mirrored.

    Args:
        image: The image.
        rotation: Degrees counter-clockwise, a multiple of 90.
        mirrored: Mirror it left to right after the rotation.
    """
    turned = np.rot90(image, rotation // 90)
    return turned[:, ::-1] if mirrored else turned
