"""Decoding image files to 8-bit RGB.

Orientation tags are applied, and transparency is composited over black. Samples of more than 8 bits are divided by the
white level: the given one, else the one that the file states (PGM and PPM always, TIFF by MaxSampleValue), else 65535
for unsigned 16-bit integers and 1 for floats. Other types have no natural white level and are refused without a given
one.
"""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from vidpred.data.videos.checksums import PNG_SIGNATURE, wrong_png_checksum
from vidpred.data.videos.limits import Limits
from vidpred.errors import UNREADABLE, DataError, printable, short
from vidpred.files import MAX_BYTES, fingerprint_of, read_bytes

SUFFIXES = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2",
    ".tga",
))  # fmt: skip
TWELVE_BITS = 4095  # 16-bit images that never exceed it hold fewer bits, and would be almost black
JPEG, SCAN_OF_JPEG, END_OF_JPEG = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"
UNLIMITED = 2**31 - 1  # pixels
KNOWN_PROFILES = ("Baseline", "Progressive")  # FFmpeg also decodes lossless JPEG
# FFmpeg's option for decoding all data of a JPEG image but computing only an eighth of its pixels in each direction.
LOW_RESOLUTION = "3"
BIG_TIFF = (b"II+\0", b"MM\0+")
TIFF = (b"II*\0", b"MM\0*", *BIG_TIFF)
UNDECODABLE: tuple[type[Exception], ...] = (*UNREADABLE, Image.DecompressionBombError, cv2.error)
_CONTEXTS = threading.local()  # open decoders
warnings.filterwarnings("ignore", module="PIL")  # about metadata
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # errors are raised
ORIENTATION, WHITE_IS_ZERO, SAMPLE_FORMAT, REDUCED, MAX_SAMPLE, EXTRA_SAMPLES = 274, 262, 339, 254, 281, 338
PLANAR, SAMPLES = 284, 277
SET_WHITE = "set data.video.white_level (white_level for vidpred prepare)"


@dataclass(frozen=True)
class Decoded:
    """An image as decoded.

    Attributes:
        image: `(H, W, 3)` uint8 RGB; of arrays, also `(H, W, 1)`.
        peak: Largest sample of a 16-bit image whose white level is neither given nor stated by the file; else 0.
    """

    image: np.ndarray
    peak: int = 0


def read_image(path: Path, white_level: float | None = None) -> np.ndarray:
    """Read an image as `(H, W, 3)` uint8 RGB.

    Args:
        path: The file.
        white_level: Sample value that is read as white, for samples of more than 8 bits; None: see this module.

    Raises:
        DataError: The file cannot be read or decoded, or its white level is unknown.
    """
    decoded = decode_image(path, white_level, strict=True)
    require_white_level([decoded.peak], path)
    return decoded.image


def image_from_bytes(content: bytes, path: Path) -> np.ndarray:
    """Decode an image inside a file as `(H, W, 3)` uint8 RGB; see `read_image`."""
    decoded = _decoded(path, content, None, Limits.pixels, strict=True)
    require_white_level([decoded.peak], path)
    return decoded.image


def decode_image(
    path: Path, white_level: float | None = None, max_pixels: int = Limits.pixels, strict: bool = False
) -> Decoded:
    """Read an image of a set; `require_white_level` checks the peaks of all of them.

    Args:
        path: The file.
        white_level: Sample value that is read as white, for samples of more than 8 bits; None: see this module.
        max_pixels: Maximum number of pixels.
        strict: Also reject JPEG files with damaged data inside, which decoders show as wrong pixels.

    Raises:
        DataError: The file cannot be read or decoded, or contains several images.
    """
    return _decoded(path, _content(path), white_level, max_pixels, strict)


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"cannot read the image: {error.strerror} [{printable(path)}]") from None


def _decoded(path: Path, content: bytes, white_level: float | None, max_pixels: int, strict: bool) -> Decoded:
    try:
        return _decode(content, white_level, max_pixels, strict)
    except DataError as error:
        raise DataError(f"{error} [{printable(path)}]") from None
    except UNDECODABLE as error:
        why = "no known format" if isinstance(error, UnidentifiedImageError) else short(error)
        raise DataError(f"cannot decode the image: {why} [{printable(path)}]; remove it") from None


def check_image(path: Path, white_level: float | None = None, max_pixels: int = Limits.pixels) -> tuple[int, str]:
    """Check that an image can be read, as `decode_image` does with `strict`.

    A JPEG file that FFmpeg decodes without an error is not decoded a second time.

    Returns:
        Its peak (see `Decoded`) and its fingerprint (see `files.content_fingerprint`).

    Raises:
        DataError: The file cannot be read or decoded, or contains several images.
    """
    content = _content(path)
    intact = content.startswith(JPEG) and _is_intact_jpeg(content, max_pixels)
    peak = 0 if intact else _decoded(path, content, white_level, max_pixels, strict=True).peak
    return peak, fingerprint_of(content)


