"""Image files of every kind: orientation, transparency over black, deep samples, and damaged files."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vidpred.data.images.decode import check_image, decode_image, read_image
from vidpred.errors import DataError
from vidpred.files import content_fingerprint

HEIGHT, WIDTH = 24, 32
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
GRAY = (COLUMNS * 255 // (WIDTH - 1)).astype(np.uint8)
COLOR = np.stack([GRAY, ROWS * 255 // (HEIGHT - 1), np.full_like(GRAY, 64)], 2).astype(np.uint8)
OPAQUE = np.where(COLUMNS < WIDTH // 2, 0, 255).astype(np.uint8)
HIDDEN = np.where(OPAQUE[..., None] == 0, np.uint8([255, 0, 255]), COLOR).astype(np.uint8)  # magenta must not show
BLACKED = np.where(OPAQUE[..., None] == 0, 0, COLOR).astype(np.uint8)
GRAY_BLACKED = np.where(OPAQUE == 0, 0, GRAY).astype(np.uint8)
GRAY_ALPHA = np.dstack([np.where(OPAQUE == 0, 200, GRAY), OPAQUE]).astype(np.uint8)
RGBA, HALF = np.dstack([HIDDEN, OPAQUE]), np.dstack([COLOR, np.full_like(GRAY, 128)])
Writer = Callable[[Path], object]
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # about damaged metadata


def pil(array: np.ndarray, mode: str | None = None, **options: object) -> Writer:
    return lambda path: (Image.fromarray(array).convert(mode) if mode else Image.fromarray(array)).save(path, **options)


def opencv(array: np.ndarray) -> Writer:
    return lambda path: cv2.imwrite(str(path), array)


def text(content: bytes) -> Writer:
    return lambda path: path.write_bytes(content)


def saved(image: np.ndarray, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind, **options)
    return content.getvalue()


def oriented(orientation: int, image: np.ndarray = COLOR, **options: object) -> Writer:
    exif = Image.Exif()
    exif[0x112] = orientation
    return pil(image, exif=exif, **options)


def clear_index(path: Path) -> None:
    """Write a palette of grays whose index 0 is transparent magenta."""
    image = Image.fromarray(np.where(OPAQUE == 0, 0, 1 + GRAY // 8).astype(np.uint8)).convert("P")
    image.putpalette([255, 0, 255, *(value for level in range(255) for value in (min(255, level * 8),) * 3)])
    image.save(path, transparency=0)


def tiff(samples: bytes, bits: int, kind: int = 1, photometric: int = 1, extra: int | None = None) -> bytes:
    """Return an uncompressed TIFF; with `extra` (kind of the alpha channel), of four channels."""
    channels = 1 if extra is None else 4
    entries = [(256, WIDTH), (257, HEIGHT), (258, bits), (259, 1), (262, photometric), (273, 200), (277, channels),
               (278, HEIGHT), (279, len(samples)), (339, kind)]  # fmt: skip
    if extra is not None:
        entries = [*entries[:2], (258, bits), *entries[3:9], (338, extra), (339, kind)]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0)
    return head.ljust(200, b"\0") + samples


def twelve_bits() -> bytes:
    """Return rows of two samples in three bytes, which range over 0 to 4095."""
    levels = (GRAY.astype(np.uint16) << 4 | GRAY >> 4).astype(">u2")
    return np.packbits(np.unpackbits(levels.view(np.uint8).reshape(HEIGHT, WIDTH, 2), axis=2)[..., 4:]).tobytes()


DEEP = GRAY.astype(np.uint16) * 257
PNM = {
    "maxval 100.pgm": (b"P5\n32 24\n100\n" + np.rint(GRAY / 2.55).astype(np.uint8).tobytes(), GRAY, 2),
    "maxval 4095.pgm": (b"P5\n32 24\n4095\n" + np.rint(GRAY * (4095 / 255)).astype(">u2").tobytes(), GRAY, 1),
    "maxval 1023.ppm": (b"P6\n32 24\n1023\n" + np.rint(COLOR * (1023 / 255)).astype(">u2").tobytes(), COLOR, 1),
    "maxval 65535.ppm": (b"P6\n32 24\n65535\n" + (COLOR.astype(">u2") * 257).astype(">u2").tobytes(), COLOR, 1),
    "text.ppm": (b"P3\n32 24\n255\n" + " ".join(map(str, COLOR.ravel())).encode(), COLOR, 0),
    "text.pgm": (
        b"P2\n32 24\n4095\n" + " ".join(str(v * 4095 // 255) for v in GRAY.ravel().tolist()).encode(),
        GRAY,
        1,
    ),
}
EXIF = {2: COLOR[:, ::-1], 3: COLOR[::-1, ::-1], 4: COLOR[::-1], 5: COLOR.transpose(1, 0, 2), 6: np.rot90(COLOR, -1),
        7: COLOR.transpose(1, 0, 2)[::-1, ::-1], 8: np.rot90(COLOR)}  # fmt: skip


def mean_of(image: np.ndarray) -> np.ndarray:
    """Return the mean of the first two channels, which differs at every pixel."""
    return np.uint8((image[..., 0].astype(int) + image[..., 1]) // 2)


# Name: how to write it, the expected pixels, and the largest difference.
READABLE: dict[str, tuple[Writer, np.ndarray, int]] = {
    "rgb.png": (pil(COLOR), COLOR, 0),
    "gray.png": (pil(GRAY), GRAY, 0),
    "one bit.png": (pil(GRAY > 127), (GRAY > 127) * np.uint8(255), 0),
    "one bit.tif": (pil(GRAY > 127), (GRAY > 127) * np.uint8(255), 0),
    "rgba.png": (pil(RGBA), BLACKED, 0),
    "rgba half.png": (pil(HALF), np.rint(COLOR * (128 / 255)).astype(np.uint8), 0),
    "rgba 16.png": (opencv(np.dstack([HIDDEN[..., ::-1], OPAQUE]).astype(np.uint16) * 257), BLACKED, 0),
    "rgba.webp": (pil(RGBA, lossless=True, exact=True), BLACKED, 0),
    "rgba.tif": (pil(RGBA), BLACKED, 0),
    "premultiplied.tif": (text(tiff(np.dstack([COLOR // 2, HALF[..., 3]]).tobytes(), 8, 1, 2, 1)), COLOR // 2, 1),
    "premultiplied 16.tif": (
        text(tiff((np.dstack([COLOR // 2, HALF[..., 3]]).astype(np.uint16) * 257).tobytes(), 16, 1, 2, 1)),
        COLOR // 2, 1,
    ),
    "gray alpha.png": (pil(GRAY_ALPHA), GRAY_BLACKED, 0),
    "gray alpha.tif": (pil(GRAY_ALPHA), GRAY_BLACKED, 0),
    "palette.png": (clear_index, GRAY_BLACKED // 8 * 8, 0),
    "transparent color.png": (
        pil(COLOR, transparency=tuple(COLOR[5, 5].tolist())),
        np.where((COLOR[5, 5] == COLOR).all(2, keepdims=True), 0, COLOR), 0,
    ),
    "transparent gray.png": (pil(GRAY, transparency=int(GRAY[0, 9])), np.where(GRAY[0, 9] == GRAY, 0, GRAY), 0),
    "transparent 16.png": (pil(DEEP, transparency=int(DEEP[0, 9])), np.where(GRAY[0, 9] == GRAY, 0, GRAY), 0),
    "16.png": (pil(DEEP), GRAY, 0),
    "16 color.png": (opencv(COLOR[..., ::-1].astype(np.uint16) * 257), COLOR, 0),
    "16.tif": (pil(DEEP), GRAY, 0),
    "white is zero.tif": (text(tiff((255 - GRAY).tobytes(), 8, photometric=0)), GRAY, 0),
    "white is zero 16.tif": (text(tiff((65535 - DEEP).tobytes(), 16, photometric=0)), GRAY, 0),
    "12 packed.tif": (text(tiff(twelve_bits(), 12)), GRAY, 1),
    "float.tif": (pil((GRAY / 255).astype(np.float32)), GRAY, 0),
    "double.tif": (text(tiff((GRAY / 255).tobytes(), 64, 3)), GRAY, 0),
    "float color.tif": (opencv((COLOR[..., ::-1] / 255).astype(np.float32)), COLOR, 0),
    "cmyk.jpg": (pil(COLOR, "CMYK", quality=98), COLOR, 8),
    "cmyk.tif": (pil(COLOR, "CMYK"), COLOR, 1),
    "gray.jpg": (pil(GRAY, quality=98), GRAY, 4),
    "progressive.jpg": (pil(COLOR, quality=98, progressive=True, subsampling=0), COLOR, 8),
    "jpeg named.png": (pil(COLOR, format="JPEG", quality=98, subsampling=0), COLOR, 8),
    "trailing.jpg": (text(saved(COLOR, "JPEG", quality=98, subsampling=0) + b"more"), COLOR, 8),
    **{name: (text(content), expected, most) for name, (content, expected, most) in PNM.items()},
    **{f"exif {kind}.{end}": (oriented(kind), image, 0) for kind, image in EXIF.items() for end in ("png", "tif")},
    **{f"exif {kind} 16.{end}": (oriented(kind, COLOR[..., 1].astype(np.uint16) * 128 + DEEP // 2), mean_of(image), 1)
       for kind, image in EXIF.items() for end in ("png", "tif")},
    **{f"exif {kind}.jpg": (oriented(kind, quality=98, subsampling=0), image, 8) for kind, image in EXIF.items()},
    **{f"exif {kind}.webp": (oriented(kind, lossless=True), image, 0) for kind, image in EXIF.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", READABLE)
def test_what_other_tools_read_is_read(name: str, tmp_path: Path) -> None:
    write, expected, most = READABLE[name]
    write(tmp_path / name)
    expected = np.repeat(expected[..., None], 3, 2) if expected.ndim == 2 else expected
    for image in (read_image(tmp_path / name), decode_image(tmp_path / name).image):  # checked, and at full speed
        assert image.shape == expected.shape
        assert image.dtype == np.uint8
        assert np.abs(image.astype(int) - expected).max() <= most


UNKNOWN_WHITE: dict[str, tuple[Writer, float]] = {
    "12 in 16.png": (pil(GRAY.astype(np.uint16) * 16), 4080),
    "12 in 16.tif": (pil(GRAY.astype(np.uint16) * 16), 4080),
    "float 255.tif": (pil(GRAY.astype(np.float32)), 255),
    "int32.tif": (pil(GRAY.astype(np.int32)), 255),
    "int16.tif": (text(tiff((GRAY.astype(np.int16) * 128).tobytes(), 16, 2)), 32640),
    "uint32.tif": (text(tiff((GRAY.astype(np.uint32) * 1000).tobytes(), 32)), 255000),
    "int8.tif": (text(tiff((GRAY // 2).astype(np.int8).tobytes(), 8, 2)), 127),
}


@pytest.mark.parametrize("name", UNKNOWN_WHITE)
def test_an_unknown_white_level_is_asked_for(name: str, tmp_path: Path) -> None:
    write, white = UNKNOWN_WHITE[name]
    write(tmp_path / name)
    with pytest.raises(DataError, match=r"data.video.white_level"):
        read_image(tmp_path / name)
    assert np.abs(read_image(tmp_path / name, white)[..., 0].astype(int) - GRAY).max() <= 2


def damaged() -> dict[str, bytes]:
    """Return damaged files of every kind."""
    image = cv2.resize(COLOR, (200, 200))
    whole = {
        "jpg": saved(image, "JPEG", quality=90), "progressive.jpg": saved(image, "JPEG", progressive=True),
        "png": saved(image, "PNG"), "bmp": saved(image, "BMP"), "webp": saved(image, "WEBP"),
        "ppm": saved(image, "PPM"), "tif": saved(image, "TIFF", compression="tiff_lzw"),
        "plain.tif": saved(image, "TIFF"), "deep.png": saved(image[..., 0].astype(np.uint16) * 257, "PNG"),
    }  # fmt: skip
    files = {f"cut.{name}": content[: len(content) // 2] for name, content in whole.items()}
    flipped = bytearray(whole["png"])
    flipped[len(flipped) // 2] ^= 0xFF
    zeros = bytearray(whole["jpg"])
    zeros[len(zeros) // 2 : len(zeros) * 3 // 4] = bytes(len(zeros) * 3 // 4 - len(zeros) // 2)
    return files | {
        "flipped.png": bytes(flipped),
        "zeros.jpg": bytes(zeros),
        "empty.png": b"",
        "page.jpg": b"<html>404",
    }


@pytest.mark.parametrize("name", damaged())
def test_damaged_files_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(damaged()[name])
    with pytest.raises(DataError, match="cannot decode the image") as error:
        read_image(tmp_path / name)
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def test_values_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    pil(np.where(COLUMNS > 9, np.nan, 0.5).astype(np.float32))(tmp_path / "a.tif")
    with pytest.raises(DataError, match="not finite"):
        read_image(tmp_path / "a.tif", 1)


@pytest.mark.parametrize("name", ["stack.tif", "moving.png", "moving.webp"])
def test_animations_are_no_images(name: str, tmp_path: Path) -> None:
    pil(COLOR, save_all=True, append_images=[Image.fromarray(255 - COLOR), Image.fromarray(COLOR)])(tmp_path / name)
    with pytest.raises(DataError, match=r"3 images in one file.*vidpred prepare frames"):
        read_image(tmp_path / name)


def test_a_thumbnail_is_no_second_image(tmp_path: Path) -> None:
    pil(COLOR, save_all=True, append_images=[Image.fromarray(COLOR[::4, ::4])])(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), COLOR)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_huge_images_are_refused_before_they_are_decoded(tmp_path: Path, name: str) -> None:
    pil(COLOR)(tmp_path / name)
    for read in (partial(decode_image, strict=True), check_image):
        with pytest.raises(DataError, match=r"32x24 pixels exceed data.video.max_pixels=100"):
            read(tmp_path / name, max_pixels=100)
    assert check_image(tmp_path / name) == (0, content_fingerprint(tmp_path / name))
