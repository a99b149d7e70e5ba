"""Tests of looking at files once: `vidpred.data.files_unchanged`."""

import gc
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.video_files import numbered_frames, write_video
from vidpred.data.build import build_source, record_splits
from vidpred.data.files_unchanged import files_unchanged, look_once
from vidpred.data.settings import DataSettings
from vidpred.processes.memory import without_collection


def write_images(root: Path, first: int, end: int) -> None:
    for number in range(first, end):
        cv2.imwrite(str(root / f"{number:03d}.png"), np.full((8, 8, 3), number, np.uint8))


@pytest.mark.parametrize("kind", ["images", "videos"])
def test_a_start_looks_at_the_files_once(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "images":
        write_images(tmp_path, 0, 20)
    else:
        for number in range(6):
            write_video(tmp_path / f"{number}.avi", numbered_frames(12, 32, 32))
    settings = DataSettings(root=str(tmp_path), context_frames=0 if kind == "images" else 1, size=8, crop_size=8)
    walks: list[str] = []
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda top, **words: walks.append(str(top)) or walk(top, **words))

    def start() -> tuple[list[int], int]:
        walks.clear()
        lengths = [len(build_source(settings, split, [0])) for split in ("train", "validation")]
        recorded = record_splits(settings)
        assert recorded is not None
        assert sum(part.split == "train" for part in recorded.parts) == (14 if kind == "images" else 4)
        return lengths, len(walks)

    start()  # writes the index
    separately, walks_separately = start()
    with files_unchanged():
        together, walks_together = start()
        _, walks_again = start()
    assert together == separately
    assert walks_together < walks_separately
    assert walks_again < walks_together


def test_new_files_are_seen_by_the_next_start(tmp_path: Path) -> None:
    settings = DataSettings(root=str(tmp_path), context_frames=0, size=8, crop_size=8)
    write_images(tmp_path, 0, 20)
    with files_unchanged():
        assert len(build_source(settings, "train", [0])) == 14
    write_images(tmp_path, 20, 40)
    assert len(build_source(settings, "train", [0])) == 28
    with files_unchanged():
        assert len(build_source(settings, "train", [0])) == 28


def test_once_knows_nothing_after_an_error() -> None:
    with files_unchanged():
        with pytest.raises(ZeroDivisionError):
            look_once("key", lambda: 1 // 0)
        assert look_once("key", lambda: 1) == 1
        assert look_once("key", lambda: 2) == 1
    assert look_once("key", lambda: 3) == 3


def test_collection_is_as_before_afterwards() -> None:
    assert gc.isenabled()
    with without_collection():
        assert not gc.isenabled()
        with without_collection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
