"""Augmentations: the effect of each, by hand, equal for all frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.settings_for_tests import data_settings
from tests.video_files import numbered_frames, write_video
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import training_offsets
from vidpred.data.videos.augment import augment, camera_shake, color_jitter
from vidpred.data.videos.windows import VideoWindows, time_warp

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 3), dtype=np.uint8)
CHANGES = {
    "horizontal_flip": FRAMES[:, :, ::-1],
    "vertical_flip": FRAMES[:, ::-1],
    "transpose": FRAMES.transpose(0, 2, 1, 3),
    "time_reverse": FRAMES[::-1],
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_augmentation_changes_half_of_the_samples(name: str) -> None:
    settings = data_settings(**{"horizontal_flip": False, name: True})
    results = [augment(FRAMES, settings, np.random.default_rng(number)) for number in range(200)]
    changed = [np.array_equal(result, CHANGES[name]) for result in results]
    same = [np.array_equal(result, FRAMES) for result in results]
    assert all(a != b for a, b in zip(changed, same, strict=True))
    assert 70 < sum(changed) < 130


def test_disabled_augmentation_changes_nothing() -> None:
    random = np.random.default_rng(0)
    assert augment(FRAMES, DataSettings(augment={"horizontal_flip": False}), random) is FRAMES
    assert random.random() == np.random.default_rng(0).random()  # nothing was drawn


def test_color_jitter_is_monotonic_and_equal_in_all_frames() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, None, :, None], (2, 1, 1, 3))
    changed = color_jitter(ramp, 0.3, np.random.default_rng(5))
    assert not np.array_equal(changed, ramp)
    assert np.array_equal(changed[0], changed[1])
    assert (np.diff(changed[0, 0].astype(int), axis=0) >= 0).all()
    assert changed[0, 0, 0].tolist() == [0, 0, 0]
    # Gamma does not affect white, only the gains do, which are between exp(-0.3) and exp(0.3).
    white = color_jitter(np.full((1, 1, 1, 3), 255, np.uint8), 0.3, np.random.default_rng(5))[0, 0, 0] / 255
    assert (white >= np.exp(-0.3) - 0.01).all()


def test_camera_shake_shifts_whole_frames_without_borders() -> None:
    across = np.tile(np.arange(40, 200, 2, dtype=np.uint8)[None, None, :, None], (9, 60, 1, 1))  # x = (value - 40) / 2
    places = []
    for number in range(20):
        shaken = camera_shake(across, 2.0, np.random.default_rng(number))
        assert shaken.shape == across.shape
        assert np.array_equal(shaken, camera_shake(across, 2.0, np.random.default_rng(number)))
        steps = np.diff(shaken[:, 30, 10:-10, 0].astype(float), axis=0) / 2  # displacement in pixels
        assert steps.std(1).max() < 0.5  # equal everywhere, except for rounding
        places.append(shaken[:, 30, 40, 0] / 2)
    moved = np.abs(np.diff(places, axis=1))
    assert moved.max() > 1.5
    assert moved.max() < 2 * 5  # five standard deviations
    assert moved.min() < 0.2


def test_camera_shake_is_limited_by_the_margin() -> None:
    inside = np.full((12, 32, 32, 3), 100, np.uint8)
    inside[:, [0, -1]] = inside[:, :, [0, -1]] = 120
    shaken = camera_shake(inside, 50.0, np.random.default_rng(1))
    assert shaken.max() <= 125  # cubic overshoot; without the limit, reflection would repeat the border
    assert (shaken[:, 8:-8, 8:-8] == 100).all()


def source(folder: Path, **values: object) -> VideoWindows:
    shared = {
        "root": str(folder),
        "crop_size": None,
        "context_frames": 2,
        "horizontal_flip": False,
        "split_fractions": (1, 0, 0),
    }
    settings = data_settings(**{**shared, **values})
    built = build_source(settings, "train", training_offsets(settings))
    assert isinstance(built, VideoWindows)
    return built


@pytest.mark.slow
@pytest.mark.parametrize("cache_mb", [0, 1024])
def test_speed_multiplies_the_distance_between_frames(tmp_path: Path, cache_mb: int) -> None:
    write_video(tmp_path / "clip.mp4", numbered_frames(12, 48, 64))
    windows = source(tmp_path, max_speed=3, split="time", cache_mb=cache_mb)
    every = windows.window(0, stray=True, speed=1)
    fast = windows.window(0, stray=True, speed=3)
    assert np.array_equal(fast[0], every[0])
    assert np.array_equal(fast[1], windows.window(3, stray=True)[0])
    assert np.array_equal(fast[2], windows.window(6, stray=True)[0])
    last = len(windows) - 1  # the speed is reduced to fit
    assert np.array_equal(windows.window(last, stray=True, speed=3), windows.window(last, stray=True))
    drawn = {
        speed
        for number in range(40)
        for speed in (1, 2, 3)
        if np.array_equal(windows.sample(0, np.random.default_rng(number)), windows.window(0, stray=True, speed=speed))
    }
    assert drawn == {1, 2, 3}


def test_time_warp_changes_velocity_gradually_and_never_stops() -> None:
    paths = [time_warp(30, 2, np.random.default_rng(number)) for number in range(200)]
    velocities = np.diff(paths, axis=1)
    assert set(np.unique(velocities).tolist()) == {-2, -1, 1, 2}
    assert {path[0] for path in paths} == {0}
    order = np.searchsorted([-2, -1, 1, 2], velocities)
    assert np.abs(np.diff(order, axis=1)).max() == 1
    changes = (np.diff(order, axis=1) != 0).mean(1)
    assert changes.min() == 0
    assert 0.05 < changes.mean() < 0.2  # the mean probability is 1/8, less at the largest velocities


@pytest.mark.parametrize("cache_mb", [0, 1024])
def test_time_warped_windows_contain_the_frames_of_their_path(tmp_path: Path, cache_mb: int) -> None:
    write_video(tmp_path / "clip.mp4", numbered_frames(30, 16, 16))
    windows = source(tmp_path, max_speed=2, time_warp=1.0, split="time", cache_mb=cache_mb)
    each = np.concatenate([windows.window(index, stray=True)[:1] for index in range(len(windows))])
    for number in range(20):
        shown = windows.time_warped_window(0, np.random.default_rng(number))
        path = time_warp(len(shown), 2, np.random.default_rng(number))
        first = -int(path.min())
        assert np.array_equal(shown, each[first + path])
    assert np.array_equal(windows.sample(0, np.random.default_rng(3)).shape, shown.shape)


def test_short_shots_are_not_time_warped(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4", numbered_frames(3, 16, 16))
    windows = source(tmp_path, max_speed=8, time_warp=1.0, split="time")
    assert np.array_equal(windows.time_warped_window(0, np.random.default_rng(0)), windows.window(0))
