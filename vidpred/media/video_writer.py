"""Write images as MP4, GIF or a PNG strip, one at a time; files are written atomically."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from vidpred.bounds import LEAST_RATE, MOST_RATE
from vidpred.errors import ConfigError, StorageError
from vidpred.files import atomic_write, check_output
from vidpred.media.render import to_uint8

if TYPE_CHECKING:
    import av.filter

STRIP_IMAGES = 12
SUFFIXES = (".mp4", ".gif", ".png")
GIF_MOST = 50  # images per second; browsers slow down delays of less than 2/100 s to 1/10 s
BT709 = 1  # the code of "BT.709" in H.264's matrix, primaries and transfer fields (ITU-T H.264, table E-3 to E-5)
LIMITED_RANGE = 1


def write_video(path: str | Path, images: Iterable[np.ndarray] | Tensor, rate: float, overwrite: bool = False) -> int:
    """Write images to a video file.

    .mp4 is H.264 in yuv420p (BT.709), which plays in browsers; odd sizes are padded by repeating the edge. .gif loops,
    with a palette of 256 colors for each image, at most 50 images per second. .png is a vertical strip of at most 12
    evenly chosen images. Only the images of a strip are kept in memory.

    Args:
        path: The file.
        images: `(H, W, 3)` uint8, all of one size; errors that they raise are passed on unchanged. Or frames
            `(T, C, H, W)`, a tensor in [0, 1].
        rate: Images per second.
        overwrite: Whether to replace an existing file.

    Returns:
        The number of images.

    Raises:
        ConfigError: The rate or the file's suffix is invalid.
        ValueError: There is no image, or one of another size or type.
        StorageError: The file exists or cannot be written.
    """
    import av

    path = Path(path)
    check_output(path, overwrite, "--output", SUFFIXES)
    exact = exact_rate(rate)
    source = _Source(to_uint8(images) if isinstance(images, Tensor) else images)
    first = next(source, None)
    if first is None:
        raise ValueError("there is no image to write")
    everything = chain([first], source)
    del first  # to free its memory
    writers = {".mp4": _write_mp4, ".gif": _write_gif, ".png": _write_strip}
    try:
        with atomic_write(path) as temporary:
            return writers[temporary.suffix.lower()](temporary, everything, exact)
    except StorageError:
        if isinstance(source.failure, OSError):  # a failure to read the images, not to write them
            raise source.failure from None
        raise
    except av.FFmpegError as error:
        if error is source.failure:
            raise
        raise StorageError(f"cannot encode [{path}]: {error.strerror}; predict at a smaller --size") from None


def exact_rate(rate: float) -> Fraction:
    """Convert a rate to a fraction: 29.97003 is 30000/1001. Raises ConfigError unless 0.001 <= rate <= 1000."""
    if not LEAST_RATE <= rate <= MOST_RATE:  # also true for NaN
        raise ConfigError(f"[--rate {rate}] must be between 0.001 and 1000 images per second")
    return Fraction(rate).limit_denominator(1001)


class _Source:
    """The caller's images, checked; stores the error that they raise, to distinguish it from a failure to write."""

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self.failure: BaseException | None = None
        self._images = iter(images)
        self._shape: tuple[int, ...] | None = None

    def __iter__(self) -> _Source:
        return self

    def __next__(self) -> np.ndarray:
        try:
            image = next(self._images)
        except StopIteration:
            raise
        except BaseException as failure:
            self.failure = failure
            raise
        self._shape = self._shape or image.shape
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.shape != self._shape:
            wanted = f"uint8 (H, W, 3) of one size, the first being {self._shape}"
            raise ValueError(f"images must be {wanted}; this one is {image.dtype} {image.shape}")
        return image


def _write_mp4(path: Path, images: Iterator[np.ndarray], rate: Fraction) -> int:
    import av

    count = 0
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream: Any = None
        for image in images:
            height, width = image.shape[:2]
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")  # yuv420p wants even
            stream = stream or h264_stream(container, image.shape[:2], rate)
            encode_h264(container, stream, image, count, rate)
            count += 1
        container.mux(stream.encode())
    return count


def h264_stream(container: Any, size: tuple[int, ...], rate: Fraction, preset: str = "medium") -> Any:
    """Add a video stream for images of (height, width), both even, to an open MP4 file."""
    stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": preset})
    stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
    codec = stream.codec_context
    codec.thread_count = 1
    # Without these fields players guess the matrix from the size, and colors shift.
    codec.colorspace = codec.color_primaries = codec.color_trc = BT709
    codec.color_range = LIMITED_RANGE
    return stream


def encode_h264(container: Any, stream: Any, image: np.ndarray, number: int, rate: Fraction) -> None:
    """Write an image `(H, W, 3)` uint8 that is shown from `number / rate` seconds on."""
    import av

    rgb = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame = rgb.reformat(format="yuv420p", dst_colorspace="ITU709")
    frame.pts, frame.time_base = number, 1 / rate
    container.mux(stream.encode(frame))


def _write_gif(path: Path, images: Iterator[np.ndarray], rate: Fraction) -> int:
    """Write a GIF with FFmpeg, because Pillow's writer keeps all images in memory."""
    import av

    rate = min(rate, Fraction(GIF_MOST))
    count = 0
    with av.open(str(path), "w", options={"loop": "0"}) as container:
        stream: Any = None
        for image in images:
            if stream is None:
                stream = container.add_stream("gif", rate=rate)
                height, width = image.shape[:2]
                stream.height, stream.width, stream.pix_fmt = height, width, "pal8"
                graph = _palette_graph(height, width, 1 / rate)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = count, 1 / rate
            graph.vpush(frame)
            count += 1
            _drain(graph, container, stream)
        graph.vpush(None)
        _drain(graph, container, stream)
        container.mux(stream.encode())
    return count


def _palette_graph(height: int, width: int, time_base: Fraction) -> av.filter.Graph:
    """Build filters that compute a palette of 256 colors for each image."""
    import av
    import av.filter

    graph = av.filter.Graph()
    pixels = av.VideoFormat("rgb24", width, height)
    source = graph.add_buffer(width=width, height=height, format=pixels, time_base=time_base)
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    colored = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=5")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(colored, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(colored, 0, 1)
    colored.link_to(sink)
    graph.configure()
    return graph


def _drain(graph: av.filter.Graph, container: Any, stream: Any) -> None:
    """Encode the frames that the filters have finished."""
    import av

    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        container.mux(stream.encode(frame))


def _write_strip(path: Path, images: Iterator[np.ndarray], rate: Fraction) -> int:
    """Write every n-th image; n doubles, and every other kept image is dropped, when there are too many."""
    from PIL import Image

    kept: list[np.ndarray] = []
    every, count = 1, 0
    for image in images:
        if count % every == 0:
            kept.append(image.copy())  # the caller may reuse its array
            if len(kept) > STRIP_IMAGES:
                kept, every = kept[::2], every * 2
        count += 1
    Image.fromarray(np.concatenate(kept)).save(path, format="PNG")
    return count
