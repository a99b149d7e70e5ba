"""Bounds of all settings and options, in addition to those of each: numbers that fit every library, possible texts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

MOST_INT, MOST_FLOAT, MOST_TEXT = 2**31 - 1, 3.4e38, 1 << 16  # 32-bit integers and floats; characters
MOST_SEED = 2**32 - 1  # NumPy's
MOST_SECONDS = 1e9  # what threads and sockets can wait
MOST_SIDE = 16_000  # pixels of a frame; of larger squares `is_image_size` is False
LEAST_RATE, MOST_RATE = 0.001, 1000.0  # frames per second
MOST_FRAMES = 1 << 13  # of a window
MOST_FUTURE = 100_000  # predicted frames
MOST_WIDTH = 1 << 14  # feature maps or units of a layer
MOST_LAYERS = 256
MOST_SAMPLES = 1 << 20  # of a batch, or drawn
MOST_PROCESSES = 256
SHOWN = 40  # characters of a value


def is_image_size(height: int, width: int) -> bool:
    """Return whether FFmpeg scales images to this size: with a margin, their bits must be a 32-bit number."""
    return (height + 128) * (width + 128) * 8 <= MOST_INT


def check_bounds(value: Any, name: str | None = None) -> None:
    """Raise ValueError, which begins with a verb, if a value, or one inside it, is out of bounds.

    Args:
        value: The value.
        name: Name of the setting or option.
    """
    if isinstance(value, bool):
        return
    most = MOST_SEED if name == "seed" else MOST_INT
    if isinstance(value, int) and abs(value) > most:
        raise ValueError(f"must be {f'at most {most:,}' if value > 0 else f'at least {-most:,}'}")
    if isinstance(value, float) and not abs(value) <= MOST_FLOAT:
        raise ValueError("must be a finite number" if not math.isfinite(value) else f"must be within {MOST_FLOAT:g}")
    if isinstance(value, str | os.PathLike):
        _check_text(os.fspath(value))
    elif isinstance(value, Mapping):
        for inner in (*value, *value.values()):
            check_bounds(inner)
    elif isinstance(value, Iterable):
        for inner in value:
            check_bounds(inner)


def _check_text(text: str | bytes) -> None:
    text = os.fsdecode(text)
    if "\0" in text:
        raise ValueError("must not contain a NUL character")
    if len(text) > MOST_TEXT:
        raise ValueError(f"must have at most {MOST_TEXT:,} characters")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ValueError("must not contain lone surrogates") from None


def shown(value: Any) -> str:
    """Return a value as text for a message, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "an integer of thousands of digits"
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-8:]}"
