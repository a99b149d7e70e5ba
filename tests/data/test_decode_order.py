"""Windows that share decoded frames: the order is a shuffle, all frames are correct, and memory is bounded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader

from tests.settings_for_tests import data_settings
from tests.video_files import numbered_frames, write_video
from vidpred.data.build import build_source
from vidpred.data.sources import StepSampler, TrainingSamples, collate
from vidpred.data.videos import decode_order
from vidpred.data.videos import windows as video_windows
from vidpred.data.videos.decode_order import DecodeCache, DecodeGroups, group_ends
from vidpred.data.videos.windows import VideoWindows

FRAMES = 120


def test_groups_end_at_keyframes() -> None:
    numbers = np.arange(100)
    assert group_ends(np.arange(110), range(0, 110, 12), 5, 1000) == [36, 72, 110], "as soon as there are 32 windows"
    assert group_ends(numbers, range(0, 100, 30), 5, 1000) == [60, 100], "a short rest joins the previous group"
    assert group_ends(numbers, range(0, 100, 12), 10, 1000) == [48, 100], "four window lengths are 40"
    assert group_ends(numbers, [0], 5, 1000) == [100]
    assert group_ends(numbers, [], 5, 40) == [33, 66, 100], "in equal parts if the group would be too large"
    assert group_ends(np.arange(3), [0, 1, 2], 5, 1000) == [3]
    assert group_ends(np.arange(10, 100) * 2, [0, 100, 110], 5, 1000) == [40, 90], "frame_skip=2, from frame 20 on"


def test_the_order_is_a_well_mixed_permutation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the order mixes many groups in a batch, and never needs more bytes than the pool."""
    ends = np.cumsum(np.random.default_rng(0).integers(20, 60, 400))
    costs = np.diff(ends, prepend=0) * 100
    every = DecodeGroups(ends, costs)
    monkeypatch.setattr(decode_order, "POOL_BYTES", int(costs.sum()))
    assert np.array_equal(every.shuffle(np.random.default_rng(3)), np.random.default_rng(3).permutation(ends[-1]))
    monkeypatch.setattr(decode_order, "POOL_BYTES", int(costs.sum() / 5))
    order = every.shuffle(np.random.default_rng(3))
    assert np.array_equal(np.sort(order), np.arange(ends[-1]))
    assert np.array_equal(order, every.shuffle(np.random.default_rng(3)))
    assert not np.array_equal(order, every.shuffle(np.random.default_rng(4)))
    numbers = np.searchsorted(ends, order, side="right")
    assert [every.number(int(window)) for window in order[:50]] == numbers[:50].tolist()
    places = np.arange(len(order))
    first, last = np.full(400, len(order)), np.zeros(400)
    np.minimum.at(first, numbers, places)
    np.maximum.at(last, numbers, places)
    alive = [costs[(first <= place) & (place <= last)].sum() for place in places[::50]]
    assert max(alive) <= decode_order.POOL_BYTES
    middle = len(order) // 2
    assert len(set(numbers[middle : middle + 32])) > 20
    assert abs(np.corrcoef(first, np.arange(400))[0, 1]) < 0.2, "groups must not be in the order of the videos"
    # Groups start evenly: after half of the windows, about half of the groups have been decoded.
    assert abs(np.mean(first < middle) - 0.5) < 0.15


def test_the_cache_is_bounded() -> None:
    cache = DecodeCache(1000)
    for number in range(10):
        cache.put(number, np.arange(4), np.zeros((4, 10, 10, 1), np.uint8))
        assert cache.get(0 if number < 2 else number) is not None
    assert cache.bytes <= 1000
    assert cache.get(9) is not None
    assert cache.get(8) is not None
    assert cache.get(7) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for number, (name, how) in enumerate(
        {
            "short.mp4": {"options": {"g": "12", "bf": "2"}}, "long.mp4": {"options": {"g": "250", "bf": "3"}},
            "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}}, "h264.avi": {"options": {"g": "12", "bf": "2"}},
            "raw.h264": {"container_format": "h264"}, "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
        }.items()
    ):  # fmt: skip
        write_video(root / name, numbered_frames(FRAMES, 48, 64, first=number * 7), **how)
    (root / "splits.csv").write_text("".join(f"{path.name},train\n" for path in sorted(root.iterdir())))
    return root


