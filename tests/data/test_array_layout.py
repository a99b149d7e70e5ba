"""The axes of arrays are read from their shape only where it leaves no doubt, and the reading is printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep.images import Images
from data_prep.numpy import Numpy
from vidpred.data.array_layout import CLIPS, IMAGES, as_uint8, find_layout
from vidpred.data.images.files import find_images
from vidpred.data.prepared.format import PreparedFrames
from vidpred.data.prepared.pipeline import Summary, prepare
from vidpred.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((9, 8, 8), "THW"),
        ((1, 64, 64), "THW"),
        ((20, 64, 48, 3), "THWC"),
        ((30, 32, 32, 4), "THWC"),
        ((2, 1, 64, 64), "TCHW"),
        ((1, 20, 64, 64), "NTHW"),
        ((2, 9, 8, 8, 1), "NTHWC"),
        ((2, 9, 8, 8, 4), "NTHWC"),
        ((2, 9, 3, 8, 8), "NTCHW"),
        ((2, 3, 9, 8, 8), "NCTHW"),
        ((5, 3, 2, 64, 64), "NCTHW"),
    ],
)
def test_clear_shapes(shape: tuple[int, ...], layout: str) -> None:
    assert find_layout(shape, CLIPS, "a.npy", "") == layout


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (20, 50, 64, 64),
            r"NTHW \(20 clips of 50 gray frames of 64x64\) or TNHW \(50 clips of 20 .*\[a.npy\]; set layout=NTHW",
        ),
        ((100, 3, 32, 32), r"TCHW \(1 clip of 100 RGB frames of 32x32\) or NTHW \(100 clips of 3 gray"),
        ((30, 4, 84, 84), r"TCHW \(1 clip of 30 RGBA frames of 84x84\) or NTHW \(30 clips of 4 gray"),
        ((3, 20, 64, 64), r"CTHW \(1 clip of 20 RGB frames of 64x64\) or NTHW"),
        ((64, 64, 20), r"THW .*HWT \(1 clip of 20 gray frames of 64x64\)"),
        ((8, 3, 3, 64, 64), r"NTCHW .* or NCTHW"),
    ],
)
def test_ambiguous_shapes_need_a_layout(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_layout(shape, CLIPS, "a.npy", "")


@pytest.mark.parametrize("shape", [(5,), (64, 64), (9, 64, 3), (2, 9, 7, 8, 8), (0, 64, 64), (1, 2, 3, 4, 5, 6)])
def test_shapes_that_are_no_clips(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"fits none of THW, .*\[a.npy\]; set layout=LETTERS"):
        find_layout(shape, CLIPS, "a.npy", "set layout=LETTERS")


def test_images_have_a_first_axis_of_images() -> None:
    found = [find_layout(shape, IMAGES, "", "") for shape in [(9, 8, 8), (9, 8, 8, 4), (100, 3, 32, 32)]]
    assert found == ["NHW", "NHWC", "NCHW"]


def prepared(folder: Path, array: np.ndarray, **settings: Any) -> tuple[Summary, np.ndarray]:
    """Return the summary of a prepared array, and the frames of all clips in order."""
    np.save(folder / "a.npy", array)
    target = folder / "set"
    summary = prepare(Numpy(source=folder / "a.npy", **settings), target, workers=1, progress=False)
    sources = {s: PreparedFrames(target, summary.manifest, s) for s in ("train", "validation", "test")}
    clips = sorted(summary.clips, key=lambda clip: clip.clip)
    return summary, np.stack([sources[clip.split].frames(clip) for clip in clips])


def test_the_published_test_file_is_not_guessed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 6, 16, 16)).astype(np.uint8)
    with pytest.raises(ConfigError, match="set layout=NTHW or another"):
        prepared(tmp_path, array)
    summary, frames = prepared(tmp_path, array, layout="TNHW", channels=1)
    assert len(summary.clips) == 6
    np.testing.assert_array_equal(frames[:, :, 0], array.transpose(1, 0, 2, 3))
    assert capfd.readouterr().err == "", "a given layout needs no remark"


def test_the_reading_is_printed_once_for_each_layout(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(7):
        np.save(tmp_path / f"{number}.npy", np.zeros((5, 16, 24, 3), np.uint8))
    prepare(Numpy(source=tmp_path), tmp_path / "set", workers=1, progress=False)
    assert capfd.readouterr().err.splitlines() == [
        "vidpred: 0.npy: shape (5, 16, 24, 3) is read as THWC, 1 clip of 5 RGB frames of 24x16, and 6 more in the same "
        "way; for separate images use vidpred prepare images"
    ]


def test_opacity_is_composited_over_black(tmp_path: Path) -> None:
    array = np.zeros((10, 16, 16, 4), np.uint8)
    array[..., 0], array[..., 3] = 200, 51
    _, frames = prepared(tmp_path, array, split="time", fractions=(1, 0, 0))
    assert frames.shape == (1, 10, 3, 16, 16)
    np.testing.assert_array_equal(frames[0, 0, :, 0, 0], [40, 0, 0])
    np.testing.assert_array_equal(as_uint8(array.astype(np.float32) / 255)[0, 0, 0], [40, 0, 0])
    np.save(tmp_path / "images.npy", array)
    images = find_images(tmp_path / "images.npy")
    assert images is not None
    np.testing.assert_array_equal(images.read(3)[0, 0], [40, 0, 0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[[[0.0], [0.5], [1.0]]]], np.float64), [0, 128, 255]),
        (np.array([[[[0.0], [0.5], [1.0]]]], ">f4"), [0, 128, 255]),
        (np.array([[[[0], [7], [255]]]], np.int64), [0, 7, 255]),
        (np.array([[[[0], [7], [255]]]], ">u2"), [0, 7, 255]),
        (np.array([[[[False], [True], [True]]]]), [0, 255, 255]),
    ],
)
def test_values_that_have_a_meaning(values: np.ndarray, expected: list[int]) -> None:
    np.testing.assert_array_equal(as_uint8(values).ravel(), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((2, 2, 1), -1.0), r"float values from -1 to -1; scale them to \[0, 1\]"),
        (np.full((2, 2, 1), 255.0), r"float values from 255 to 255; scale them"),
        (np.full((2, 2, 1), np.nan), "not finite"),
        (np.full((2, 2, 1), 4095, np.uint16), r"uint16 values from 4095 to 4095; scale them to \[0, 255\]"),
        (np.full((2, 2, 1), -3, np.int8), "int8 values from -3"),
        (np.full((2, 2, 1), 1j), "type complex128; they must be uint8, or float from 0 to 1$"),
    ],
)
def test_values_that_need_scaling(values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_uint8(values)


def test_whole_floats_up_to_255_are_bytes(tmp_path: Path) -> None:
    """A clip as some packages store it; a black frame does not change the reading of the others."""
    bytes_ = np.random.default_rng(0).integers(0, 256, (6, 5, 16, 16, 3))
    bytes_[:, 0] = bytes_[:, 0] > 128
    _, frames = prepared(tmp_path, bytes_.astype(np.float32))
    np.testing.assert_array_equal(frames.transpose(0, 1, 3, 4, 2), bytes_)
    np.save(tmp_path / "images.npy", bytes_[0].astype(np.float64))
    images = find_images(tmp_path / "images.npy")
    assert images is not None
    np.testing.assert_array_equal(images.read(0), bytes_[0, 0])
    values = bytes_.astype(np.float32)
    values[0, 3, 0, 0, 0] += 0.5
    summary, _ = prepared(tmp_path, values)
    assert [name for name, _ in summary.skipped] == ["a/000000"]


def test_one_bad_image_of_an_array_costs_only_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).random((30, 3, 16, 16)).astype(np.float32)
    images[4, 2, 1, 0] = np.inf
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(30) % 2)
    summary = prepare(Images(source=tmp_path / "a.npz"), tmp_path / "set", workers=1, progress=False)
    assert sum(clip.frames for clip in summary.clips) == 29
    assert (
        "1 of 30 images have values that are not finite or outside [0, 1], from number 4; left out"
        in capfd.readouterr().err
    )
    found = find_images(tmp_path / "a.npz")
    assert found is not None
    np.testing.assert_array_equal(found.read(4), np.rint(images[5] * 255).transpose(1, 2, 0))
    assert found.labels is not None
    assert found.labels[4] == 1
    images[:7] = np.nan
    np.savez(tmp_path / "a.npz", images=images)
    with pytest.raises(DataError, match="7 of 30 images"):
        find_images(tmp_path / "a.npz")


def test_actions_of_one_value_may_lack_their_axis(tmp_path: Path) -> None:
    frames = np.zeros((6, 5, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "a.npz", frames=frames, actions=np.arange(30).reshape(6, 5))
    summary = prepare(Numpy(source=tmp_path / "a.npz"), tmp_path / "set", workers=1, progress=False)
    assert summary.manifest.action_size == 1
    first = next(clip for clip in summary.clips if clip.clip == "a/000003")
    values = PreparedFrames(tmp_path / "set", summary.manifest, first.split).actions(first)
    np.testing.assert_array_equal(values[:, 0], np.arange(15, 20))


def test_an_image_outside_the_range_costs_only_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3))
    images[4, 2, 1, 0], images[7] = 300, images[7] > 200
    for values in (images, images.astype(np.float32)):
        np.savez(tmp_path / "a.npz", images=values, labels=np.arange(30)[:, None] % 2, about=np.array({}, dtype=object))
        found = find_images(tmp_path / "a.npz")
        assert found is not None
        assert found.labels is not None
        assert len(found) == len(found.labels) == 29
        np.testing.assert_array_equal(np.asarray(found.arrays), np.delete(images, 4, 0))
        assert "1 of 30 images have values that are not finite or outside [0, 255], from number 4" in (
            capfd.readouterr().err
        )
