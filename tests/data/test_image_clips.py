"""Animations and stacks of pages are clips among videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.video_files import numbered_frames, write_video
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.videos.index import find_videos
from vidpred.data.videos.probe import probe
from vidpred.data.videos.read_video import read_video
from vidpred.data.videos.reader import read_frames
from vidpred.errors import DataError

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