def require_white_level(peaks: Iterable[int], place: Path | str) -> None:
    """Check that the 16-bit images of a set use more than 12 bits; those of fewer bits would be almost black.

    Raises:
        DataError: They do not.
    """
    peak = max(peaks, default=0)
    if 0 < peak <= TWELVE_BITS:
        raise DataError(
            f"16-bit samples, none above {peak} [{printable(place)}]; {SET_WHITE} to {2 ** peak.bit_length() - 1}, or "
            "to 65535 if the images are dark"
        )


def _decode(content: bytes, white_level: float | None, max_pixels: int, strict: bool) -> Decoded:
    if not content:
        raise DataError("cannot decode the image: the file is empty")
    check_png(content)
    if content.startswith(JPEG) and not strict and (image := _by_opencv(content)) is not None:
        return Decoded(image)
    try:
        opened = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        if not content.startswith(TIFF):
            raise
        return _deep(content, None, white_level)  # for example 64-bit floats
    if opened.width * opened.height > max_pixels:
        raise DataError(f"too large: {opened.width}x{opened.height} pixels exceed data.video.max_pixels={max_pixels}")
    if (count := len(pages_of(opened))) > 1:
        raise DataError(f"{count} images in one file: a clip, not an image; use vidpred prepare frames")
    if _is_deep(opened, content):
        return _deep(content, opened, white_level)
    image = None
    if opened.format in ("JPEG", "MPO"):
        _check_jpeg(content, opened)
        image = _by_opencv(content)
    elif opened.format == "PNG" and not strict and opened.mode in ("L", "RGB") and not opened.has_transparency_data:
        image = _by_opencv(content)
    return Decoded(_composited(ImageOps.exif_transpose(opened)) if image is None else image)


def _by_opencv(content: bytes) -> np.ndarray | None:
    """Decode an opaque image of 8 bits with its orientation; this is faster than Pillow. None: not possible."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def pages_of(opened: Image.Image) -> list[int]:
    """Return the numbers of the frames of an animation or a stack; thumbnails and further views do not count."""
    count = getattr(opened, "n_frames", 1)
    if opened.format == "MPO" or count == 1:
        return [0]
    if opened.format != "TIFF":
        return list(range(count))
    size, pages = opened.size, []
    for number in range(count):
        opened.seek(number)
        if opened.size == size and not opened.tag_v2.get(REDUCED, 0) & 1:  # type: ignore[attr-defined]
            pages.append(number)
    opened.seek(0)
    return pages


def decode_page(content: bytes, opened: Image.Image, number: int, white_level: float | None) -> Decoded:
    """Decode a frame of an animation or a page of a stack.

    Raises:
        DataError: Its white level is unknown.
        OSError: It is damaged.
    """
    opened.seek(number)
    if _is_deep(opened, content):
        return _deep(content, opened, white_level, number)
    return Decoded(_composited(ImageOps.exif_transpose(opened)))


def _composited(image: Image.Image) -> np.ndarray:
    """Return an image of 8 bits over black, `(H, W, 3)` uint8 RGB."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # PGM: Pillow scales to 16 bits by the white level of the file
        values = np.asarray(image).astype(np.float32)
        return _as_rgb(_to_bytes(values, 65535.0))
    if not image.has_transparency_data and image.mode not in ("LA", "RGBA", "PA", "La", "RGBa"):
        return np.array(image.convert("RGB"))
    values = np.asarray(image.convert("RGBA"))
    return over_black(values[..., :3], values[..., 3:])


