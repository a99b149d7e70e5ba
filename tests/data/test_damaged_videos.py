"""Awkward and damaged videos: what players show is used, what is lost is noted, and random access stays exact."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.odd_videos import COUNT, DAMAGED, FRAMES, GOOD, H264, MPEG4, cut, flipped, joined, whole, zeroed
from tests.video_files import numbered_frames, read_number, write_video
from vidpred.data.settings import DataSettings
from vidpred.data.videos.build import video_source, without_breaks
from vidpred.data.videos.index import bad_videos_file, require_videos
from vidpred.data.videos.probe import probe
from vidpred.data.videos.reader import VideoInfo, read_frames, stream_frames
from vidpred.data.videos.windows import Segment
from vidpred.errors import DataError


def check_access(path: Path) -> tuple[VideoInfo, np.ndarray]:
    """Assert that frames read in random order are those of sequential decoding; return what was scanned and these."""
    info, frames = probe(path), np.stack(list(stream_frames(path)))
    assert len(frames) == info.frames
    for number in np.random.default_rng(0).permutation(info.frames)[:20]:
        assert np.array_equal(read_frames(path, info, [number])[0], frames[number]), f"frame {number}"
    return info, frames


@pytest.mark.slow
@pytest.mark.parametrize("name", GOOD)
def test_what_players_show_is_used_without_a_note(tmp_path: Path, name: str) -> None:
    make, count = GOOD[name]
    make(tmp_path / name)
    info, _ = check_access(tmp_path / name)
    assert (info.frames, info.notes) == (count, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGED)
def test_whole_frames_of_damaged_files_are_used_with_a_note(tmp_path: Path, name: str) -> None:
    make, words = DAMAGED[name]
    make(tmp_path / name)
    info, _ = check_access(tmp_path / name)
    assert 0 < info.frames < COUNT
    assert re.search(words, "; ".join(info.notes)), info.notes


def test_a_part_of_a_dv_frame_is_no_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.dv", numbered_frames(4, 576, 720), "dvvideo")
    expected = list(stream_frames(path))
    path.write_bytes(path.read_bytes()[: int(2.6 * 144_000)])
    info, frames = check_access(path)
    np.testing.assert_array_equal(frames, expected[:2])
    assert info.notes == ["1 frame damaged or without a reference frame, first after frame 2 (incomplete image)"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.avi", "lost.ts", "zeroed.mp4", "zeroed.flv", "zeroed.mpg"])
def test_what_is_used_is_what_was_recorded(tmp_path: Path, name: str) -> None:
    """No frame that was predicted from missing data is kept: every number can be read, ascending, with its texture."""
    make, _ = DAMAGED[name]
    make(tmp_path / name)
    _, frames = check_access(tmp_path / name)
    numbers = [read_number(frame) for frame in frames]
    assert numbers == sorted(set(numbers))
    for number, frame in zip(numbers, frames, strict=True):
        assert np.abs(frame.astype(int) - FRAMES[number]).mean() < 12, f"frame {number}"


def test_no_window_spans_missing_frames(tmp_path: Path) -> None:
    path = tmp_path / "zeroed.mp4"
    zeroed(path, options={"g": "12"}, container_options={"movflags": "faststart"})
    info, _ = check_access(path)
    assert info.gaps
    assert [segment.first for segment in without_breaks(Segment(info, 0, info.frames), skip_cuts=False)][
        1:
    ] == info.gaps
    settings = DataSettings(root=str(path), context_frames=2, split_fractions=(1.0, 0.0, 0.0), crop_size=None)
    source = video_source(settings, "train", range(3))
    for index in range(len(source)):
        numbers = [read_number(frame) for frame in source.window(index)]
        assert np.diff(numbers).tolist() == [1, 1]


@pytest.mark.slow
def test_damaged_videos_are_used_skipped_or_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "clips"
    for number in range(4):
        whole(folder / f"{number}.mp4", **H264)
    cut(folder / "cut.avi", **MPEG4)
    (folder / "page.mp4").write_text("<html>404</html>")
    assert len(require_videos(folder, "use", progress=True)) == 5
    printed = capsys.readouterr().err
    assert "1 of 6 videos cannot be read and are skipped: page.mp4: an HTML page" in printed
    assert "1 of 6 videos are damaged: cut.avi: usable: 2 frames; the file ends" in printed
    listed = bad_videos_file(folder).read_text()
    assert "cut.avi,usable: 2 frames" in listed.replace('"', "")
    assert "page.mp4,an HTML page" in listed.replace('"', "")
    assert len(require_videos(folder, "skip")) == 4
    with pytest.raises(DataError, match=r"2 of 6 videos are damaged or cannot be read .*data.video.on_bad_video=use"):
        require_videos(folder, "error")
    with pytest.raises(DataError, match=r"2 of 6 videos cannot be read .*raise data.max_bad_fraction"):
        require_videos(folder, "skip", max_bad_fraction=0.2)
    assert len(require_videos(folder, "use", max_bad_fraction=0.2)) == 5


@pytest.mark.parametrize("make", [joined, lambda path: flipped(path, 3, 60, **H264)], ids=["joined", "flipped"])
def test_a_second_scan_agrees(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "a.ts")
    assert probe(tmp_path / "a.ts") == probe(tmp_path / "a.ts")
