"""Windows, splits, and the order that does not depend on who asks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpred.data.batch import Batch
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import StepSampler, TrainingSamples, evaluation_offsets, training_offsets
from vidpred.data.splits import divide
from vidpred.data.videos.build import split_videos, without_cuts
from vidpred.data.videos.reader import VideoInfo
from vidpred.data.videos.windows import Segment, VideoWindows, movement
from vidpred.data.worlds.two_way import WorldWindows
from vidpred.errors import DataError


def video(path: str = "a.mp4", frames: int = 100, cuts: tuple[int, ...] = ()) -> VideoInfo:
    return VideoInfo(
        path=path, bytes=1, mtime_ns=1, codec="h264", frames=frames, rate=25.0, width=64, height=48, rotation=0,
        time_base="1/25", pts=list(range(frames)), keyframes=[0], keyframe_dts=[], cuts=list(cuts),
    )  # fmt: skip


def test_offsets_of_the_three_ways_to_predict() -> None:
    assert training_offsets(DataSettings(context_frames=4)) == [0, 1, 2, 3, 4]
    assert training_offsets(DataSettings(context_frames=2, pred_frames=3)) == [0, 1, 2, 3, 4]
    assert training_offsets(DataSettings(context_frames=1, step=8)) == [0, 8]
    assert evaluation_offsets(DataSettings(context_frames=2, step=3), 2) == [0, 1, 2, 3, 4, 5]


@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 39))
def test_processes_share_the_positions_of_a_step(processes: int, share: int, first: int) -> None:
    """Together, in order, the processes see exactly the positions that one process sees."""
    steps, batch = 40, processes * share
    alone = list(StepSampler(first, steps, batch))
    together = list(zip(*(StepSampler(first, steps, batch, rank, processes) for rank in range(processes)), strict=True))
    assert [[position for part in parts for position in part] for parts in together] == alone
    assert alone[0][0] == first * batch
    assert sum(len(part) for part in alone) == (steps - first) * batch


def test_every_window_once_an_epoch() -> None:
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


def test_by_time_there_are_gaps_and_the_test_part_is_the_last() -> None:
    settings = DataSettings(context_frames=4, split="time")
    splits = split_videos(Path("none"), [video(frames=100)], settings)
    (train,), (validation,), (test,) = splits["train"], splits["validation"], splits["test"]
    assert (train.first, train.end) == (0, 65)
    assert (validation.first, validation.end) == (70, 80)
    assert (test.first, test.end) == (85, 100)


@pytest.mark.parametrize(("frames", "gap"), [(100, 5), (1000, 20), (12, 0)])
def test_a_gap_of_its_own_is_a_twentieth_of_a_clip_and_20_at_most(frames: int, gap: int) -> None:
    train, validation, test = divide({"a": frames}, "time", gap=None)
    assert (validation.first - train.end, test.first - validation.end) == (gap, gap)


def test_by_file_no_file_is_in_two_splits() -> None:
    videos = [video(f"{number}.mp4") for number in range(20)]
    splits = split_videos(Path("none"), videos, DataSettings())
    names = {split: {segment.video.path for segment in segments} for split, segments in splits.items()}
    assert {split: len(found) for split, found in names.items()} == {"train": 14, "validation": 2, "test": 4}
    assert len(names["train"] | names["validation"] | names["test"]) == 20
    more = split_videos(Path("none"), [*videos, video("new.mp4")], DataSettings())
    assert len({s.video.path for s in more["test"]} & names["test"]) >= 3, "one more file must not reshuffle all"


def test_a_split_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "splits.csv").write_text("path,split\na.mp4,test\nb.mp4,train\n")
    splits = split_videos(tmp_path, [video("a.mp4"), video("b.mp4"), video("c.mp4")], DataSettings())
    assert [segment.video.path for segment in splits["train"]] == ["b.mp4"]
    assert [segment.video.path for segment in splits["test"]] == ["a.mp4"]
    (tmp_path / "splits.csv").write_text("a.mp4,tset\n")
    with pytest.raises(DataError, match=r"row 1 is not path,train\|validation\|test"):
        split_videos(tmp_path, [video("a.mp4")], DataSettings())


def test_no_window_spans_a_cut() -> None:
    shots = without_cuts(Segment(video(cuts=(30, 60)), 10, 80))
    assert [(shot.first, shot.end) for shot in shots] == [(10, 30), (30, 60), (60, 80)]


def test_windows_are_counted_exactly() -> None:
    """A stretch of n frames has n - length + 1 windows; the last one ends with the stretch."""
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
    """The left half moves, the right half is still."""

    def window(self, index: int, stray: bool = False, speed: int = 1) -> np.ndarray:
        frames = np.zeros((5, 48, 64, 3), np.uint8)
        frames[4, :, :32] = 200
        return frames


def test_patches_that_move_are_preferred() -> None:
    settings = DataSettings(patch_size=16, movement_threshold=0.3)
    source = Halves(Path("none"), [Segment(video(), 0, 100)], settings, [0, 1, 2, 3, 4])
    patches = [source.sample(0, np.random.default_rng(seed)) for seed in range(30)]
    assert all(movement(patch[3], patch[4]) >= 0.3 for patch in patches)
    anywhere = DataSettings(patch_size=16)
    source = Halves(Path("none"), [Segment(video(), 0, 100)], anywhere, [0, 1, 2, 3, 4])
    patches = [source.sample(0, np.random.default_rng(seed)) for seed in range(30)]
    assert any(movement(patch[3], patch[4]) < 0.3 for patch in patches)


def test_a_source_too_short_says_by_how_much() -> None:
    settings = DataSettings()
    assert len(build_source(settings, "test", training_offsets(settings))) == 256
