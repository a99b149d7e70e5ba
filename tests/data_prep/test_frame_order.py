"""Frames in temporal order, whatever their names; stacks, views, and frames that cannot be read."""

from __future__ import annotations

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.frame_order import by_view, in_order
from data_prep.frames import Frames
from vidpred.data.prepared.format import FRAMES
from vidpred.data.prepared.pipeline import check, prepare
from vidpred.errors import DataError

SIGNED, HEX = "signed and decimal numbers", "hexadecimal numbers"
ORDERS: dict[str, tuple[list[str], str]] = {
    "numbers": ([f"frame{t}" for t in range(30)], ""),
    "padded and not": (["1", "02", "003", "010", "11"], ""),
    "parentheses": ([f"img ({t})" for t in range(12)], ""),
    "negative": ([str(t - 15) for t in range(30)], SIGNED),
    "only negative": ([str(-t) for t in range(30, 0, -1)], SIGNED),
    "negative after a word": ([f"img_{t - 5}" for t in range(10)], SIGNED),
    "dashes": ([f"img-{t}" for t in range(12)], ""),
    "dashes, then signs": ([f"img-{t - 5}" for t in range(10)], SIGNED),
    "decimals": ([f"{t * 0.05:g}" for t in range(30)], SIGNED),
    "decimals as Python prints them": ([str(t * 0.05) for t in range(30)], SIGNED),
    "padded decimals": ([f"{t * 0.05:.2f}" for t in range(30)], ""),
    "signed decimals with a unit": ([f"{t / 10:+.1f}s" for t in range(-20, 20)], SIGNED),
    "exponents": ([f"t{t * 1e-4:.1e}" for t in range(30)], SIGNED),
    "two numbers": ([f"1.{t}" for t in range(1, 30)], ""),
    "scene and frame": ([f"s{a}_f{b}" for a in range(3) for b in range(12)], ""),
    "hexadecimal": ([f"{t:x}" for t in range(40)], HEX),
    "padded hexadecimal": ([f"f_{t:04x}" for t in range(300)], HEX),
    "hexadecimal with a prefix": ([f"0x{t:X}" for t in range(300)], HEX),
    "hexadecimal in words": ([f"frame_{t:x}_left" for t in range(30)], HEX),
    "hexadecimal steps": ([f"frame_{t:x}" for t in range(0, 4000, 7)], HEX),
    "times": ([f"2024-01-01T00:{t // 60:02}:{t % 60:02}" for t in range(55, 70)], ""),
    "dates": ([f"2024-{month:02}-{day:02}" for month in (1, 2) for day in range(1, 29)], ""),
    "seconds": ([f"1305031102.{t:06}" for t in range(0, 999999, 40000)], ""),
    "nanoseconds": ([str(1403636579763555584 + t) for t in range(30)], ""),
    "words": (["a", "b", "c"], ""),
}


@pytest.mark.parametrize("kind", ORDERS)
def test_names_are_in_temporal_order(kind: str) -> None:
    stems, reading = ORDERS[kind]
    names = [f"{stem}.{('png', 'jpg')[place % 2]}" for place, stem in enumerate(stems)]
    mixed = list(names)
    random.Random(0).shuffle(mixed)
    assert in_order(mixed) == (names, reading)
    assert by_view(mixed) == {"": mixed}


def test_views_are_separate_clips() -> None:
    sides = [f"{t:03}_{side}.png" for t in range(9) for side in "LR"]
    assert by_view(sides) == {"L": sides[::2], "R": sides[1::2]}
    kinds = [f"{kind}_{t:03}.png" for kind in ("depth", "rgb") for t in range(9)]
    assert by_view(kinds) == {"depth": kinds[:9], "rgb": kinds[9:]}
    assert by_view(sides[:-3]) == {"L": sides[:-3:2], "R": sides[1:-3:2]}, "frames of a view may be missing"
    few = [*(f"{t:03}.png" for t in range(9)), "mask_000.png", "mask_001.png"]
    assert by_view(few) == {"": few}
    both = [f"{t:03}.{end}" for t in range(9) for end in ("jpg", "png")]
    assert by_view(both) == {"jpg": both[::2], "png": both[1::2]}
    signs = [f"{t}.png" for t in (-3, -2, -1, 1, 2, 3)]
    assert by_view(signs) == {"": signs}


