"""Bad files: every kind has a separate reason, and nothing above the limits is decoded."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.video_files import numbered_frames, write_video
from vidpred.data.videos import containers
from vidpred.data.videos.containers import OpenVideo
from vidpred.data.videos.limits import Limits
from vidpred.data.videos.probe import probe
from vidpred.errors import DataError


def audio_only(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 4096), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def cut(path: Path, part: float, **how: Any) -> None:
    """Write the beginning of a video."""
    write_video(path, numbered_frames(60, 64, 96), **how)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


def with_sound(path: Path) -> None:
    """Write a video of two seconds with three seconds of sound."""
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("mp2", rate=44100)
        for image in numbered_frames(50, 48, 64):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 2646), np.int16), format="s16", layout="stereo")
            tone.sample_rate = 44100
            container.mux(sound.encode(tone))
        for stream in (video, sound):
            container.mux(stream.encode())


BAD: dict[str, tuple[str, Callable[[Path], object]]] = {
    "empty.mp4": ("empty file", lambda path: path.write_bytes(b"")),
    "page.mp4": ("an HTML page", lambda path: path.write_bytes(b"\n<!DOCTYPE html><html><body>404</body></html>")),
    "pointer.mp4": ("git lfs pull", lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid x")),
    "list.mp4": ("a playlist script", lambda path: path.write_text("ffconcat version 1.0\nfile 'whole.mp4'\n")),
    "stream.mp4": ("a playlist script", lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nwhole.ts\n")),
    "script.mp4": ("a script", lambda path: path.write_text("#!/bin/sh\necho\n")),
    "text.mp4": ("a text", lambda path: path.write_text("not a video at all, just some words\n" * 20)),
    "image.mp4": ("an image", lambda path: image(path, "png")),
    "photograph.mp4": ("an image", lambda path: image(path, "jpeg")),
    "web.mp4": ("a single image", lambda path: image(path, "webp")),
    "still.mp4": ("an image", lambda path: path.write_bytes(b"\0\0\0\x1cftypavif" + bytes(300))),
    "archive.mp4": ("an archive", lambda path: path.write_bytes(b"PK\x03\x04" + bytes(300))),
    "noise.mp4": ("cannot", lambda path: path.write_bytes(bytes(range(200, 256)) * 50)),
    "audio.mp4": ("no video stream, only audio", lambda path: audio_only(path)),
    "late.mp4": ("cannot open the video", lambda path: cut(path, 0.5)),
}


def image(path: Path, kind: str) -> None:
    from PIL import Image

    Image.fromarray(numbered_frames(1, 32, 32)[0]).save(path, format=kind)


@pytest.mark.parametrize("name", BAD)
def test_every_bad_file_has_its_reason(tmp_path: Path, name: str) -> None:
    words, make = BAD[name]
    make(tmp_path / name)
    with pytest.raises(DataError, match=words) as caught:
        probe(tmp_path / name)
    assert str(caught.value).count(f"[{tmp_path / name}]") == 1
    assert "\n" not in str(caught.value)


def test_longer_sound_is_accepted(tmp_path: Path) -> None:
    with_sound(tmp_path / "whole.mkv")
    assert probe(tmp_path / "whole.mkv").frames == 50


def test_a_playlist_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reject a playlist by its format even without the check of its first bytes."""
    write_video(tmp_path / "whole.mp4", numbered_frames(6, 32, 32))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile 'whole.mp4'\n")
    monkeypatch.setattr(containers, "explain_bytes", lambda path: b"")
    with pytest.raises(DataError, match="unsupported container format"):
        probe(tmp_path / "list.mp4")
    monkeypatch.setattr(containers, "allowed_formats", lambda: "concat,mov")
    assert probe(tmp_path / "list.mp4").frames == 6, "the attack works where the list lets it"


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("a named pipe", os.mkfifo),
        ("a folder", Path.mkdir),
        ("broken link", lambda path: path.symlink_to("nowhere")),
        ("a device", lambda path: path.symlink_to("/dev/zero")),
        ("a socket", lambda path: socket.socket(socket.AF_UNIX).bind(str(path))),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_special_files_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, make: Callable[[Path], object]
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make(Path("x.mp4"))
    with pytest.raises(DataError, match=kind):
        probe(Path("x.mp4"))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(pixels=3071), "frames of 64x48 exceed data.video.max_pixels=3071"),
        (Limits(frames=29), "30 frames exceed data.video.max_frames=29"),
        (Limits(hours=1.19 / 3600), "hours exceed data.video.max_hours="),
    ],
)
def test_videos_above_a_limit_are_rejected_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits, words: str
) -> None:
    path = write_video(tmp_path / "large.mp4", numbered_frames(30, 48, 64))
    assert probe(path, limits=Limits(3072, 30, 1.2 / 3600)).frames == 30
    monkeypatch.setattr(OpenVideo, "decode", lambda self, packet: pytest.fail("decoded"))
    with pytest.raises(DataError, match=words):
        probe(path, limits=limits)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(frames=29), "30 frames exceed data.video.max_frames=29"),
        (Limits(hours=1 / 3600), "exceed data.video.max_hours="),
    ],
)
def test_limits_apply_to_headers_without_a_length(tmp_path: Path, limits: Limits, words: str) -> None:
    path = write_video(tmp_path / "raw.h264", numbered_frames(40, 48, 64), container_format="h264")
    with pytest.raises(DataError, match=words):
        probe(path, limits=limits)


def test_frames_that_grow_within_the_stream(tmp_path: Path) -> None:
    parts = [
        write_video(tmp_path / f"{side}.h264", numbered_frames(5, side, side), container_format="h264").read_bytes()
        for side in (48, 96)
    ]
    path = tmp_path / "growing.h264"
    path.write_bytes(b"".join(parts))
    assert probe(path).frames == 10
    with pytest.raises(DataError, match="too large|damaged"):
        probe(path, limits=Limits(pixels=50 * 50))
