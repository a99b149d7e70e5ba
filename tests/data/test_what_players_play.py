"""Orientation, pixel shape, formats, names and folders: what a common player opens is read, and as it is shown."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.video_files import numbered_frames, read_number, write_video
from vidpred.data.settings import DataSettings
from vidpred.data.videos.containers import open_video
from vidpred.data.videos.index import find_videos, require_videos
from vidpred.data.videos.probe import find_cuts, probe
from vidpred.data.videos.reader import read_frames, stream_frames
from vidpred.errors import DataError

# Matrix (a, b, c, d) of the header: stored (x, y) is shown at (a x + c y, b x + d y) -> NumPy's view of the same.
ORIENTATIONS = {
    "plain": ((1, 0, 0, 1), lambda image: image),
    "turned right": ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
    "upside down": ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
    "turned left": ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
    "mirrored": ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
    "flipped": ((1, 0, 0, -1), lambda image: image[::-1]),
    "transposed": ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    "antitransposed": ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
}
FORMATS = {
    "a.y4m": {"codec": "wrapped_avframe", "container_format": "yuv4mpegpipe"},
    "a.nut": {"codec": "mpeg4", "container_format": "nut"},
    "a.mxf": {"codec": "mpeg2video", "container_format": "mxf"},
    "a.mov": {"codec": "prores", "pixel_format": "yuv422p10le"},
    "a.avi": {"codec": "asv1"},
    "b.mov": {"codec": "jpeg2000"},
    "b.mkv": {"codec": "ffv1"},
    "c.avi": {"codec": "zmbv", "pixel_format": "bgr0"},
    "c.mov": {"codec": "qtrle", "pixel_format": "rgb24"},
    "a.mjpeg": {"codec": "mjpeg", "pixel_format": "yuvj420p", "container_format": "mjpeg"},
    "a.apng": {"codec": "apng", "pixel_format": "rgb24", "container_format": "apng"},
}


class WithEmptyPackets:
    """A container some of whose packets are empty: the image before is shown again, as in Theora."""

    def __init__(self, container: Any) -> None:
        self.container = container

    def demux(self, stream: Any) -> Iterator[Any]:
        for number, packet in enumerate(self.container.demux(stream)):
            yield packet
            if number % 10 == 5 and packet.size:
                empty = av.Packet(0)
                empty.pts = empty.dts = packet.dts
                yield empty


def test_an_empty_packet_does_not_end_a_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", numbered_frames(30, 32, 32))
    video = open_video(path)
    with video.container as container:
        frames = list(replace(video, container=WithEmptyPackets(container)).frames())
    assert [read_number(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(30))


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_all_eight_orientations(tmp_path: Path, name: str) -> None:
    matrix, shown = ORIENTATIONS[name]
    image = np.zeros((96, 128, 3), np.uint8)
    image[:, :64], image[:, 64:], image[:24], image[:24, :64] = (255, 0, 0), (0, 0, 255), 255, (0, 255, 0)
    path = write_video(tmp_path / "a.mp4", np.repeat(image[None], 3, 0), options={"crf": "1"}, pixel_format="yuv444p")
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4
    place += 40 if content[place] == 0 else 52
    a, b, c, d = (int(value * 65536) for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    expected = shown(image)
    for frame in (read_frames(path, probe(path), [1])[0], next(stream_frames(path))):
        assert frame.shape == expected.shape
        assert np.abs(frame.astype(int) - expected).mean() < 4


def test_pixels_become_square(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 180, 144, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)
        for image in numbered_frames(5, 144, 180):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    info = probe(path)
    assert (info.width, info.height) == (256, 144)
    frames = read_frames(path, info, [0, 3])
    assert frames.shape == (2, 144, 256, 3)
    assert [read_number(frame) for frame in frames] == [0, 3]


@pytest.mark.parametrize("name", FORMATS)
def test_formats(tmp_path: Path, name: str) -> None:
    frames = numbered_frames(6, 96, 128)
    size = {"a.mxf": (576, 720)}.get(name, (96, 128))
    try:
        path = write_video(tmp_path / name, numbered_frames(6, *size), **FORMATS[name])
    except (av.FFmpegError, ValueError) as error:  # this build of FFmpeg cannot write it
        pytest.skip(str(error))
    info = probe(path)
    assert (info.frames, info.notes) == (len(frames), [])
    assert [read_number(frame) for frame in read_frames(path, info, [4, 1])] == [4, 1]
    assert find_videos(tmp_path) == [name]


@pytest.mark.parametrize(
    "name",
    [
        b"-dash.mp4", b"per%04dcent%.mp4", b"12:30:05.mp4", b"file:x.mp4", b"http:y.mp4", b"concat:a|b.mp4",
        b"crypto:+z.mp4", b"new\nline.mp4", b"latin1-\xe9.mp4", b"q?x#y&z.mp4", b"[1]*.mp4",
    ],
)  # fmt: skip
def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    """Relative paths: an absolute one hides what looks like a protocol."""
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "plain.mp4", numbered_frames(4, 32, 48)).rename(tmp_path / os.fsdecode(name))
    path = Path(os.fsdecode(name))
    assert read_frames(path, probe(path), [3]).shape == (1, 32, 48, 3)
    assert len(require_videos(Path())) == 1


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    write_video(tmp_path / "store" / "a" / "1.mp4", numbered_frames(4, 32, 48))
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a").symlink_to(tmp_path / "store" / "a")
    (tmp_path / "store" / "a" / "up").symlink_to(tmp_path / "clips")
    assert find_videos(tmp_path / "clips") == ["a/1.mp4"]


def test_files_that_are_not_read_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "1.mp4", numbered_frames(4, 32, 48))
    for name in ("a.xyz", "b.xyz", "c.rec", "notes.txt", "thumb.jpg"):
        (tmp_path / name).touch()
    require_videos(tmp_path, progress=True)
    assert "files that are no videos by their suffix are not read: 2 .xyz, 1 .rec [" in capsys.readouterr().err


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert DataSettings(root="~/clips").root == f"{tmp_path}/clips"


def test_repeated_frames_are_no_cuts() -> None:
    """Fast motion at 15 frames a second in files of 30 and 60, with a cut; and a slide show."""
    motion = [25.0, 28.0, 24.0, 27.0, 26.0, 110.0, 25.0, 27.0, 26.0, 24.0]
    assert find_cuts(motion) == [6]
    for times in (2, 4):
        repeated = [value for difference in motion for value in [difference, *[0.1] * (times - 1)]]
        assert find_cuts(repeated) == [5 * times + 1]
    assert find_cuts([*[0.0] * 30, 60.0, *[0.0] * 30, 50.0, *[0.0] * 30]) == [31, 62]


def test_cover_images_are_no_videos(tmp_path: Path) -> None:
    """Music with a cover has a stream of video with one frame."""
    path = tmp_path / "song.m4v"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=44100)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(numbered_frames(1, 32, 32)[0], "rgb24")))
        container.mux(cover.encode())
        tone = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        tone.sample_rate = 44100
        container.mux(sound.encode(tone))
        container.mux(sound.encode())
    with pytest.raises(DataError, match="no video stream"):
        probe(path)


def test_interlaced_videos_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = {"codec": "mpeg2video", "options": {"flags": "+ildct+ilme", "g": "12"}}
    write_video(tmp_path / "fields.mkv", numbered_frames(20, 64, 96), **how)
    write_video(tmp_path / "frames.mkv", numbered_frames(20, 64, 96))
    videos = require_videos(tmp_path, progress=True)
    assert [video.interlaced for video in videos] == [True, False]
    errors = capsys.readouterr().err
    assert "1 of 2 videos are interlaced" in errors
    assert "bwdif" in errors
    assert "fields.mkv" in errors
