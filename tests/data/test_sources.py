"""The contract of every kind of source; windows, splits, and an order that is independent of processes."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.data.numbered_set import NumberedSet
from tests.image_files import digits, write_digits, write_idx
from tests.settings_for_tests import data_settings
from tests.video_files import numbered_frames, write_video
from vidpred.data.batch import Batch
from vidpred.data.build import build_source
from vidpred.data.mixed_source import MixedSource
from vidpred.data.prepared.format import Manifest
from vidpred.data.prepared.frame_writer import Clip, Item
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.settings import DataSettings, PointsName, WorldName
from vidpred.data.sources import Source, StepSampler, TrainingSamples, evaluation_offsets, training_offsets
from vidpred.data.splits import divide
from vidpred.data.videos.build import split_videos, without_breaks
from vidpred.data.videos.reader import VideoInfo
from vidpred.data.videos.windows import Segment, VideoWindows, movement
from vidpred.data.worlds.forking_ball import WorldWindows
from vidpred.errors import ConfigError, DataError


def video(path: str = "a.mp4", frames: int = 100, cuts: tuple[int, ...] = ()) -> VideoInfo:
    return VideoInfo(
        path=path, bytes=1, mtime_ns=1, codec="h264", frames=frames, rate=25.0, width=64, height=48, rotation=0,
        time_base="1/25", pts=list(range(frames)), keyframes=[0], keyframe_dts=[], cuts=list(cuts),
    )  # fmt: skip


@dataclass(frozen=True)
class LabeledSet(NumberedSet):
    """A `NumberedSet` with three classes."""

    def clips(self, item: Item, size: int | None) -> Iterator[Clip]:
        for number, clip in enumerate(super().clips(item, size)):
            yield replace(clip, label=number)

    def classes(self) -> list[str]:
        return ["short", "long", "none"]


class Own(Source):
    """A minimal custom source."""

    name, context_frames = "own", 2

    def __len__(self) -> int:
        return 5

    def window(self, index: int) -> np.ndarray:
        return numbered_frames(3, 16, 16, first=3 * index)


class OwnWithRows(Own):
    """A custom source with actions, states and classes."""

    action_size, state_size, classes = 2, 3, ("a", "b")
    labels = np.array([0, 1, 0, 1, 1])

    def window_actions(self, index: int) -> np.ndarray:
        return np.full((2, 2), index, np.float32)

    def action_statistics(self) -> tuple[list[float], list[float]]:
        return [2.0, 2.0], [1.4, 1.4]

    def window_states(self, index: int) -> np.ndarray:
        return np.full((3, 3), -index, np.float32)

    def state_statistics(self) -> tuple[list[float], list[float]]:
        return [-2.0] * 3, [1.4] * 3


def videos(folder: Path) -> str:
    for number in range(2):
        write_video(folder / "videos" / f"{number}.mp4", numbered_frames(30, 24, 32, first=30 * number))
    return str(folder / "videos")


def listed(folder: Path) -> str:
    videos(folder)
    (folder / "prepared.json").write_text(Manifest("listed", {}, videos="videos").to_json())
    (folder / "splits.csv").write_text("0.mp4,train\n1.mp4,test\n")
    return str(folder)


def prepared(folder: Path) -> str:
    prepare(LabeledSet(folder), folder / "set", workers=1, progress=False)
    return str(folder / "set")


def image_folders(folder: Path) -> str:
    for number in range(12):
        path = folder / f"class {number % 3}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((20, 20 + number, 3), 20 * number, np.uint8))
    return str(folder)


def digit_file(folder: Path) -> str:
    return str(write_digits(folder / "digits.npz", 100))


def idx_files(folder: Path) -> str:
    images, labels = digits()
    write_idx(folder / "train-images-idx3-ubyte.gz", images[:100], compressed=True)
    write_idx(folder / "train-labels-idx1-ubyte", labels[:100])
    return str(folder)


SMALL = {"context_frames": 2, "crop_size": 16, "horizontal_flip": False}
PREPARED = {**SMALL, "crop_size": 8}
IMAGES = {"context_frames": 0, "crop_size": 8}
POINTS = {"context_frames": 0, "channels": 1}
KINDS: dict[str, tuple[Callable[[Path], str] | None, dict[str, Any]]] = {
    "videos": (videos, SMALL),
    "videos, whole frames": (videos, {**SMALL, "crop_size": None, "frame_skip": 2, "lead": 2, "channels": 1}),
    "videos, augmented": (videos, {**SMALL, "time_warp": 0.5, "max_speed": 2, "camera_shake": 1.0, "min_motion": 0.01}),
    "videos and moving things": (videos, {**SMALL, "synthetic_share": 0.5}),
    "listed videos": (listed, SMALL),
    "prepared": (prepared, PREPARED),
    "prepared, with a lead": (prepared, {**PREPARED, "frame_skip": 2, "lead": 2}),
    "prepared, few labels": (prepared, {**PREPARED, "labeled": 7, "labeled_share": 0.3}),
    "folders of images": (image_folders, {**IMAGES, "size": 16}),
    "digits": (digit_file, {**IMAGES, "channels": 1}),
    "IDX files": (idx_files, {**IMAGES, "channels": 1}),
    "digits, few labels": (digit_file, {**IMAGES, "labeled": 11, "labeled_share": 0.3}),
    **{name: (None, {**(POINTS if name in get_args(PointsName) else SMALL), "name": name})
       for name in [*get_args(WorldName)[:4], *get_args(PointsName)]},
}  # fmt: skip


def build(kind: str, folder: Path) -> tuple[Source, DataSettings]:
    if kind.startswith("own"):
        return (Own() if kind == "own" else OwnWithRows()), DataSettings(context_frames=2)
    make, values = KINDS[kind]
    settings = data_settings(**values)
    if make is not None:
        settings = settings.model_copy(update={"root": make(folder)})
    return build_source(settings, "train", training_offsets(settings)), settings


@pytest.mark.parametrize("kind", [*KINDS, "own", "own with rows"])
def test_every_source_fulfils_the_contract(kind: str, tmp_path: Path) -> None:
    source, settings = build(kind, tmp_path)
    count, span = len(source), training_offsets(settings)[-1] + 1 if settings.context_frames else 1
    assert isinstance(source, Source)
    assert isinstance(source.name, str)
    assert count > 4
    assert source.context_frames == settings.context_frames
    windows = sorted({0, 1, count // 2, count - 1})
    for index in windows:
        window, actions, states = source.window(index), source.window_actions(index), source.window_states(index)
        assert window.shape[0] == settings.context_frames + settings.future_frames
        assert window.ndim == 4
        assert window.dtype == (np.float32 if settings.has_points else np.uint8)
        assert window.shape[3] == (settings.channels if kind != "own" else 3)
        np.testing.assert_array_equal(window, source.window(index))
        assert isinstance(source.clip_name(index), str)
        for rows, length, size in ((actions, span - 1, source.action_size), (states, span, source.state_size)):
            assert (rows is None) == (size == 0)
            if rows is not None:
                assert rows.shape == (length, size)
                assert rows.dtype == np.float32
    for size, statistics in (
        (source.action_size, source.action_statistics),
        (source.state_size, source.state_statistics),
    ):
        if size:
            assert [len(values) for values in statistics()] == [size, size]
    for sequence, moves in source.sequences() if source.state_size else ():
        assert sequence.shape[1] == source.state_size
        assert moves is None or moves.shape == (len(sequence) - 1, source.action_size)
    assert (source.labels is None) == (not source.classes)
    if source.labels is not None:
        assert source.labels.shape == (count,)
        assert source.labels.dtype == np.int64
        assert source.labels.min() >= -1
        assert source.labels.max() < len(source.classes)
    order = source.order(np.random.default_rng(3))
    assert np.array_equal(np.sort(order), np.arange(count))
    assert np.array_equal(order, source.order(np.random.default_rng(3)))


@pytest.mark.parametrize("kind", [*KINDS, "own", "own with rows"])
def test_samples_are_a_function_of_seed_and_position(kind: str, tmp_path: Path) -> None:
    """Check that a sample does not depend on its process or on the rest of its batch."""
    source, settings = build(kind, tmp_path)
    positions = list(range(7, 19))
    windows = [position % min(len(source), 40) for position in positions]
    batch = source.draw(windows, positions, 1)
    assert batch.context.shape[:2] == (12, settings.context_frames)
    assert batch.future.shape[:2] == (12, settings.future_frames)
    assert batch.context.shape[2:] == batch.future.shape[2:]
    assert batch.future.dtype == (torch.float32 if settings.has_points else torch.uint8)
    assert batch.positions.tolist() == positions
    span = training_offsets(settings)[-1] + 1
    for rows, length, size in (
        (batch.actions, span - 1, source.action_size),
        (batch.states, span, source.state_size),
    ):
        assert (rows is None) == (size == 0)
        assert rows is None or rows.shape == (12, length, size)
    assert (batch.labels is None) == (source.labels is None)
    if batch.labels is not None and source.labels is not None and not settings.labeled_share:
        assert batch.labels.tolist() == source.labels[windows].tolist()
    part = pickle.loads(pickle.dumps(source)).draw(windows[3:5], positions[3:5], 1)
    for name in ("context", "future", "positions", "actions", "states", "labels"):
        own, other = getattr(batch, name), getattr(part, name)
        assert (own is None and other is None) or torch.equal(own[3:5], other), name


def test_mixed_sources_must_have_the_same_attributes() -> None:
    """Reject mixing sources with and without actions, states or classes, which would drop them."""
    with pytest.raises(ConfigError, match=r"data.world.synthetic_share=0.5\] own and own do not have the same actions"):
        MixedSource(OwnWithRows(), Own(), 0.5)
    mixed = MixedSource(OwnWithRows(), OwnWithRows(), 0.5)
    assert mixed.draw([0] * 30, list(range(30)), 0).labels.float().mean() > 0.1  # type: ignore[union-attr]
    assert (mixed.action_size, mixed.state_size, mixed.classes) == (2, 3, ("a", "b"))


def test_offsets_of_the_three_ways_to_predict() -> None:
    assert training_offsets(DataSettings(context_frames=4)) == [0, 1, 2, 3, 4]
    assert training_offsets(DataSettings(context_frames=2, pred_frames=3)) == [0, 1, 2, 3, 4]
    assert training_offsets(DataSettings(context_frames=1, lead=8)) == [0, 8]
    assert evaluation_offsets(DataSettings(context_frames=2, lead=3), 2) == [0, 1, 2, 3, 4, 5]


@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 39))
def test_processes_share_the_positions_of_a_step(processes: int, share: int, first: int) -> None:
    """Check that the processes' positions, joined in order, are those of a single process."""
    steps, batch = 40, processes * share
    alone = list(StepSampler(first, steps, batch))
    together = list(zip(*(StepSampler(first, steps, batch, rank, processes) for rank in range(processes)), strict=True))
    assert [[position for part in parts for position in part] for parts in together] == alone
    assert alone[0][0] == first * batch
    assert sum(len(part) for part in alone) == (steps - first) * batch


