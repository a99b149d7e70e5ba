"""Ends of sources: one within a piece is never silent, and a handful of bytes behind the last piece is no loss."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from tests.video_files import numbered_frames, write_video
from vidpred.data.videos.probe import probe
from vidpred.errors import DataError
from vidpred.streaming.sources import SourceOptions, open_source

SIZE = (64, 96)
CODECS = {
    "a.y4m": ("wrapped_avframe", "yuv420p"), "a.mkv": ("ffv1", "yuv420p"), "a.webm": ("libvpx", "yuv420p"),
    "a.ivf": ("libvpx", "yuv420p"), "a.mjpeg": ("mjpeg", "yuvj420p"), "a.ts": ("mpeg2video", "yuv420p"),
    "a.flv": ("flv", "yuv420p"), "a.ogg": ("libvpx", "yuv420p"), "a.gif": ("gif", "rgb8"),
}  # fmt: skip
TAILS = (b"\n", b"\0" * 40, b"\xff" * 1000, b"\xa3hello world trailing")


def read(fifo: Path, content: bytes, options: SourceOptions | None = None) -> tuple[list[np.ndarray], str | None]:
    """Return the frames of a source in a pipe, and the error at its end."""
    writer = threading.Thread(target=fifo.write_bytes, args=(content,))
    writer.start()
    frames: list[np.ndarray] = []
    source = open_source(fifo, options or SourceOptions())
    try:
        frames += (image.copy() for _, image in source.frames(SIZE, 3))
    except DataError as error:
        return frames, str(error)
    finally:
        source.close()
        writer.join()
    return frames, None


def dv(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.dv", numbered_frames(4, 576, 720), "dvvideo")


def test_raw_dv_in_a_pipe(fifo: Path, tmp_path: Path) -> None:
    """FFmpeg decodes a part of a frame like a frame."""
    content = dv(tmp_path).read_bytes()
    whole, error = read(fifo, content)
    assert (len(whole), error) == (4, None)
    for kept, count in ((2.6, 2), (3.99, 3), (1.01, 1)):
        frames, error = read(fifo, content[: int(kept * 144_000)])
        np.testing.assert_array_equal(frames, whole[:count])
        assert error is not None
        assert f"ends {(count + 1) * 144_000 - int(kept * 144_000):,} bytes early" in error
    frames, error = read(fifo, content + b"\n")
    np.testing.assert_array_equal(frames, whole)
    assert error is None


def test_the_rate_of_raw_dv(tmp_path: Path) -> None:
    """FFmpeg reports an average rate of 60,000 frames per second."""
    source = open_source(dv(tmp_path), SourceOptions())
    assert source.rate == 25
    source.close()
    assert probe(tmp_path / "a.dv").rate == 25


@pytest.mark.slow
@pytest.mark.parametrize("name", CODECS)
def test_bytes_behind_the_end_are_no_loss(fifo: Path, tmp_path: Path, name: str) -> None:
    codec, pixels = CODECS[name]
    file = write_video(tmp_path / name, numbered_frames(20, *SIZE), codec, rate=25, pixel_format=pixels)
    content = file.read_bytes()
    for tail in (b"", *TAILS):
        frames, error = read(fifo, content + tail)
        assert (len(frames), error) == (20, None), tail
        file.write_bytes(content + tail)
        info = probe(file)
        assert info.frames == 20
        assert "early" not in "".join(info.notes), tail


def test_a_cut_with_bytes_behind_it_is_a_loss(fifo: Path, tmp_path: Path) -> None:
    file = write_video(tmp_path / "a.y4m", numbered_frames(5, *SIZE), "wrapped_avframe")
    frames, error = read(fifo, file.read_bytes()[:-100] + b"\n")
    assert len(frames) == 4
    assert error is not None
    assert "early" in error


@pytest.mark.parametrize("first", [b"RIFF\0\0\0\1", b"\x12\0\x32\xff\xff\xff\x7f", b"FLV\x01\1\0\0\1\0"])
def test_raw_frames_are_no_container(fifo: Path, first: bytes) -> None:
    content = first + numbered_frames(5, *SIZE).tobytes()[len(first) :]
    frames, error = read(fifo, content, SourceOptions(rate=25, video_size=SIZE[::-1]))
    assert (len(frames), error) == (5, None)


@pytest.mark.slow
def test_ogg(fifo: Path, tmp_path: Path) -> None:
    """FFmpeg skips damaged and missing pages, and decodes the next frames from other references."""
    short = {"page_duration": "1000"}
    file = write_video(tmp_path / "a.ogg", numbered_frames(40, *SIZE), "libvpx", {"g": "10"}, container_options=short)
    content = file.read_bytes()
    whole, error = read(fifo, content)
    assert (len(whole), error) == (40, None)
    pages = [place for place in range(len(content)) if content[place : place + 4] == b"OggS"]
    assert len(pages) > 10
    for end in (*pages[5:], len(content) - 1, pages[7] + 10, pages[8] + 300):
        frames, error = read(fifo, content[:end])
        assert error is not None
        assert "early" in error
        np.testing.assert_array_equal(frames, whole[: len(frames)])
        file.write_bytes(content[:end])
        assert "early" in probe(file).notes[0]
    flipped = bytearray(content)
    flipped[pages[6] + 200] ^= 64
    for damaged in (bytes(flipped), content[: pages[6]] + content[pages[7] :]):
        file.write_bytes(damaged)
        info = probe(file)
        assert "pages of Ogg" in info.notes[0]
        source = open_source(file, SourceOptions())
        images = [image.tobytes() for _, image in source.frames(SIZE, 3)]
        source.close()
        known = [image.tobytes() for image in whole]
        assert 20 < len(images) == info.frames < 40
        assert all(image in known for image in images)
