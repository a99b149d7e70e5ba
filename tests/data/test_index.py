"""Folders of videos: scanned once, bad files by name, the index out of the way where it cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.video_files import numbered_frames, write_video
from vidpred.data import index as index_module
from vidpred.data.build import build_source
from vidpred.data.index import require_videos, scan
from vidpred.data.settings import DataSettings
from vidpred.errors import DataError


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    root = tmp_path / "clips"
    for name in ("b.mp4", "deep/er/ä ö.mp4", "A.MP4", ".hidden/c.mp4"):
        write_video(root / name, numbered_frames(5, 32, 32))
    (root / "notes.txt").write_text("no video")
    return root


def test_any_depth_sorted_hidden_left_out(clips: Path) -> None:
    assert [video.path for video in require_videos(clips)] == ["A.MP4", "b.mp4", "deep/er/ä ö.mp4"]


def test_scanned_once_and_again_only_what_changed(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[str] = []
    probe = index_module.probe
    monkeypatch.setattr(index_module, "probe", lambda path, name: probed.append(name) or probe(path, name))
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
def test_a_damaged_index_is_made_anew(clips: Path, damage: str) -> None:
    first = require_videos(clips)
    file = clips / ".vidpred" / "index.jsonl"
    assert file.is_file()
    file.write_text(damage)
    assert require_videos(clips) == first


def test_a_folder_that_cannot_be_written(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index_module.os, "access", lambda *_: False)
    require_videos(clips)
    assert not (clips / ".vidpred").exists()
    assert len(list((tmp_path / "cache").rglob("index.jsonl"))) == 1


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
        require_videos(clips)
    message = str(caught.value)
    for word in ("2 of 5 videos", "empty.mp4: empty file", "page.mp4: an HTML page", "data.on_bad_video=skip"):
        assert word in message
    assert len(require_videos(clips, "skip")) == 3
    assert (clips / ".vidpred" / "bad_videos.csv").read_text().splitlines()[1] == "empty.mp4,empty file (0 bytes)"


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="set data.root=FOLDER_OF_VIDEOS"):
        require_videos(tmp_path / "absent")
    with pytest.raises(DataError, match=r"expected .*UCF-101/<Class>/v_<Class>_gXX_cYY.avi.*vidpred prepare ucf101"):
        require_videos(tmp_path / "UCF-101")
    with pytest.raises(DataError, match="no video files"):
        require_videos(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 1 video files can be read"):
        require_videos(tmp_path, "skip")


def test_too_short_names_the_settings(clips: Path) -> None:
    with pytest.raises(DataError, match=r"no train window: .* 5 frames of the 13 needed .*data.context_frames"):
        build_source(DataSettings(root=str(clips), split="file"), "train", list(range(13)))


def test_a_scan_keeps_bad_and_good_apart(clips: Path) -> None:
    (clips / "bad.avi").write_bytes(b"RIFF....WAVE")
    videos, bad = scan(clips)
    assert len(videos) == 3
    assert bad == [("bad.avi", "a picture or sound, not a video")]