def over_black(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite colors `(..., 3)` with an opacity `(..., 1)` over black; all are uint8."""
    products: np.ndarray = color.astype(np.uint16) * alpha
    return np.asarray((products + 127) // 255, np.uint8)


def check_png(content: bytes) -> None:
    """Check the checksums of a PNG file. Raises ValueError."""
    if content.startswith(PNG_SIGNATURE) and (wrong := wrong_png_checksum(content)):
        raise ValueError(f"a wrong checksum in {wrong}")


def _check_jpeg(content: bytes, opened: Image.Image) -> None:
    """Check that a JPEG file is complete and intact.

    Raises:
        DataError: Its data are damaged.
        OSError: It is truncated.
    """
    if content.rfind(END_OF_JPEG) < content.rfind(SCAN_OF_JPEG):
        opened.load()  # raises the error if it is truncated
    # Data that FFmpeg decodes only when it may ignore errors are damaged; if it never decodes them, nothing is known.
    if not _decodes(content, "explode") and _decodes(content, "ignore_err"):
        raise DataError("cannot decode the image: damaged JPEG data")


def _is_intact_jpeg(content: bytes, max_pixels: int) -> bool:
    """Return whether a JPEG image of at most this size is complete, of a common kind, and free of errors."""
    end = content.rfind(END_OF_JPEG)
    complete = end >= 0 and content.find(SCAN_OF_JPEG, end) < 0
    return complete and _decodes(content, "explode", max_pixels) in KNOWN_PROFILES


def _decodes(content: bytes, errors: str, max_pixels: int = UNLIMITED) -> str | None:
    """Return the profile of a JPEG image that FFmpeg decodes with this treatment of errors; None if it does not."""
    import av

    contexts, key = _CONTEXTS.__dict__, f"{errors} {max_pixels}"
    if key not in contexts:
        contexts[key] = av.CodecContext.create("mjpeg", "r")
        contexts[key].options = {"err_detect": errors, "max_pixels": str(max_pixels), "lowres": LOW_RESOLUTION}
        contexts[key].thread_count = 1
    try:
        return (contexts[key].profile or "unknown") if contexts[key].decode(av.Packet(content)) else None
    except av.error.FFmpegError:
        del contexts[key]
        return None


def _is_deep(opened: Image.Image, content: bytes) -> bool:
    """Return whether the samples have more than 8 bits or are signed, so that 8 bits need a white level."""
    if opened.format == "PNG":
        return content[24] == 16
    if opened.format != "TIFF":
        return opened.mode == "F"
    tags = opened.tag_v2  # type: ignore[attr-defined]
    return max(tags.get(258, (1,))) > 8 or any(kind != 1 for kind in tags.get(SAMPLE_FORMAT, (1,)))


def _deep(content: bytes, opened: Image.Image | None, white_level: float | None, page: int = 0) -> Decoded:
    """Decode an image whose samples have more than 8 bits or are signed.

    Raises:
        DataError: It cannot be decoded, or its white level is unknown.
    """
    if content.startswith(TIFF) and _is_planar(content, opened):
        raise DataError("planar samples of more than 8 bits; write the channels of each pixel next to each other")
    _, found = cv2.imdecodemulti(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED, None, (page, page + 1))
    if not found:
        if opened is not None:
            opened.load()  # raises OSError if it is truncated
        raise DataError("cannot decode the image; convert its samples to 8 or 16 bits or to 32-bit floats")
    values = found[0][..., None] if found[0].ndim == 2 else found[0]
    if values.shape[2] not in (1, 3, 4):
        raise DataError(f"images of {values.shape[2]} channels; convert them to gray or RGB")
    tags = opened.tag_v2 if opened is not None and opened.format == "TIFF" else {}  # type: ignore[attr-defined]
    stated = tags.get(MAX_SAMPLE)
    white, peak = _white_of(values, white_level, stated[0] if stated else None)
    scaled = _to_bytes(values, white)
    color, alpha = scaled[..., :3], scaled[..., 3:]
    if color.shape[2] == 3:
        color = color[..., ::-1]  # OpenCV's order is BGR
    if tags.get(WHITE_IS_ZERO) == 0:
        color = 255 - color
    if alpha.shape[2] and tags.get(EXTRA_SAMPLES, (2,))[0] != 1:  # 1: already multiplied
        color = over_black(color, alpha)
    transparent = None if opened is None else opened.info.get("transparency")
    if isinstance(transparent, int) and values.shape[2] == 1:  # a gray value of PNG
        color = np.where(values == transparent, np.uint8(0), color)
    # OpenCV applies the orientation of TIFF itself.
    orientation = 1 if opened is None or tags else opened.getexif().get(ORIENTATION, 1)
    return Decoded(_oriented(_as_rgb(color), orientation), peak)


def _is_planar(content: bytes, opened: Image.Image | None) -> bool:
    """Return whether a TIFF image stores its channels one after the other, of which OpenCV decodes only the first."""
    if opened is not None:
        tags = opened.tag_v2  # type: ignore[attr-defined]
    else:
        tags = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if content[:4] in BIG_TIFF else 8])
        file = io.BytesIO(content)
        file.seek(tags.next)
        tags.load(file)
    return bool(tags.get(PLANAR, 1) == 2 and tags.get(SAMPLES, 1) > 1)


def _white_of(values: np.ndarray, given: float | None, stated: float | None) -> tuple[float, int]:
    """Return the white level of samples, and the peak to report.

    Raises:
        DataError: It is unknown, or floats are outside [0, 1].
    """
    is_float = np.issubdtype(values.dtype, np.floating)
    if is_float and not np.isfinite(values).all():
        raise DataError("samples that are not finite numbers; replace them")
    if given is not None:
        return given, 0
    low, high = values.min(), values.max()
    if is_float and low >= 0 and high <= 1:
        return 1.0, 0
    if values.dtype == np.uint16:
        known = stated is not None and stated >= high and math.log2(stated + 1).is_integer()
        return (float(stated or 0), 0) if known else (65535.0, int(high))
    what = f"{values.dtype} samples in [{low:g}, {high:g}]"
    raise DataError(f"{what}, of which none is known to be white; {SET_WHITE}")


def _to_bytes(values: np.ndarray, white: float) -> np.ndarray:
    """Scale samples so that `white` becomes 255, rounded; values outside [0, white] are clipped."""
    if values.dtype == np.uint8:
        return values
    scaled: np.ndarray = values.astype(np.float64) * (255 / white)
    return np.asarray(np.rint(np.clip(scaled, 0, 255)), np.uint8)


def _as_rgb(image: np.ndarray) -> np.ndarray:
    image = image[..., None] if image.ndim == 2 else image
    return np.ascontiguousarray(np.repeat(image, 3, 2) if image.shape[2] == 1 else image)


def _oriented(image: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
