"""Videos are read back correctly by other libraries, and failures leave no files."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vidpred.errors import ConfigError, StorageError
from vidpred.media.render import write_png
from vidpred.media.video_writer import exact_rate, write_video

SUFFIXES = (".mp4", ".gif", ".png")


def smooth(count: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """Yield moving color gradients, each in a new array."""
    rows, columns = np.mgrid[:height, :width]
    for index in range(count):
        waves = [128 + 100 * np.sin((rows * a + columns * b) / 40 + index / 5) for a, b in ((1, 0), (0, 1), (1, 1))]
        yield np.stack(waves, -1).astype(np.uint8)


def levels(count: int) -> Iterator[np.ndarray]:
    """Yield flat images, with the index as gray level."""
    for index in range(count):
        yield np.full((16, 16, 3), index, np.uint8)


def decode(path: Path) -> tuple[list[np.ndarray], av.VideoCodecContext]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        return frames, container.streams.video[0].codec_context


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63)])
def test_mp4_read_back(tmp_path: Path, height: int, width: int) -> None:
    path = tmp_path / "deep" / "er" / "a.mp4"
    assert write_video(path, smooth(30, height, width), 30000 / 1001) == 30
    assert os.listdir(path.parent) == ["a.mp4"]
    frames, codec = decode(path)
    assert (codec.name, codec.pix_fmt, len(frames)) == ("h264", "yuv420p", 30)
    assert (codec.height, codec.width) == (48, 64)
    for frame, source in zip(frames, smooth(30, height, width), strict=True):
        assert np.abs(frame[:height, :width].astype(int) - source).mean() < 3
        if height % 2:
            assert np.abs(frame[-1, :-1].astype(int) - source[-1]).mean() < 5  # the edge, repeated
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(30000, 1001)
        assert float((stream.duration or 0) * (stream.time_base or 0)) == pytest.approx(30 * 1001 / 30000, rel=0.01)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # faststart


def test_mp4_declares_its_color_space(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", smooth(2), 5)
    _, codec = decode(tmp_path / "a.mp4")
    assert [int(v) for v in (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range)] == [1] * 4


def test_gif_read_back(tmp_path: Path) -> None:
    assert write_video(tmp_path / "a.gif", smooth(12), 8) == 12
    with Image.open(tmp_path / "a.gif") as gif:
        assert getattr(gif, "n_frames", 0) == 12
        assert gif.info["loop"] == 0
        durations = []
        for index, source in enumerate(smooth(12)):
            gif.seek(index)
            durations.append(gif.info["duration"])
            assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - source).mean() < 6
    assert sum(durations) == pytest.approx(12 * 125, abs=10)
    assert set(durations) <= {120, 130}


def test_gif_keeps_equal_images(tmp_path: Path) -> None:
    still = next(smooth(1))
    assert write_video(tmp_path / "a.gif", (still for _ in range(5)), 100) == 5
    with Image.open(tmp_path / "a.gif") as gif:
        assert getattr(gif, "n_frames", 0) == 5
        assert gif.info["duration"] == 20  # at most 50 per second


@pytest.mark.parametrize("count", [1, 5, 12, 13, 24, 25, 100])
def test_strip_is_evenly_spaced(tmp_path: Path, count: int) -> None:
    assert write_video(tmp_path / "a.png", levels(count), 5) == count
    strip = np.asarray(Image.open(tmp_path / "a.png"))
    assert strip.shape[1:] == (16, 3)
    shown = strip[::16, 0, 0].tolist()
    assert len(shown) <= 12
    assert len(shown) >= min(count, 7)
    assert shown == list(range(0, count, shown[1] if count > 1 else 1))
    assert (strip == np.repeat(strip[::16], 16, 0)).all()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_only_a_few_images_are_in_memory(tmp_path: Path, suffix: str) -> None:
    alive: set[int] = set()
    most = 0

    def watched() -> Iterator[np.ndarray]:
        nonlocal most
        for index, image in enumerate(smooth(80, 32, 32)):
            alive.add(index)
            weakref.finalize(image, alive.discard, index)
            most = max(most, len(alive))
            yield image
            del image

    write_video(tmp_path / f"a{suffix}", watched(), 10)
    assert most <= 4


STREAMING = """
import re, sys
from pathlib import Path
import numpy as np
from vidpred.media.video_writer import write_video
count = int(sys.argv[2])
noise = np.random.default_rng(0).integers(0, 64, (256, 2048, 1), np.uint8).repeat(3, 2)
write_video(Path(sys.argv[1]), (np.roll(noise, 97 * k, 1) for k in range(count)), 10, overwrite=True)
print(int(re.search(r'VmHWM:\\s*(\\d+) kB', Path('/proc/self/status').read_text())[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_gif_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """Measure the process, because weak references do not cover copies inside an encoder.

    The measure is VmHWM, because ru_maxrss starts with the peak of the parent process.
    """
    peaks = []
    for count in (8, 72):
        command = [sys.executable, "-c", STREAMING, str(tmp_path / "a.gif"), str(count)]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] - peaks[0] < 16  # MiB; 64 images of 256 x 2048 are 32 MiB even with a byte a pixel


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("failure", [RuntimeError("halfway"), OSError(5, "the clip"), KeyboardInterrupt()])
def test_a_failure_leaves_no_file_and_is_passed_on(tmp_path: Path, suffix: str, failure: BaseException) -> None:
    seen = []

    def broken() -> Iterator[np.ndarray]:
        yield from smooth(70, 32, 32)  # more than the encoder's lookahead
        seen.extend(os.listdir(tmp_path))
        raise failure

    with pytest.raises(type(failure)) as caught:
        write_video(tmp_path / f"a{suffix}", broken(), 5)
    assert caught.value is failure  # not reported as a failure to write
    assert os.listdir(tmp_path) == []
    assert all(name.startswith(".tmp-") and name.endswith(suffix) for name in seen)
    assert seen or suffix == ".png"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_while_overwriting_keeps_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def broken() -> Iterator[np.ndarray]:
        yield from smooth(3)
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write_video(path, broken(), 5, overwrite=True)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_to_replace_keeps_the_old_file(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(StorageError, match="No space left on device") as caught:
        write_video(path, smooth(3), 5, overwrite=True)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_a_storage_error(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot (write|encode)") as caught:
            write_video(tmp_path / f"a{suffix}", (np.roll(noise, k) for k in range(8)), 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"a{suffix}" in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_file_raises_before_any_work(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")
    images = smooth(3)
    with pytest.raises(StorageError, match=r"exists .*; add overwrite=True or choose another output"):
        write_video(path, images, 5)
    assert path.read_bytes() == b"old"
    assert len(list(images)) == 3  # unused
    assert write_video(path, smooth(3), 5, overwrite=True) == 3
    assert path.read_bytes() != b"old"


def test_invalid_outputs_raise_before_any_work(tmp_path: Path) -> None:
    images = smooth(3)
    with pytest.raises(ConfigError, match=r"\.mp4, \.gif, \.png"):
        write_video(tmp_path / "a.avi", images, 5)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_video(tmp_path / "file" / "a.mp4", images, 5)
    with pytest.raises(StorageError, match="file"):
        write_png(tmp_path / "file" / "a.png", next(smooth(1)))
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(StorageError, match="folder"):
        write_video(tmp_path / "a.mp4", images, 5, overwrite=True)
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="rate"):
            write_video(tmp_path / "b.mp4", images, rate)
    assert len(list(images)) == 3
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_raises(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StorageError, match="cannot write here"):
            write_video(tmp_path / "a.mp4", smooth(1), 5)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_invalid_images_make_no_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(ValueError, match="no image"):
        write_video(path, iter(()), 5)
    for second in (np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8)):
        with pytest.raises(ValueError, match="one size"):
            write_video(path, iter([np.zeros((8, 8, 3), np.uint8), second]), 5)
    assert os.listdir(tmp_path) == []


def test_rates_are_exact() -> None:
    assert exact_rate(25) == 25
    assert exact_rate(2.5) == Fraction(5, 2)
    assert exact_rate(29.97002997) == Fraction(30000, 1001)
    assert exact_rate(0.1) == Fraction(1, 10)


def test_a_strip_copies_the_caller_s_arrays(tmp_path: Path) -> None:
    def reused() -> Iterator[np.ndarray]:
        image = np.empty((4, 4, 3), np.uint8)
        for index in range(5):
            image[:] = index
            yield image

    write_video(tmp_path / "a.png", reused(), 5)
    assert np.asarray(Image.open(tmp_path / "a.png"))[::4, 0, 0].tolist() == [0, 1, 2, 3, 4]