def level(number: int) -> np.ndarray:
    """Return a frame whose first value is 5 times its number."""
    return np.full((32, 32, 3), number * 5, np.uint8)


def write(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), level(number))
    return folder.parent


def clips_of(source: Path, target: Path, **settings: object) -> dict[str, list[int]]:
    """Prepare a folder, and return the numbers of the frames of every clip."""
    frames = Frames.model_validate({"source": source, "split": "time", "fractions": (1, 0, 0), **settings})
    found = {}
    for clip in prepare(frames, target, workers=1, progress=False).clips:
        content = np.fromfile(target / FRAMES / f"{clip.file}.u8", np.uint8)[clip.offset : clip.offset + clip.bytes]
        found[clip.clip] = (content.reshape(clip.frames, -1)[:, 0] // 5).tolist()
    return found


def test_the_reading_of_ambiguous_names_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "source" / "a", [f"{t - 5}.png" for t in range(10)])
    assert clips_of(source, tmp_path / "set") == {"a": list(range(10))}
    assert "frame names are read as signed and decimal numbers in a\n" in capsys.readouterr().err


def test_a_bad_frame_ends_a_clip_and_another_one_begins(tmp_path: Path) -> None:
    source = write(tmp_path / "source" / "a", [f"{t:03}.png" for t in range(40)])
    for name in ("000.png", "020.png", "021.png", "039.png"):
        (source / "a" / name).write_bytes(b"")
    cv2.imwrite(str(source / "a" / "030.png"), level(30)[:, 1:])
    assert clips_of(source, tmp_path / "set") == {
        "a": list(range(1, 20)), "a from 22": list(range(22, 30)), "a from 31": list(range(31, 39)),
    }  # fmt: skip
    listed = (tmp_path / "set" / "left_out.csv").read_text()
    assert listed.count("the file is empty") == 4
    assert 'a/030.png,"is 31x32, but the images before it are 32x32"' in listed
    rows = check(Frames(source=source), workers=1, progress=False)
    assert [row["ok"] for row in rows] == [True]
    assert "a/021.png: cannot decode the image: the file is empty" in rows[0]["notes"]


def test_too_many_bad_frames_are_an_error(tmp_path: Path) -> None:
    source = write(tmp_path / "source" / "a", [f"{t}.png" for t in range(10)])
    for name in ("3.png", "5.png", "7.png"):
        (source / "a" / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"3 of 10 parts are bad"):
        clips_of(source, tmp_path / "set")


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp", "a.gif"])
def test_animations_and_stacks_are_clips(name: str, tmp_path: Path) -> None:
    write(tmp_path / "source" / "single", ["1.png", "2.png"])
    images = [Image.fromarray(level(number)) for number in range(10)]
    options = {} if name == "a.tif" else {"duration": 40, "lossless": True} if name == "a.webp" else {"duration": 40}
    images[0].save(tmp_path / "source" / "single" / name, save_all=True, append_images=images[1:], **options)
    found = clips_of(tmp_path / "source", tmp_path / "set", every=2)
    assert found == {"single": [0], f"single/{name}": [0, 2, 4, 6, 8]}
    assert clips_of(tmp_path / "source" / "single" / name, tmp_path / "one") == {name: list(range(10))}
    stack = Frames(source=tmp_path / "source" / "single" / name)
    rates = {clip.rate for clip in prepare(stack, tmp_path / "rate", workers=1, progress=False).clips}
    assert rates == ({10.0} if name == "a.tif" else {25.0})


def test_deep_stacks_take_a_white_level(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((32, 32), number * 80, np.uint16)) for number in range(10)]
    (tmp_path / "source").mkdir()
    pages[0].save(tmp_path / "source" / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"16-bit samples, none above 720 .*set .*white_level.* to 1023"):
        clips_of(tmp_path / "source", tmp_path / "set")
    found = clips_of(tmp_path / "source", tmp_path / "set", white_level=255 * 16)
    assert found == {"a.tif": list(range(10))}
