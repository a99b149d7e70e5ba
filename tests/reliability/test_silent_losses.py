"""Frames that a decoder loses or conceals without an error are noted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.data.odd_videos import COUNT, FFV1, GIF, whole
from tests.data.test_mutated_videos import differing, mutated
from vidpred.data.images.decode import check_image, read_image
from vidpred.data.images.stacks import Stack
from vidpred.data.videos.probe import probe
from vidpred.errors import DataError, VidpredError


def packet_middles(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [packet.pos + packet.size // 2 for packet in container.demux(video=0) if packet.size]


@pytest.mark.parametrize("keyframes", ["1", "10"])
@pytest.mark.slow
def test_slices_with_wrong_checksums(tmp_path: Path, keyframes: str) -> None:
    path = tmp_path / "a.mkv"
    how: dict[str, Any] = {**FFV1, "options": {**FFV1["options"], "g": keyframes}}
    content = whole(path, **how)
    good = probe(path)
    assert (good.frames, good.notes) == (COUNT, [])
    for number in (0, 13, COUNT - 1):
        damaged = bytearray(content)
        damaged[packet_middles(path)[number]] ^= 4
        file = tmp_path / f"{number}.mkv"
        file.write_bytes(damaged)
        info = probe(file)
        assert info.frames < COUNT
        assert "a wrong checksum" in " ".join(info.notes)
        assert differing(file, np.random.default_rng(0)) == "usable"


def test_settings_of_the_decoder_that_are_damaged_or_lost(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    content = whole(path, **FFV1)
    private = content.index(b"\x63\xa2")  # Matroska's element with the decoder's settings
    for place in (private, private + 8):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged: no whole frame"):
            probe(path)


def test_without_checksums_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    whole(path, codec="ffv1", options={"level": "3", "slicecrc": "0", "g": "10"})
    assert (probe(path).frames, probe(path).notes) == (COUNT, [])


@pytest.mark.slow
def test_gifs_that_lose_images(tmp_path: Path) -> None:
    """Bytes that are spliced in let the decoder read on within a later image."""
    path = tmp_path / "a.gif"
    content = whole(path, **GIF)
    assert probe(path).notes == []
    random = np.random.default_rng(5)
    noted = 0
    for _ in range(12):
        path.write_bytes(mutated(3, bytearray(content), random))
        try:
            info = probe(path)
        except VidpredError:
            continue
        assert info.frames == COUNT or info.notes
        noted += bool(info.notes)
    assert noted > 8


def test_a_gif_that_ends_before_its_last_images(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    content = whole(path, **GIF)
    place = content.index(b"\x21\xf9\x04", len(content) // 2)
    content[place] = 0x3B
    path.write_bytes(content)
    assert "images follow the end" in " ".join(probe(path).notes)
    path.write_bytes(whole(path, **GIF) + b"a comment of a camera")
    assert probe(path).notes == []


@pytest.mark.parametrize("name", ["a.apng", "a.mov"])
def test_wrong_checksums_of_png_frames_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    container = {"container_format": "apng"} if name == "a.apng" else {}
    content = bytearray(whole(path, codec=path.suffix[1:].replace("mov", "png"), pixel_format="rgb24", **container))
    assert (probe(path).frames, probe(path).notes) == (COUNT, [])
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    info = probe(path)
    assert info.frames == COUNT - 1
    assert re.search("a wrong checksum in (IDAT|fdAT)", " ".join(info.notes))


def test_wrong_checksums_of_png_images_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    values = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    image = Image.fromarray(values).quantize(16)
    image.save(path, transparency=3)
    content = path.read_bytes()
    for chunk in (b"IHDR", b"PLTE", b"tRNS", b"IDAT"):
        damaged = bytearray(content)
        damaged[content.index(chunk) + 5] ^= 1
        path.write_bytes(damaged)
        for read in (read_image, check_image, Stack):
            with pytest.raises(DataError, match=f"a wrong checksum in {chunk.decode()} .*a.png"):
                read(path)
