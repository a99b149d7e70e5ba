"""A damaged or forged index of a folder of videos or images is made anew, with one warning."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.video_files import numbered_frames, write_video
from vidpred.data.images.index import Scan
from vidpred.data.videos.index import scan
from vidpred.data.videos.reader import VideoInfo

FORGED: dict[str, Any] = {
    "frames": "8", "rate": 0.0, "width": -1, "height": 1.5, "rotation": 45, "time_base": "1/0", "pts": [3, 2, 1],
    "keyframes": [99], "cuts": [-1], "gaps": ["1"], "codec": None, "mirrored": 1, "bytes": -5, "notes": [1], "x": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4", numbered_frames(8, 40, 48))
    scan(folder)
    return folder


def forge(file: Path, key: str, value: Any) -> None:
    """Change a value, without the checksum."""
    first, entry, *_ = file.read_text().splitlines()
    file.write_text(f"{first}\n{json.dumps({**json.loads(entry), key: value})}\n")


@pytest.mark.parametrize("key", FORGED)
def test_a_forged_value(videos: Path, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    before, _ = scan(videos)
    capsys.readouterr()
    forge(videos / ".vidpred/index.jsonl", key, FORGED[key])
    assert scan(videos)[0] == before
    assert capsys.readouterr().err.count("warning: a damaged index (") == 1


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, bytes(range(256)), b"3\n4\n", None])
def test_other_content(videos: Path, content: bytes | None) -> None:
    before, _ = scan(videos)
    file = videos / ".vidpred/index.jsonl"
    file.unlink()
    os.mkfifo(file) if content is None else file.write_bytes(content)
    assert scan(videos)[0] == before
    assert scan(videos)[0] == before


def test_every_flipped_digit_is_found(videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, _ = scan(videos)
    file = videos / ".vidpred/index.jsonl"
    content = file.read_bytes()
    digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    for place in np.random.default_rng(0).choice(digits, 12, replace=False):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert scan(videos)[0] == before
        assert file.read_bytes() == content


def test_an_index_without_a_checksum_is_used(videos: Path) -> None:
    """Earlier versions wrote none."""
    scan(videos)
    file = videos / ".vidpred/index.jsonl"
    first, entry, checksum, *_ = file.read_text().splitlines()
    assert "crc32" in checksum
    file.write_text(f"{first}\n{entry}\n")
    assert VideoInfo.from_json(entry) == scan(videos)[0][0]
    assert len(file.read_text().splitlines()) == 2


@pytest.mark.parametrize("row", [["a.png", "1", 2, "", 0], ["a.png", 1, 2], 3, ["a.png", 1, 2, "", None]])
def test_the_index_of_images(tmp_path: Path, row: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8), np.uint8))
    images = Scan(tmp_path, None, 10**6)
    before = images.run(["a.png"])
    file = tmp_path / ".vidpred/images.jsonl"
    whole = file.read_text()
    first, *_ = whole.splitlines()
    file.write_text(f"{first}\n{json.dumps(row)}\n")
    assert images.run(["a.png"]) == before
    assert capsys.readouterr().err.count("warning: a damaged index (") == 1
    assert file.read_text() == whole
