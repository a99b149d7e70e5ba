"""Augmentations: what each does, by hand, to all frames alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.video_files import numbered_frames, write_video
from vidpred.data.augment import augment, recolour
from vidpred.data.build import build_source
from vidpred.data.clips import training_offsets
from vidpred.data.settings import DataSettings
from vidpred.data.video_windows import VideoWindows

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 3), dtype=np.uint8)
CHANGES = {
    "flip": FRAMES[:, :, ::-1],
    "flip_vertical": FRAMES[:, ::-1],
    "transpose": FRAMES.transpose(0, 2, 1, 3),
    "reverse": FRAMES[::-1],
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_change_alone_happens_to_half_of_the_samples(name: str) -> None:
    settings = DataSettings(**{"flip": False, name: True})
    results = [augment(FRAMES, settings, np.random.default_rng(number)) for number in range(200)]
    changed = [np.array_equal(result, CHANGES[name]) for result in results]
    same = [np.array_equal(result, FRAMES) for result in results]
    assert all(a != b for a, b in zip(changed, same, strict=True))
    assert 70 < sum(changed) < 130


def test_nothing_asked_for_changes_nothing() -> None:
    random = np.random.default_rng(0)
    assert augment(FRAMES, DataSettings(flip=False), random) is FRAMES
    assert random.random() == np.random.default_rng(0).random()  # nor was anything drawn


def test_colours_keep_their_order_and_are_the_same_in_all_frames() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, None, :, None], (2, 1, 1, 3))
    changed = recolour(ramp, 0.3, np.random.default_rng(5))
    assert not np.array_equal(changed, ramp)
    assert np.array_equal(changed[0], changed[1])
    assert (np.diff(changed[0, 0].astype(int), axis=0) >= 0).all()
    assert changed[0, 0, 0].tolist() == [0, 0, 0]
    # Of white, gamma leaves nothing to see: the gains alone, within exp(-0.3) and exp(0.3).
    white = recolour(np.full((1, 1, 1, 3), 255, np.uint8), 0.3, np.random.default_rng(5))[0, 0, 0] / 255
    assert (white >= np.exp(-0.3) - 0.01).all()


def source(folder: Path, **values: object) -> VideoWindows:
    shared = {"root": str(folder), "patch_size": None, "context_frames": 2, "flip": False, "split_fractions": (1, 0, 0)}
    settings = DataSettings(**{**shared, **values})  # type: ignore[arg-type]
    built = build_source(settings, "train", training_offsets(settings))
    assert isinstance(built, VideoWindows)
    return built


@pytest.mark.parametrize("memory_mb", [0, 1024])
def test_speed_takes_frames_as_many_times_apart(tmp_path: Path, memory_mb: int) -> None:
    write_video(tmp_path / "clip.mp4", numbered_frames(12, 48, 64))
    windows = source(tmp_path, speed=3, split="time", memory_mb=memory_mb)
    every = windows.window(0, stray=True, speed=1)
    fast = windows.window(0, stray=True, speed=3)
    assert np.array_equal(fast[0], every[0])
    assert np.array_equal(fast[1], windows.window(3, stray=True)[0])
    assert np.array_equal(fast[2], windows.window(6, stray=True)[0])
    last = len(windows) - 1  # only so fast that it still fits
    assert np.array_equal(windows.window(last, stray=True, speed=3), windows.window(last, stray=True))
    drawn = {
        speed
        for number in range(40)
        for speed in (1, 2, 3)
        if np.array_equal(windows.sample(0, np.random.default_rng(number)), windows.window(0, stray=True, speed=speed))
    }
    assert drawn == {1, 2, 3}