@pytest.fixture
def source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., VideoWindows]:
    """Return windows of the folder, of which a third fits into the pool."""
    size = 24 * 32 * 3
    monkeypatch.setattr(decode_order, "POOL_BYTES", 2 * FRAMES * size)
    monkeypatch.setattr(decode_order, "POOL_PARTS", 4)

    def build(**settings: Any) -> VideoWindows:
        shared = {
            "root": str(folder),
            "size": 24,
            "crop_size": None,
            "horizontal_flip": False,
            "cache_mb": 1,
            **settings,
        }
        found = build_source(data_settings(**shared), "train", range(5))
        assert isinstance(found, VideoWindows)
        found._keep = found._keep and settings.get("cache_mb", 1) > 1  # all of them would fit into a megabyte
        return found

    return build


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"frame_skip": 3}, {"fps": 10.0}, {"channels": 1, "skip_cuts": False}])
def test_ordered_windows_equal_single_reads(source: Callable[..., VideoWindows], settings: dict[str, Any]) -> None:
    alone, ordered = source(**settings), source(**settings)
    order = ordered.order(np.random.default_rng(1))
    assert ordered._cache is not None
    assert sorted(order) == list(range(len(alone)))
    for window in order:
        assert np.array_equal(ordered.window(int(window)), alone.window(int(window)))
    assert alone._cache is None


@pytest.mark.slow
def test_a_group_is_decoded_once(source: Callable[..., VideoWindows], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 0
    read = video_windows.read_frames

    def counted(path: Path, info: Any, numbers: list[int], *rest: Any) -> Any:
        nonlocal decoded
        decoded += len(numbers)
        return read(path, info, numbers, *rest)

    monkeypatch.setattr(video_windows, "read_frames", counted)
    windows = source(skip_cuts=False)
    order = windows.order(np.random.default_rng(1))
    for window in order:
        windows.window(int(window))
    assert decoded <= 1.35 * 6 * FRAMES, "without groups, each frame would be decoded nearly five times"
    before = decoded
    windows.window(int(order[0]), stray=True)
    assert decoded == before + 5, "a window out of order is read alone"


def test_the_order_is_independent_of_the_cache(source: Callable[..., VideoWindows]) -> None:
    orders = [source(**how).order(np.random.default_rng(5)) for how in ({}, {"cache_mb": 0}, {"cache_mb": 4000})]
    assert np.array_equal(orders[0], orders[1])
    assert np.array_equal(orders[0], orders[2])
    little = source(cache_mb=0)
    little.order(np.random.default_rng(5))
    assert little._cache is None, "there is too little memory to cache frames"


@pytest.mark.slow
def test_workers_read_the_same_as_one_process(source: Callable[..., VideoWindows]) -> None:
    batches = []
    for workers in (0, 2):
        sampler = StepSampler(0, 2 * 690 // 16, 16)  # into the second epoch
        loader = DataLoader(
            TrainingSamples(source(skip_cuts=False), 3), batch_sampler=sampler, num_workers=workers, collate_fn=collate
        )
        batches.append(list(loader))
    assert all(torch.equal(one.context, two.context) for one, two in zip(*batches, strict=True))
    assert all(torch.equal(one.future, two.future) for one, two in zip(*batches, strict=True))


@pytest.mark.slow
def test_memory_stays_flat(source: Callable[..., VideoWindows]) -> None:
    windows = source(skip_cuts=False)
    process = psutil.Process()
    sizes = []
    for epoch in range(5):
        for window in windows.order(np.random.default_rng(epoch)):
            windows.window(int(window))
        sizes.append(process.memory_info().rss)
    assert sizes[-1] - sizes[1] < 8 * 2**20
