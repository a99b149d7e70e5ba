"""Sources of a stream: formats, sizes, folders, cameras and pipes."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import vidpred
from tests.streams import RATE, Copies, feed, predictor
from tests.video_files import numbered_frames, read_number, write_video
from vidpred.data.videos import containers
from vidpred.data.videos.pieces import Pieces, missing_bytes
from vidpred.errors import ConfigError, DataError, StorageError
from vidpred.streaming import forecasts, sources
from vidpred.streaming.capture import Capture, ContextShape
from vidpred.streaming.outputs import Yuv4MpegPipe
from vidpred.streaming.sources import FrameSource, SourceOptions, TimedFrame, open_source


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuv411p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "yuv444p16le", "gray12le"]
)
def test_sizes_of_yuv4mpeg2(tmp_path: Path, pixels: str) -> None:
    file = write_video(
        tmp_path / "a.y4m", numbered_frames(3, 31, 47), "wrapped_avframe", pixel_format=pixels,
        container_options={"strict": "-1"},
    )  # fmt: skip
    content = file.read_bytes()
    assert missing_bytes(content) == 0
    for cut in (1, 7, 1000, len(content) - 20):
        pieces = Pieces()
        for first in range(0, len(content) - cut, 99):
            pieces.feed(content[first : min(first + 99, len(content) - cut)])
        assert pieces.missing() == missing_bytes(content[:-cut]) > 0
        assert missing_bytes(content[:-cut]) == cut or cut > 1000


@pytest.mark.slow
def test_other_formats_are_read_from_a_pipe(fifo: Path, tmp_path: Path) -> None:
    source = write_video(tmp_path / "clip.y4m", numbered_frames(20, 32, 48), "wrapped_avframe", rate=RATE)
    writer = feed(fifo, source.read_bytes())
    stream = vidpred.stream(fifo, predictor(Copies()), num_frames=1)
    found = list(stream)
    writer.join()
    assert stream.statistics.frames == 20
    assert found
    assert read_number(255 * found[0].newest.permute(1, 2, 0).numpy()) == found[0].number


def test_a_folder_of_images_is_a_source(tmp_path: Path) -> None:
    for number, image in enumerate(numbered_frames(12, 32, 48)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    stream = vidpred.stream(tmp_path, predictor(Copies()), num_frames=1, rate=RATE)
    numbers = [read_number(255 * forecast.newest.permute(1, 2, 0).numpy()) for forecast in stream]
    assert stream.statistics.frames == 12
    assert numbers == sorted(numbers), "10.png follows 9.png"


@pytest.mark.slow
@pytest.mark.skipif("lavfi" not in av.formats_available, reason="FFmpeg was built without lavfi")
def test_a_camera_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "CAMERA_FORMATS", {"linux": "lavfi"})
    monkeypatch.setattr(sources.sys, "platform", "linux")
    monkeypatch.setattr(containers, "REFUSED_CODECS", frozenset())
    monkeypatch.setattr(containers, "allowed_codecs", lambda: "wrapped_avframe")
    opener, camera = sources._open_camera, "testsrc=size=64x48:rate=50,realtime,trim=duration=0.6"
    monkeypatch.setattr(forecasts, "open_source", lambda source, options: opener(camera, options))
    stream = vidpred.stream("/dev/video0", predictor(Copies()), num_frames=1)
    found = list(stream)
    assert stream.statistics.frames == 30
    assert found[-1].frames.shape == (1, 3, 48, 64)
    assert stream.statistics.restarts == 0


def test_frames_of_another_size_are_scaled_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    frames = [np.zeros((32, 48, 3), np.uint8)] * 5 + [np.zeros((20, 20, 3), np.uint8)] * 5
    stream = vidpred.stream(frames, predictor(Copies()), num_frames=1, rate=RATE)
    assert {tuple(forecast.newest.shape) for forecast in stream.outcomes()} == {(3, 32, 48)}
    assert capsys.readouterr().err.count("20x20 after ones of 48x32") == 1


class Losing(FrameSource):
    """Twelve frames, whose values are their numbers; some are missing before one of them."""

    is_live = True

    def __init__(self, follows_gap: int) -> None:
        super().__init__("a camera", 50.0, (8, 8))
        self.follows_gap = follows_gap

    def decoded(self) -> Iterator[TimedFrame]:
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((8, 8, 3), number, np.uint8), "rgb24")
            yield TimedFrame(frame, None, number == self.follows_gap)


@pytest.mark.parametrize(("follows_gap", "kept"), [(4, [4, 6, 8, 10]), (5, [6, 8, 10])])
def test_a_loss_before_a_frame_that_the_model_skips_begins_a_new_context(follows_gap: int, kept: list[int]) -> None:
    capture = Capture(lambda: Losing(follows_gap), ContextShape(6, 3, frame_skip=2))
    capture.open()
    capture.begin()
    capture.join()
    snapshot = capture.newest(0)
    assert snapshot is not None
    assert [round(255 * float(frame.mean())) for frame in snapshot.frames] == kept
    assert capture.restarts == 1


def test_a_stall_is_filled_up_in_constant_memory(tmp_path: Path) -> None:
    image, missing = np.zeros((64, 64, 3), np.uint8), 1_000
    with (tmp_path / "out.y4m").open("wb") as file:
        pipe = Yuv4MpegPipe(file.fileno(), 30)
        pipe.write(image, 0)
        tracemalloc.start()
        pipe.write(image, missing)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    with av.open(str(tmp_path / "out.y4m")) as container:
        assert sum(1 for _ in container.demux(video=0)) == missing + 2, "with the packet that ends the stream"
    assert peak < 20 * image.nbytes


@pytest.mark.parametrize("shape", [(1, 8, 1), (8, 1, 1), (1, 8), (8, 8, 1)])
def test_own_gray_frames_of_any_shape(shape: tuple[int, ...]) -> None:
    assert open_source([np.zeros(shape, np.uint8)], SourceOptions(rate=10)).size == shape[:2]


def test_raw_frames_need_a_rate(fifo: Path) -> None:
    with pytest.raises(ConfigError, match="rate=FRAMES_PER_SECOND"):
        open_source(fifo, SourceOptions(video_size=(48, 32)))


def test_an_error_of_own_frames_is_passed_on() -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from [np.zeros((8, 8, 3), np.uint8)] * 4
        raise DataError("the driver failed")

    with pytest.raises(DataError, match="the driver failed"):
        list(vidpred.stream(failing(), predictor(Copies()), rate=RATE))


def test_a_pipe_is_read_by_ffmpeg_and_its_end_is_an_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    images = numbered_frames(3, 32, 48)
    with open(reading, "rb") as file, Yuv4MpegPipe(writing, 25) as pipe:
        pipe.write(images[0], 5)
        pipe.write(images[1], 6)
        pipe.write(images[2], 9)  # 7 and 8 are missing
        os.close(writing)
        (tmp_path / "out.y4m").write_bytes(file.read())
    with av.open(str(tmp_path / "out.y4m")) as container:
        numbers = [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert numbers == [0, 1, 2, 2, 2]
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(StorageError, match="its reader ended"):
        Yuv4MpegPipe(writing, 25).write(images[0], 0)
    os.close(writing)
