"""Resampling in time: by hand, and consistently in files, windows, splits and predictions."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.video_files import numbered_frames, read_number, write_video
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings, VideoSettings
from vidpred.data.sources import Source
from vidpred.data.videos.build import split_videos, without_breaks
from vidpred.data.videos.containers import frame_rate
from vidpred.data.videos.frame_rate import kept_frames, kept_positions
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import VideoInfo
from vidpred.data.videos.windows import Segment
from vidpred.inference.predict_video import PredictRequest, VideoPrediction
from vidpred.inference.predictor import Predictor
from vidpred.models.baselines import CopyLast

#                 0   1   2    3    4    5    6    7     8
MILLISECONDS = [0, 40, 80, 240, 280, 320, 480, 900, 1000]


def video(pts: list[int], time_base: str = "1/1000", rate: float = 25.0) -> VideoInfo:
    return VideoInfo(
        path="a.mkv", bytes=1, mtime_ns=1, codec="h264", frames=len(pts), rate=rate, width=64, height=48, rotation=0,
        time_base=time_base, pts=pts, keyframes=[0], keyframe_dts=[], cuts=[],
    )  # fmt: skip


def test_kept_frames_by_hand() -> None:
    #                             ms 0  100 200 300 400 500 600 700 800 900 1000
    assert kept_frames(video(MILLISECONDS), 10) == [0, 2, 2, 4, 5, 6, 6, 6, 6, 7, 8]
    #                            ms 0  250 500 750 1000
    assert kept_frames(video(MILLISECONDS), 4) == [0, 3, 6, 6, 8]
    assert kept_frames(video([5000 + time for time in MILLISECONDS]), 4) == [0, 3, 6, 6, 8], "a late start"
    assert kept_frames(video(MILLISECONDS), None) == range(9)
    assert kept_frames(video([7]), 10) == [0]


def test_files_without_timestamps_use_the_container_rate() -> None:
    raw = replace(video([]), frames=10, rate=25.0)
    #                    ms 0 100 200 300; frames begin at 0, 40, 80, ... 360
    assert kept_frames(raw, 10) == [0, 2, 5, 7]
    assert kept_frames(raw, 50) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9]


@given(st.sampled_from([24, 25, 30, Fraction(30000, 1001), 50]), st.sampled_from([1000, 12800, 90000, 10**9]))
def test_resampling_to_the_rate_of_the_file_keeps_every_frame(rate: Fraction, base: int) -> None:
    """Check rates whose timestamps are rounded to the time base."""
    pts = [round(k / rate * base) for k in range(300)]
    assert kept_frames(video(pts, f"1/{base}"), float(rate)) == list(range(300))


def test_a_cut_begins_at_the_first_kept_frame_of_its_shot() -> None:
    info = replace(video(MILLISECONDS), cuts=[4, 7])
    kept = kept_frames(info, 4)  # [0, 3, 6, 6, 8]
    assert kept_positions(info.cuts, kept) == [2, 4]
    assert [(s.first, s.end) for s in without_breaks(Segment(info, 0, 5), 4)] == [(0, 2), (2, 4), (4, 5)]
    assert kept_positions(info.cuts, range(9)) == [4, 7]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 60 frames that last 40 and 160 ms in turn: frame 2k starts at 200 k ms."""
    pts = [200 * (k // 2) + 40 * (k % 2) for k in range(60)]
    folder = tmp_path_factory.mktemp("variable")
    return write_video(folder / "clip.mkv", numbered_frames(60, 48, 64), pts=pts, time_base=Fraction(1, 1000))


@pytest.mark.parametrize("memory_mb", [0, 100])
def test_windows_by_time(clip: Path, memory_mb: int) -> None:
    settings = DataSettings(
        root=str(clip),
        video={"fps": 10, "skip_cuts": False, "cache_mb": memory_mb},
        split_fractions=(1, 0, 0),
        crop_size=None,
    )
    source = build_source(settings, "train", range(4))

    def at(fps: float) -> Source:
        video = VideoSettings(fps=fps, skip_cuts=False)
        return build_source(settings.model_copy(update={"video": video}), "train", range(4))

    # At 0, 100, 200, ... ms the frames 0, 1, 2, 3, ...: the last one starts at 5840 ms and is skipped.
    assert len(source) == 59 - 3
    assert [read_number(frame) for frame in source.window(10)] == [10, 11, 12, 13]
    half = build_source(
        settings.model_copy(update={"video": VideoSettings(fps=5.0, skip_cuts=False)}), "train", range(4)
    )
    assert [read_number(frame) for frame in half.window(0)] == [0, 2, 4, 6]
    thinned = build_source(settings.model_copy(update={"frame_skip": 3}), "train", range(4))
    assert [read_number(frame) for frame in thinned.window(1)] == [3, 6, 9, 12]
    twice = build_source(
        settings.model_copy(update={"video": VideoSettings(fps=20.0, skip_cuts=False)}), "train", range(4)
    )
    #                                                       ms 0  50 100 150
    assert [read_number(frame) for frame in twice.window(0)] == [0, 1, 1, 1]


def test_split_by_time_counts_kept_frames(clip: Path) -> None:
    settings = DataSettings(root=str(clip), video={"fps": 5}, split="time", split_fractions=(0.5, 0.25, 0.25))
    splits = split_videos(clip, [probe(clip)], settings)  # 30 kept frames, windows of 5
    places = {split: [(segment.first, segment.end) for segment in splits[split]] for split in splits}
    assert places == {"train": [(0, 10)], "validation": [(15, 22)], "test": [(27, 30)]}


def test_predictions_use_resampled_frames(clip: Path) -> None:
    """Check that context and ground truth are resampled as in training."""
    data = DataSettings(video={"fps": 5.0}, context_frames=2, crop_size=None)
    prediction = VideoPrediction.open(PredictRequest(clip, num_frames=3, start=10), [Predictor(CopyLast(2), data)])
    context = prediction._read(prediction.window.numbers)
    truths = [truth for truth in prediction._targets() if truth is not None]
    numbers = [read_number((frame * 255).byte().permute(1, 2, 0).numpy()) for frame in [*context, *truths]]
    assert numbers == [2 * place for place in range(10 - len(context), 13)]
    assert prediction.describe().startswith("30 frames")


@pytest.mark.parametrize(
    ("average", "guessed", "base", "expected"),
    [(Fraction(60_000), 25, 25, 25), (None, 30, 25, 30), (24, 25, 25, 24), (None, 90_000, 50, 50),
     (2000, None, None, 2000), (None, None, None, 25)],
)  # fmt: skip
def test_the_first_usual_rate_of_a_stream(average: Any, guessed: Any, base: Any, expected: float) -> None:
    assert frame_rate(SimpleNamespace(average_rate=average, guessed_rate=guessed, base_rate=base)) == expected