def test_every_window_is_drawn_once_per_epoch() -> None:
    settings = DataSettings()
    samples = TrainingSamples(WorldWindows(settings, [0, 1, 2, 3, 4], 30, 0), seed=1)
    seen: list[int] = []
    draw = samples.source.draw

    def note(windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        seen.extend(windows)
        return draw(windows, positions, seed)

    samples.source.draw = note  # type: ignore[method-assign]
    for position in range(60):
        samples[position]
    assert sorted(seen[:30]) == sorted(seen[30:]) == list(range(30))
    assert seen[:30] != seen[30:]


def test_a_sample_is_a_function_of_seed_and_position() -> None:
    settings = DataSettings()
    first, second, other = (TrainingSamples(WorldWindows(settings, [0, 1, 2, 3, 4], 30, 0), seed) for seed in (1, 1, 2))
    backwards = {position: second[position] for position in reversed(range(40))}
    for position in range(40):
        assert np.array_equal(first[position].context, backwards[position].context)
        assert np.array_equal(first[position].future, backwards[position].future)
    assert any(not np.array_equal(first[p].context, other[p].context) for p in range(5))


def test_splits_by_time_have_gaps_and_end_with_the_test_part() -> None:
    settings = DataSettings(context_frames=4, split="time")
    splits = split_videos(Path("none"), [video(frames=100)], settings)
    (train,), (validation,), (test,) = splits["train"], splits["validation"], splits["test"]
    assert (train.first, train.end) == (0, 65)
    assert (validation.first, validation.end) == (70, 80)
    assert (test.first, test.end) == (85, 100)


@pytest.mark.parametrize(("frames", "gap"), [(100, 5), (1000, 20), (12, 0)])
def test_the_default_gap_is_a_twentieth_of_the_clip_up_to_20(frames: int, gap: int) -> None:
    train, validation, test = divide({"a": frames}, "time", gap=None)
    assert (validation.first - train.end, test.first - validation.end) == (gap, gap)


def test_splits_by_file_are_disjoint() -> None:
    videos = [video(f"{number}.mp4") for number in range(20)]
    splits = split_videos(Path("none"), videos, DataSettings())
    names = {split: {segment.video.path for segment in segments} for split, segments in splits.items()}
    assert {split: len(found) for split, found in names.items()} == {"train": 14, "validation": 2, "test": 4}
    assert len(names["train"] | names["validation"] | names["test"]) == 20
    more = split_videos(Path("none"), [*videos, video("new.mp4")], DataSettings())
    assert len({s.video.path for s in more["test"]} & names["test"]) >= 3, "one more file must not reshuffle all"


def test_folders_named_after_splits_divide_videos() -> None:
    names = [f"{folder}/{number}.mp4" for folder in ("train", "test") for number in range(10)]
    videos = [video(name) for name in names]
    found = split_videos(Path("none"), videos, DataSettings())
    assert {segment.video.path for segment in found["test"]} == set(names[10:])
    assert len(found["validation"]) == 1, "of the training videos"
    assert {segment.video.path for segment in [*found["train"], *found["validation"]]} == set(names[:10])
    by_file = split_videos(Path("none"), videos, DataSettings(split="file"))
    assert {segment.video.path for segment in by_file["test"]} != set(names[10:])


def test_a_split_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("path,split\na.mp4,test\nb.mp4,train\n")
    splits = split_videos(tmp_path, [video("a.mp4"), video("b.mp4"), video("c.mp4")], DataSettings())
    assert [segment.video.path for segment in splits["train"]] == ["b.mp4"]
    assert [segment.video.path for segment in splits["test"]] == ["a.mp4"]
    (tmp_path / "splits.csv").write_text("a.mp4,tset\n")
    with pytest.raises(DataError, match=r"row 1 is not path,train\|validation\|test"):
        split_videos(tmp_path, [video("a.mp4")], DataSettings())


def test_no_window_spans_a_cut() -> None:
    shots = without_breaks(Segment(video(cuts=(30, 60)), 10, 80))
    assert [(shot.first, shot.end) for shot in shots] == [(10, 30), (30, 60), (60, 80)]


def test_windows_are_counted_exactly() -> None:
    """Check that a segment of n frames has n - length + 1 windows, the last of which ends with the segment."""
    segments = [Segment(video("a.mp4"), 10, 30), Segment(video("b.mp4"), 0, 4), Segment(video("c.mp4"), 95, 100)]
    windows = VideoWindows(Path("none"), segments, DataSettings(), [0, 1, 2, 3, 4])
    assert len(windows) == 16 + 0 + 1
    assert windows.locate(0)[1] == 10
    assert windows.locate(15)[1] == 25
    assert windows.locate(16)[0].path == "c.mp4"
    assert windows.locate(16)[1] == 95
    thinned = VideoWindows(Path("none"), segments, DataSettings(frame_skip=3), [0, 1, 2, 3, 4])
    assert [thinned.locate(index)[1] for index in range(len(thinned))] == [10, 13, 16]


def test_movement_is_the_mean_square_in_unit_range() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert movement(black, white) == 1
    assert movement(black, np.full((4, 4, 3), 51, np.uint8)) == pytest.approx(0.04)


class Halves(VideoWindows):
    """A source in which the left half moves and the right half is still."""

    def window(self, index: int, stray: bool = False, speed: int = 1) -> np.ndarray:
        frames = np.zeros((5, 48, 64, 3), np.uint8)
        frames[4, :, :32] = 200
        return frames


def test_crops_with_motion_are_preferred() -> None:
    settings = DataSettings(crop_size=16, min_motion=0.3)
    source = Halves(Path("none"), [Segment(video(), 0, 100)], settings, [0, 1, 2, 3, 4])
    patches = [source.sample(0, np.random.default_rng(seed)) for seed in range(30)]
    assert all(movement(patch[3], patch[4]) >= 0.3 for patch in patches)
    anywhere = DataSettings(crop_size=16)
    source = Halves(Path("none"), [Segment(video(), 0, 100)], anywhere, [0, 1, 2, 3, 4])
    patches = [source.sample(0, np.random.default_rng(seed)) for seed in range(30)]
    assert any(movement(patch[3], patch[4]) < 0.3 for patch in patches)


def test_the_default_world_has_256_test_windows() -> None:
    settings = DataSettings()
    assert len(build_source(settings, "test", training_offsets(settings))) == 256
