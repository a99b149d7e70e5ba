"""Writes pictures as MP4, GIF or a PNG strip, one at a time; the file appears whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vidpred.errors import ConfigError, StorageError

STRIP_PICTURES = 12
SUFFIXES = (".mp4", ".gif", ".png")


def check_output(path: Path, overwrite: bool) -> None:
    """Raises ConfigError for an unknown suffix, StorageError for a file that exists or a folder that cannot be
    written; to be asked before any long work."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"[--output {path}] ends in none of {', '.join(SUFFIXES)}; choose one of them")
    if path.exists() and not overwrite:
        raise StorageError(f"exists already [{path}]; add --overwrite or choose another --output")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.parent / f".tmp-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(f"cannot write here: {error.strerror} [{path.parent}]; choose another --output") from None


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and is removed when it does not.
    Raises StorageError where the file cannot be written."""
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"cannot write [{path}]: {error.strerror or error}; choose another folder") from None
    finally:
        temporary.unlink(missing_ok=True)


def write_video(path: Path, pictures: Iterable[np.ndarray], rate: float, overwrite: bool = False) -> int:
    """Write `(H, W, 3)` uint8 pictures of one size at `rate` a second; returns how many.

    .mp4 is H.264 in yuv420p, which plays in browsers; .gif loops; .png is a strip of at most 12 of the pictures, one
    below the other. Pictures are not kept, but for the strip's. Raises ValueError without any picture, and what
    `check_output` raises.
    """
    check_output(path, overwrite)
    source = iter(pictures)
    first = next(source, None)
    if first is None:
        raise ValueError("there is no picture to write")
    everything = chain([first], source)
    del first
    writers = {".mp4": _write_mp4, ".gif": _write_gif, ".png": _write_strip}
    with replaced(path) as temporary:
        return writers[path.suffix.lower()](temporary, everything, rate)


def _write_mp4(path: Path, pictures: Iterator[np.ndarray], rate: float) -> int:
    import av

    exact = Fraction(rate).limit_denominator(1000)
    count = 0
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream: Any = None
        for picture in pictures:
            height, width = picture.shape[:2]
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # yuv420p wants even
            if stream is None:
                stream = container.add_stream("libx264", rate=exact, options={"crf": "16", "preset": "medium"})
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
                stream.codec_context.thread_count = 1
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = count, 1 / exact
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode())
    return count


def _write_gif(path: Path, pictures: Iterator[np.ndarray], rate: float) -> int:
    from PIL import Image

    count = 0

    def images() -> Iterator[Image.Image]:
        nonlocal count
        for picture in pictures:
            count += 1
            yield Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE)

    rest = images()
    first = next(rest)
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / rate), loop=0, disposal=1)
    return count


def _write_strip(path: Path, pictures: Iterator[np.ndarray], rate: float) -> int:
    """Keeps every n-th picture, n doubling whenever twice as many are kept as wanted."""
    from PIL import Image

    kept: list[np.ndarray] = []
    every, count = 1, 0
    for picture in pictures:
        if count % every == 0:
            kept.append(picture)
            if len(kept) > STRIP_PICTURES:
                kept, every = kept[::2], every * 2
        count += 1
    Image.fromarray(np.concatenate(kept)).save(path)
    return count
