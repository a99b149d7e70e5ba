"""Animations and stacks of pages are clips among videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from tests.video_files import numbered_frames, write_video
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings, VideoSettings
from vidpred.data.videos.index import find_videos
from vidpred.data.videos.probe import probe
from vidpred.data.videos.read_video import read_video
from vidpred.data.videos.reader import read_frames
from vidpred.errors import ConfigError, DataError

FRAMES = np.random.default_rng(0).integers(0, 256, (9, 33, 47, 3), dtype=np.uint8)
NAMES = ("clip.png", "clip.tif", "clip.webp")


def save(path: Path, count: int = len(FRAMES)) -> Path:
    first, *others = map(Image.fromarray, FRAMES[:count])
    first.save(path, save_all=count > 1, append_images=others, duration=40, lossless=True)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_exact_in_any_order(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name)
    info = probe(path)
    assert (info.frames, info.rate, info.notes) == (9, 25, [])
    for order in (range(9), [7, 2, 5, 0, 8]):
        assert np.array_equal(read_frames(path, info, list(order)), FRAMES[list(order)])
    assert np.allclose(read_video(path).numpy() * 255, FRAMES.transpose(0, 3, 1, 2), atol=1e-3)


def test_turned_animations_are_shown_upright(tmp_path: Path) -> None:
    orientation = Image.Exif()
    orientation[274] = 6  # to be turned clockwise
    first, *others = map(Image.fromarray, FRAMES)
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, lossless=True, exif=orientation.tobytes())
    info = probe(tmp_path / "a.webp")
    assert (info.height, info.width) == (47, 33)
    assert np.array_equal(read_frames(tmp_path / "a.webp", info, range(9)), np.rot90(FRAMES, -1, (1, 2)))


def test_impossible_requests_are_named(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(5, 32, 32))
    requests: list[tuple[dict[str, Any], str]] = [
        *(({"fps": fps}, "between 0.001 and 1000") for fps in (0, -1, 1e-7, float("nan"), float("inf"), 2000)),
        *(({"size": size}, "sizes are 1 or more") for size in (0, -3, (0, 5))), ({"channels": 2}, "channels 1 or 3"),
    ]  # fmt: skip
    for request, why in requests:
        with pytest.raises(ConfigError, match=why):
            read_video(path, **request)
    with pytest.raises(ValidationError, match="greater than or equal to 0.001"):
        VideoSettings(fps=1e-7)


def test_single_images_among_videos_are_ignored(tmp_path: Path) -> None:
    for number in range(3):
        write_video(tmp_path / f"{number}.mp4", numbered_frames(12, 32, 32))
    for name in NAMES:
        save(tmp_path / name)
        save(tmp_path / f"single-{name}", 1)
    assert find_videos(tmp_path) == ["0.mp4", "1.mp4", "2.mp4", *NAMES]
    source = build_source(DataSettings(root=str(tmp_path), split_fractions=(1, 0, 0)), "train", [0, 1])
    assert {source.clip_name(window).split(":")[0] for window in range(len(source))} >= set(NAMES)


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_single_image_is_no_video(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="a single image, not a video"):
        probe(save(tmp_path / name, 1))


def test_twelve_bits_point_to_prepare(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 8), 4000, np.uint16)) for _ in range(3)]
    pages[0].save(tmp_path / "deep.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"none above 4000 .*vidpred prepare frames"):
        probe(tmp_path / "deep.tif")
