"""The axes of arrays of frames and images, and their values.

The letters of a layout name the axes: N clips or images, T time, H height, W width, C channels (1 gray, 3 RGB, 4 RGBA).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np

from vidpred.errors import UNREADABLE, ConfigError, DataError, counted, one_line

# Usual layouts by number of axes. With five, the first axis holds the clips.
CLIPS = {3: ("THW", "HWT"), 4: ("THWC", "TCHW", "CTHW", "NTHW", "TNHW"), 5: ("NTHWC", "NTCHW", "NCTHW")}
IMAGES = {3: ("NHW",), 4: ("NHWC", "NCHW")}
CHANNELS = {1: "gray", 3: "RGB", 4: "RGBA"}
SMALLEST = 5  # an axis of fewer values is not the height or width of an image


def find_layout(shape: Sequence[int], usual: dict[int, tuple[str, ...]], where: str, mend: str) -> str:
    """Return the letters of an array's axes if the shape leaves no doubt.

    Args:
        shape: Shape of the array.
        usual: `CLIPS` or `IMAGES`.
        where: Name of the file, for errors.
        mend: What to do if none fits, for errors.

    Raises:
        DataError: No usual layout fits.
        ConfigError: Several fit, in which the frames differ.
    """
    fitting = [layout for layout in usual.get(len(shape), ()) if _fits(layout, shape)]
    if not fitting:
        options = ", ".join(layout for layouts in usual.values() for layout in layouts)
        raise DataError(f"an array of shape {tuple(shape)} fits none of {options} [{where}]; {mend}")
    if len(fitting) > 1:
        readings = " or ".join(f"{layout} ({describe(layout, shape)})" for layout in fitting)
        raise ConfigError(
            f"an array of shape {tuple(shape)} can be read as {readings} [{where}]; set layout={fitting[0]} or "
            "another of them"
        )
    return fitting[0]


def check_layout(layout: str, shape: Sequence[int], where: str) -> None:
    """Check that a shape has the axes of a layout.

    Args:
        layout: A letter per axis, such as NTHWC.
        shape: The sizes.
        where: File or array, for the error.

    Raises:
        DataError: It has not.
    """
    sizes = dict(zip(layout, shape, strict=False))
    if len(layout) != len(shape) or sizes.get("C", 1) not in CHANNELS or 0 in shape:
        raise DataError(f"an array of shape {tuple(shape)} is not {layout} with C of 1, 3 or 4 [{where}]")


def describe(layout: str, shape: Sequence[int]) -> str:
    """Return what a layout makes of a shape: "20 clips of 50 gray frames of 64x64"."""
    sizes = dict(zip(layout, shape, strict=True))
    color, size = CHANNELS[sizes.get("C", 1)], f"of {sizes['W']}x{sizes['H']}"
    if "T" not in sizes:
        return f"{counted(sizes['N'], f'{color} image')} {size}"
    return f"{counted(sizes.get('N', 1), 'clip')} of {counted(sizes['T'], f'{color} frame')} {size}"


def print_readings(found: Iterable[tuple[str, str, Sequence[int]]]) -> None:
    """Print one line to stderr for each layout that was found for (file, layout, shape)."""
    examples: dict[str, list[tuple[str, Sequence[int]]]] = {}
    for name, layout, shape in found:
        examples.setdefault(layout, []).append((name, shape))
    for layout, files in examples.items():
        name, shape = files[0]
        more = f", and {len(files) - 1:,} more in the same way" if len(files) > 1 else ""
        images = "" if "N" in layout else "; for separate images use vidpred prepare images"
        text = f"{name}: shape {tuple(shape)} is read as {layout}, {describe(layout, shape)}{more}{images}"
        print(f"vidpred: {text}", file=sys.stderr)


def _fits(layout: str, shape: Sequence[int]) -> bool:
    sizes = dict(zip(layout, shape, strict=True))
    if sizes.get("C", 1) not in CHANNELS or min(sizes["H"], sizes["W"]) < SMALLEST or 0 in shape:
        return False
    if layout == "HWT" and not (sizes["H"] == sizes["W"] != sizes["T"]):
        return False  # as MATLAB stores square frames
    if "N" in layout and sizes.get("T", 2) < 2:
        return False
    # With one clip or one channel, these mean the same as NTHW and TCHW.
    return not ((layout == "TNHW" and sizes["N"] == 1) or (layout == "CTHW" and sizes["C"] == 1))


def one_clip(frames: np.ndarray, layout: str, number: int) -> np.ndarray:
    """Return one clip of an array as a view, `(T, H, W, C)`.

    Args:
        frames: The array.
        layout: A letter per axis, such as NTHWC.
        number: Index of the clip along N; unused without N.
    """
    if "N" in layout:
        index = layout.index("N")
        frames = frames[(slice(None),) * index + (number,)]
        layout = layout.replace("N", "")
    if "C" not in layout:
        frames, layout = frames[..., None], layout + "C"
    return frames.transpose([layout.index(letter) for letter in "THWC"])


def as_uint8(frame: np.ndarray, as_bytes: bool = False) -> np.ndarray:
    """Convert a `(..., C)` frame to gray or RGB uint8; transparent pixels are composited over black.

    Bool and float in [0, 1] are multiplied by 255; integers in [0, 255] are kept.

    Args:
        frame: The values.
        as_bytes: Whether floats are bytes, see `has_byte_values`.

    Raises:
        DataError: The values have another type or range.
    """
    as_bytes = as_bytes and bool(np.isfinite(frame).all() and (frame == np.rint(frame)).all())
    values = _bytes(frame.astype(np.int64) if as_bytes else frame)
    if values.shape[-1] == 4:
        values = ((values[..., :3].astype(np.uint16) * values[..., 3:] + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(values)


def has_byte_values(blocks: Iterable[np.ndarray]) -> bool:
    """Return whether float values are bytes: all are whole numbers up to 255, and some are above 1.

    Blocks after the first one with a value above 1 are not checked here.
    """
    for block in blocks:
        if not np.issubdtype(block.dtype, np.floating):
            return False
        if block.size and block.max() > 1:
            return bool(block.max() <= 255 and (block == np.rint(block)).all())
    return False


def _bytes(frame: np.ndarray) -> np.ndarray:
    if frame.dtype == np.uint8:
        return frame
    if frame.dtype == np.bool_:
        return frame.astype(np.uint8) * 255
    floats = np.issubdtype(frame.dtype, np.floating)
    if not floats and not np.issubdtype(frame.dtype, np.integer):
        raise DataError(f"values of type {frame.dtype}; they must be uint8, or float from 0 to 1")
    if floats and not np.isfinite(frame).all():
        raise DataError("values that are not finite numbers; repair or remove them")
    low, high = frame.min(), frame.max()
    if not floats:
        if low < 0 or high > 255:
            raise DataError(f"{frame.dtype} values from {low} to {high}; scale them to [0, 255] as uint8")
        return frame.astype(np.uint8)
    if low < 0 or high > 1:
        raise DataError(f"float values from {low:g} to {high:g}; scale them to [0, 1], or use uint8")
    return (frame * 255 + 0.5).astype(np.uint8)


def read_entry(archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """Return an array of an .npz file. Raises ValueError, which names the array, if it is damaged."""
    try:
        found: np.ndarray = archive[name]
        return found
    except UNREADABLE as error:
        raise ValueError(f"array {name!r}: {one_line(error)}") from None
