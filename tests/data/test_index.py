"""Folders of videos: scanned once, with bad files by name, and the index in the cache if the folder is read-only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.data.killed import killed
from tests.video_files import numbered_frames, write_video
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.videos import index as index_module
from vidpred.data.videos.index import find_videos, require_videos, scan
from vidpred.data.videos.limits import Limits
from vidpred.errors import DataError, StorageError
from vidpred.processes.pool import in_processes, is_command


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    root = tmp_path / "clips"
    for name in ("b.mp4", "deep/er/ä ö.mp4", "A.MP4", ".hidden/c.mp4"):
        write_video(root / name, numbered_frames(5, 32, 32))
    (root / "notes.txt").write_text("no video")
    return root


def test_videos_are_found_at_any_depth_except_hidden_ones(clips: Path) -> None:
    assert [video.path for video in require_videos(clips)] == ["A.MP4", "b.mp4", "deep/er/ä ö.mp4"]


def test_only_changed_files_are_scanned_again(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[str] = []
    probe = index_module.probe
    monkeypatch.setattr(
        index_module, "probe", lambda path, name, limits: probed.append(name) or probe(path, name, limits)
    )
    first = require_videos(clips)
    assert len(probed) == 3
    assert require_videos(clips) == first
    assert len(probed) == 3, "an unchanged folder was scanned again"
    write_video(clips / "b.mp4", numbered_frames(9, 32, 32))
    assert {video.path: video.frames for video in require_videos(clips)}["b.mp4"] == 9
    assert probed[3:] == ["b.mp4"]
    (clips / "A.MP4").unlink()
    assert len(require_videos(clips)) == 2


@pytest.mark.parametrize("damage", ["", "{", '{"format": "vidpred index", "version": 99}\n', "x\ny\n"])
def test_a_damaged_index_is_rebuilt(clips: Path, damage: str) -> None:
    first = require_videos(clips)
    file = clips / ".vidpred" / "index.jsonl"
    assert file.is_file()
    file.write_text(damage)
    assert require_videos(clips) == first


def test_a_read_only_folder_is_indexed_in_the_cache(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index_module.os, "access", lambda *_: False)
    require_videos(clips)
    assert not (clips / ".vidpred").exists()
    assert len(list((tmp_path / "cache").rglob("index.jsonl"))) == 1


def test_a_file_in_the_place_of_the_index_folder(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (clips / ".vidpred").write_text("mine")
    assert require_videos(clips)
    assert (clips / ".vidpred").read_text() == "mine"
    assert len(list((tmp_path / "cache").rglob("index.jsonl"))) == 1
    assert not capsys.readouterr().err


def test_one_video_is_a_data_set(clips: Path) -> None:
    (video,) = require_videos(clips / "b.mp4")
    assert video.frames == 5
    write_video(clips / "long.mp4", numbered_frames(60, 32, 32))
    settings = DataSettings(root=str(clips / "long.mp4"))
    source = build_source(settings, "test", [0, 1, 2, 3, 4])
    assert source.window(0).shape == (5, 32, 32, 3)


def test_all_bad_files_are_named(clips: Path) -> None:
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "page.mp4").write_text("<html></html>")
    with pytest.raises(DataError) as caught:
        require_videos(clips, "error")
    message = str(caught.value)
    for word in ("2 of 5 videos", "empty.mp4: empty file", "page.mp4: an HTML page", "data.video.on_bad_video=use"):
        assert word in message
    assert len(require_videos(clips, "skip")) == 3
    assert len(require_videos(clips)) == 3
    assert (clips / ".vidpred" / "bad_videos.csv").read_text().splitlines()[1] == "empty.mp4,empty file (0 bytes)"


def test_missing_or_unreadable_data_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="set data.root=FOLDER_OF_VIDEOS"):
        require_videos(tmp_path / "absent")
    with pytest.raises(DataError, match=r"expected .*UCF-101/<Class>/v_<Class>_gXX_cYY.avi.*vidpred prepare ucf101"):
        require_videos(tmp_path / "UCF-101")
    with pytest.raises(DataError, match="no video files"):
        require_videos(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 1 video files can be read"):
        require_videos(tmp_path, "skip")


def test_other_files_as_data_are_named_without_advice_to_encode_them(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("not a clip")
    for root, beginning in ((tmp_path, "none of the 1 video files"), (tmp_path / "notes.mp4", "a text, not a video")):
        with pytest.raises(DataError, match=rf"^{beginning}.*; set data.root to a video or a folder of videos, such"):
            require_videos(root)


def test_too_short_videos_name_the_settings(clips: Path) -> None:
    with pytest.raises(DataError, match=r"no train window: .* 5 of the 13 frames needed .*data.context_frames"):
        build_source(DataSettings(root=str(clips), split="file"), "train", list(range(13)))


def test_a_scan_separates_good_and_bad_files(clips: Path) -> None:
    (clips / "bad.avi").write_bytes(b"RIFF....WAVE")
    videos, bad = scan(clips)
    assert len(videos) == 3
    assert bad == [("bad.avi", "an image or sound, not a video")]


def test_special_files_are_reported_and_not_opened(clips: Path) -> None:
    os.mkfifo(clips / "pipe.mp4")  # opening it would block forever
    (clips / "device.mp4").symlink_to("/dev/zero")
    (clips / "gone.mp4").symlink_to("nowhere")
    _, bad = scan(clips)
    assert bad == [
        ("device.mp4", "a device, not a regular file"),
        ("gone.mp4", "broken link"),
        ("pipe.mp4", "a named pipe, not a regular file"),
    ]


def test_limits_apply_to_indexed_videos(clips: Path) -> None:
    assert len(scan(clips)[0]) == 3
    for limits, words in (
        (Limits(pixels=1000), "too large: frames of 32x32 exceed data.video.max_pixels=1000"),
        (Limits(frames=4), "too long: 5 frames exceed data.video.max_frames=4"),
        (Limits(hours=0.1 / 3600), "exceed data.video.max_hours="),
    ):
        videos, bad = scan(clips, limits=limits)
        assert not videos
        assert all(words in reason for _, reason in bad)
    assert len(scan(clips)[0]) == 3
    with pytest.raises(DataError, match="data.video.max_frames=4"):
        build_source(DataSettings(root=str(clips), video={"max_frames": 4}), "train", [0])


def test_a_scan_lists_every_file(clips: Path) -> None:
    (clips / "empty.mp4").write_bytes(b"")
    (clips / "pointer.avi").write_text("version https://git-lfs.github.com/spec/v1\n")
    videos, bad = scan(clips)
    assert [video.path for video in videos] == ["A.MP4", "b.mp4", "deep/er/ä ö.mp4"]
    good = videos[1]
    assert (good.frames, good.rate, good.width, good.height, good.codec) == (5, 25.0, 32, 32, "h264")
    assert good.seconds == pytest.approx(0.2)
    assert good.bytes == (clips / "b.mp4").stat().st_size
    assert bad == [
        ("empty.mp4", "empty file (0 bytes)"),
        ("pointer.avi", "a Git-LFS pointer, not the video itself; run git lfs pull"),
    ]


def test_short_videos_are_listed_and_counted(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "empty.mp4").write_bytes(b"")
    for name in ("long", "longer", "longest"):
        write_video(clips / f"{name}.mp4", numbered_frames(12, 32, 32))
    settings = DataSettings(
        root=str(clips), video={"on_bad_video": "skip"}, split="file", split_fractions=(0.8, 0.1, 0.1)
    )
    assert len(build_source(settings, "train", list(range(3)), progress=True))
    assert "1 of 7 videos cannot be read and are skipped" in capsys.readouterr().err
    table = clips / ".vidpred" / "bad_videos.csv"
    assert len(table.read_text().splitlines()) == 2
    build_source(settings, "train", list(range(9)), progress=True)
    warning = "3 of 6 videos are shorter than the 9 frames of a window and are skipped"
    assert capsys.readouterr().err.count(warning) == 1
    wanted = [
        "path,reason",
        'A.MP4,"too short: 5 frames, a window has 9"',
        'b.mp4,"too short: 5 frames, a window has 9"',
        'deep/er/ä ö.mp4,"too short: 5 frames, a window has 9"',
        "empty.mp4,empty file (0 bytes)",
    ]
    assert table.read_text().splitlines() == wanted
    build_source(settings, "train", list(range(2)))  # another split of the same run
    assert table.read_text().splitlines() == wanted
    assert capsys.readouterr().err == ""
    (clips / "empty.mp4").unlink()
    build_source(settings, "train", list(range(2)), progress=True)
    assert not table.exists()


@pytest.mark.parametrize("name", ["a.MTS", "b.m2ts", "c.vob", "d.3g2", "e.asf", "f.ivf", "g.265", "h.mjpg", "i.f4v"])
def test_camera_and_raw_suffixes_are_found(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "notes.txt").write_bytes(b"x")
    assert find_videos(tmp_path) == [name]


def test_the_command_scans_many_files_with_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script may lack a main guard, which spawned processes need."""
    for number in range(4):
        write_video(tmp_path / f"{number}.mp4", numbered_frames(3 + number, 32, 32))
    pooled = []

    def in_this_process(work: Any, jobs: list[Any], *_: object) -> Iterator[Any]:
        pooled.extend(jobs)
        return ((job[1], work(job)) for job in jobs)

    monkeypatch.setattr(index_module, "in_processes", in_this_process)
    monkeypatch.setattr(index_module, "MANY", 4)
    assert len(scan(tmp_path)[0]) == 4
    assert not pooled
    index_module.index_file(tmp_path).unlink()
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", SimpleNamespace(name="vidpred.__main__"), raising=False)
    assert len(scan(tmp_path)[0]) == 4
    assert len(pooled) == 4
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None, raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/usr/local/bin/vidpred", raising=False)
    assert is_command()


@pytest.mark.slow
def test_processes_and_threads_find_the_same(tmp_path: Path) -> None:
    for folder in ("threads", "processes"):
        for number in range(index_module.WORTH_PROCESSES):
            write_video(tmp_path / folder / f"{number}.mp4", numbered_frames(3 + number, 32, 32))
        (tmp_path / folder / "broken.mp4").write_bytes(b"nothing")
    (videos, bad), (others, other_bad) = scan(tmp_path / "threads"), scan(tmp_path / "processes", processes=True)
    assert [{**asdict(v), "mtime_ns": 0} for v in videos] == [{**asdict(v), "mtime_ns": 0} for v in others]
    assert bad == other_bad
    assert [name for name, _ in bad] == ["broken.mp4"]


@pytest.mark.slow
def test_a_killed_process_names_what_helps() -> None:
    """A scan has no --workers."""
    with pytest.raises(StorageError, match="was killed.*with more free memory$"):
        list(in_processes(killed, [(0, "a"), (0, "b")], 2, "scan videos", False, "more free memory"))
    with pytest.raises(StorageError, match="fewer workers than 2$"):
        list(in_processes(killed, [(0, "a"), (0, "b")], 2, "prepare", False))
