"""Streams: the newest frames, forecasts that are never old, sources that end and break, outputs."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import vidpred
from tests.command_line import run_vidpred
from tests.streams import FRAME, RATE, Copies, Last, feed, predictor
from tests.video_files import numbered_frames, read_number, write_video
from vidpred.data.videos.probe import probe
from vidpred.errors import ConfigError, DataError
from vidpred.models.base import StreamForward
from vidpred.processes.interrupts import interrupt
from vidpred.streaming.capture import ContextShape, ModelRate, Snapshot
from vidpred.streaming.forecasts import Pace
from vidpred.streaming.server import BrowserServer
from vidpred.streaming.sources import SourceOptions, open_source
from vidpred.streaming.statistics import LatencyHistogram


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_video(path, numbered_frames(40, 32, 48), rate=RATE)


def live(count: int) -> Iterator[np.ndarray]:
    """Yield numbered frames at the times of a camera."""
    begin = time.monotonic()
    for number, frame in enumerate(numbered_frames(min(count, 256), 32, 48)):
        time.sleep(max(0.0, begin + number * FRAME - time.monotonic()))
        yield frame


@pytest.mark.slow
def test_a_file_is_played_at_its_rate_and_contexts_are_consecutive(clip: Path) -> None:
    model = Copies()
    stream = vidpred.stream(clip, predictor(model), num_frames=2)
    found = list(stream)
    model.contexts = model.contexts[-len(found) * 2 :]
    counts = stream.statistics
    assert counts.frames == 40
    assert counts.forecasts == len(found) >= 15
    assert sum(forecast.dropped for forecast in found) + len(found) == found[-1].number + 1
    assert 0.7 < counts.seconds < 1.5, "40 frames at 50 per second"
    for forecast in found:
        assert read_number(255 * forecast.newest.permute(1, 2, 0).numpy()) == forecast.number
        assert forecast.time == pytest.approx(forecast.number * FRAME * 0.99, abs=0.05)
        assert forecast.frames.shape == (2, 3, 32, 48)
        assert forecast.latency <= forecast.period
    for context in model.contexts[::2]:
        assert context == list(range(context[-1] - 2, context[-1] + 1))


@pytest.mark.slow
def test_no_forecast_is_older_than_a_period_and_the_stream_recovers_from_a_slow_one() -> None:
    durations = iter([0.0] * 6 + ([0.001] * 8 + [0.1]) * 100)
    stream = vidpred.stream(live(90), predictor(Copies(durations)), num_frames=1, every=2, rate=RATE)
    outcomes = list(stream.outcomes())
    late = [place for place, forecast in enumerate(outcomes) if not forecast.is_in_time]
    assert len(late) >= 2
    assert stream.statistics.late == len(late)
    assert len(outcomes) - len(late) >= 9, "the forecasts between slow ones are in time"
    for forecast in outcomes:
        assert forecast.period == pytest.approx(2 * FRAME)
        if forecast.is_in_time:
            assert forecast.latency <= 2 * FRAME
    for first, second in pairwise(outcomes):
        assert second.number >= first.number + 2


def test_a_forecast_begins_only_if_it_can_end_in_time() -> None:
    """Else one slow forecast would make all following ones late."""
    stream = vidpred.stream([], predictor(Copies()), every=2, rate=10)
    stream._pace = Pace(2, 0.1)
    stream._pace.update(0.15, 0.15)
    ages = iter([0.1, 0.0, 0.1, 0.1, 0.1])

    def newest(least: int, min_length: int) -> Snapshot:
        return Snapshot(least, time.monotonic() - next(ages), 0.0, [])

    stream._capture = SimpleNamespace(newest=newest)  # type: ignore[assignment]
    found = [stream._next(5), stream._next(7)]
    assert [snapshot.number for snapshot in found if snapshot] == [6, 9], "the last one after a whole period of waiting"


class Prepared(StreamForward):
    """A forward pass that copies the last frame, and stores the values of the frames that prepare it."""

    def __init__(self) -> None:
        self.prepared: list[tuple[list[float], int]] = []

    def __call__(self, context: Tensor, **conditions: object) -> Tensor:
        return context[:, -1:]

    def prepare(self, context: Tensor, ahead: int) -> None:
        self.prepared.append((context[0, :, 0, 0, 0].tolist(), ahead))


@pytest.mark.parametrize("lead", [1, 2])
def test_frames_before_a_forecast_prepare_it(lead: int) -> None:
    """Frames 6 and 8 arrive while something else is done; with a lead of 2 the model does not take the newest frame."""
    model, forward = Copies(), Prepared()
    model.lead = lead
    stream = vidpred.stream([], predictor(model, lead=lead), rate=10)
    stream._pace, stream._forward = Pace(3, 0.1), forward
    arrived = iter([5, 7, 9])

    def newest(least: int, min_length: int) -> Snapshot:
        number = next(arrived)
        assert number >= least
        frames = [torch.full((3, 4, 4), float(number - age)) for age in range(lead + min_length - 1, -1, -1)]
        return Snapshot(number, time.monotonic(), 0.0, frames[-3:])

    stream._capture = SimpleNamespace(newest=newest)  # type: ignore[assignment]
    found = stream._next(8)
    assert found is not None
    assert found.number == 9
    wanted = [([3.0, 4.0, 5.0], 3), ([5.0, 6.0, 7.0], 1)]
    assert forward.prepared == [(frames[: 4 - lead], ahead) for frames, ahead in wanted]


@pytest.mark.slow
def test_a_slow_model_gets_fewer_frames_and_no_old_ones() -> None:
    stream = vidpred.stream(live(60), predictor(Copies(iter(lambda: 0.07, 1.0))), num_frames=1, rate=RATE)
    found = list(stream)
    assert len(found) >= 4
    assert all(forecast.period >= 4 * FRAME for forecast in found)
    assert stream.statistics.late <= 2
    assert stream.statistics.dropped == 60 - len(found)


@pytest.mark.slow
def test_a_slow_loop_body_costs_forecasts_and_does_not_lag() -> None:
    stream = vidpred.stream(live(50), predictor(Copies()), num_frames=1, every=1, rate=RATE)
    begin, numbers = None, []
    for forecast in stream:
        begin = begin or time.monotonic() - forecast.time
        age = time.monotonic() - begin - forecast.time
        assert age < 3 * FRAME, "of the newest frame"
        numbers.append(forecast.number)
        time.sleep(0.15)
    assert np.diff(numbers).min() >= 6


def test_frames_are_taken_at_the_rate_of_the_model() -> None:
    rate = ModelRate(ContextShape(1, 3, fps=10), 30)
    taken = [number for number in range(90) if rate.takes(5 + number / 30 + 0.004 * (-1) ** number)]
    assert taken == list(range(0, 90, 3))
    assert rate.period == pytest.approx(0.1)
    skipping = ModelRate(ContextShape(1, 3, frame_skip=2), 30)
    assert [number for number in range(6) if skipping.takes(number / 30)] == [0, 2, 4]
    slower = ModelRate(ContextShape(1, 3, fps=60), 30)
    assert all(slower.takes(number / 30) for number in range(9))
    assert slower.rate == 30


@pytest.mark.slow
def test_missing_frames_begin_a_new_context(clip: Path) -> None:
    """After a stall of the source the context has only frames that follow each other."""

    def halting() -> Iterator[np.ndarray]:
        frames = numbered_frames(30, 32, 48)
        yield from frames[:10]
        time.sleep(1.3)
        for frame in frames[20:]:
            yield frame
            time.sleep(FRAME)

    model = Copies()
    stream = vidpred.stream(halting(), predictor(model), num_frames=1, rate=RATE)
    outcomes = list(stream.outcomes())
    assert stream.statistics.restarts == 1
    stalled = next(forecast for forecast in outcomes if forecast.latency > 1)
    after = next(forecast for forecast in outcomes if forecast.number > stalled.number)
    assert not stalled.is_in_time, "so that it is not shown any more"
    assert after.number - 9 == pytest.approx(1.3 * RATE, abs=12), "missing frames are counted"
    assert stream.statistics.frames == 20
    assert any(context[0] == 20 for context in model.contexts)
    assert all(np.ptp(context) == 2 for context in model.contexts[3:])


@pytest.mark.slow
def test_memory_is_flat_over_half_an_hour() -> None:
    """18,000 frames, 10 a second for half an hour, as fast as they are taken."""
    image, sizes = np.zeros((16, 16, 3), np.uint8), []

    def frames() -> Iterator[np.ndarray]:
        for number in range(18_000):
            if number % 3_000 == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                sizes.append(pages * resource.getpagesize())
            yield image

    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    stream = vidpred.stream(frames(), predictor(Last()), num_frames=1, rate=10, every=1)
    with torch.inference_mode():
        for _ in stream.outcomes():
            pass
    assert stream.statistics.frames == 18_000
    assert sizes[-1] - sizes[1] < 2_000_000


def test_latency_percentiles() -> None:
    histogram = LatencyHistogram()
    for milliseconds in range(1, 1001):
        histogram.add(milliseconds / 1000)
    assert histogram.percentile(0.5) == pytest.approx(0.5, rel=0.012)
    assert histogram.percentile(0.95) == pytest.approx(0.95, rel=0.012)
    assert histogram.percentile(1.0) == pytest.approx(1.0, rel=0.012)
    assert np.isnan(LatencyHistogram().percentile(0.5))


def decoded(path: Path) -> list[float]:
    """Return the times of the images of a video."""
    with av.open(str(path)) as container:
        return [float(frame.time or 0) for frame in container.decode(video=0)]


def test_the_verb_writes_a_video_and_counts(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output, counts = tmp_path / "out.mp4", tmp_path / "counts.json"
    words = ("stream", clip, "-o", output, "--size", 32, "--frames", 2, "--json", counts)
    assert run_vidpred(*words) == 0
    found = json.loads(counts.read_text())
    assert found["frames"] == 40
    assert found["forecasts"] + found["late"] == len(decoded(output))
    assert found["latency_ms"]["p50"] <= found["latency_ms"]["p95"] <= found["latency_ms"]["max"]
    assert "latency p50" in capsys.readouterr().out
    assert run_vidpred(*words) == 4, "the output exists"


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Handle signals as usual: a test run in the background, or under nohup, ignores some of them."""
    usual = {signal.SIGINT: interrupt, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def kill_when_handled(number: int, before: object, after: float) -> None:
    """Send this process a signal some seconds after its handler has changed, for at most a minute."""
    deadline = time.monotonic() + 60
    while signal.getsignal(number) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(after)
    os.kill(os.getpid(), number)


def test_a_stream_that_was_stopped_before_its_first_forecast_has_none(clip: Path) -> None:
    stream = vidpred.stream(clip, predictor(Copies()), num_frames=1)
    stream.open()
    stream.stop()
    stream._capture.join()
    assert list(stream) == []


RAW = ("--video-size", "48x32", "--rate", "50", "--size", "32", "--frames", "1")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("frames", [0, 1])
@pytest.mark.usefixtures("usual_signals")
def test_a_signal_before_the_first_forecast(fifo: Path, tmp_path: Path, number: int, frames: int) -> None:
    """As shells report the end of a program by a signal, and without an output."""
    before, ended = signal.getsignal(number), threading.Event()

    def interrupt() -> None:
        kill_when_handled(number, before, 0.1)
        ended.wait(60)

    writer = feed(fifo, numbered_frames(frames, 32, 48).tobytes(), interrupt)
    try:
        assert run_vidpred("stream", fifo, *RAW, "-o", tmp_path / "out.mp4") == 128 + number
    finally:
        ended.set()
        writer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert signal.getsignal(number) == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("usual_signals")
def test_a_signal_ends_a_stream_with_a_finished_file(fifo: Path, tmp_path: Path, number: int) -> None:
    output, before, ended = tmp_path / "out.mp4", signal.getsignal(number), threading.Event()

    def interrupt() -> None:
        kill_when_handled(number, before, 0.5)
        ended.wait(60)

    writer = feed(fifo, numbered_frames(30, 32, 48).tobytes(), interrupt)
    try:
        assert run_vidpred("stream", fifo, *RAW, "-o", output) == 0
    finally:
        ended.set()
        writer.join()
    assert len(decoded(output)) >= 2


def test_a_source_that_breaks_off_is_an_error_with_a_finished_file(
    fifo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    writer = feed(fifo, numbered_frames(30, 32, 48).tobytes()[:-100])
    assert run_vidpred("stream", fifo, *RAW, "-o", output) == 3
    writer.join()
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert "the source broke off" in errors[0]
    assert len(decoded(output)) >= 2


CUT = {
    "a.y4m": ("wrapped_avframe", "yuv420p"), "a.mkv": ("ffv1", "yuv420p"), "a.ts": ("mpeg2video", "yuv420p"),
    "a.mjpeg": ("mjpeg", "yuvj420p"), "a.avi": ("mjpeg", "yuvj420p"), "a.nut": ("rawvideo", "yuv420p"),
    "a.gif": ("gif", "rgb8"), "a.mxf": ("mpeg2video", "yuv420p"), "a.asf": ("wmv2", "yuv420p"),
    "a.obu": ("libsvtav1", "yuv420p"), "a.apng": ("apng", "rgb24"), "a.mp4": ("mpeg4", "yuv420p"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CUT)
def test_a_source_that_is_cut_within_a_frame_never_looks_complete(
    fifo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The end of a pipe is an error then; of a file, the whole frames are used with a warning, as `predict` does."""
    codec, pixels = CUT[name]
    fragments = {"movflags": "frag_every_frame+empty_moov"} if name == "a.mp4" else {}
    file = write_video(
        tmp_path / name, numbered_frames(20, 64, 96), codec, rate=RATE, pixel_format=pixels, container_options=fragments
    )
    whole = file.read_bytes()

    def count(source: Path) -> int:
        opened = open_source(source, SourceOptions())
        try:
            return sum(1 for _ in opened.frames((64, 96), 3))
        finally:
            opened.close()

    for content in (whole, whole[: len(whole) * 3 // 4]):
        file.write_bytes(content)
        cut = len(content) < len(whole)
        notes = probe(file).notes
        assert bool(notes) == cut
        frames = count(file)
        assert frames == probe(file).frames
        assert frames < 20 if cut else frames == 20
        expected = f"vidpred: warning: used {frames} frames; {'; '.join(notes)} [{file}]\n" if cut else ""
        assert capsys.readouterr().err == expected
        writer = feed(fifo, content)
        if cut:
            with pytest.raises(DataError, match=r"the source broke off \(.*\d.*\) \["):
                count(fifo)
        else:
            assert count(fifo) == 20
        writer.join()


def test_browsers_get_the_newest_images(clip: Path) -> None:
    images = numbered_frames(4, 64, 96)
    with BrowserServer(0) as server:
        page = urlopen(server.address, timeout=5).read().decode()
        assert re.search('<img src="(.*?)"', page)[1] == "/stream.mjpg"  # type: ignore[index]
        server.write(images[0], 0)
        reply = urlopen(f"{server.address}stream.mjpg", timeout=5)
        assert reply.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
        for number in (0, 1, 3):
            if number:
                server.write(images[number], number)
            lines = [reply.readline().strip() for _ in range(4)]
            assert lines[:2] == [b"--frame", b"Content-Type: image/jpeg"]
            jpeg = reply.read(int(lines[2].split()[1]))
            assert read_number(np.asarray(Image.open(io.BytesIO(jpeg)))) == number
            reply.readline()
        with pytest.raises(HTTPError, match="403"):
            urlopen(Request(server.address, headers={"Host": "evil.example"}), timeout=5)
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{server.address}etc/passwd", timeout=5)
        with pytest.raises(ConfigError, match=f"in use.*serve={server.port}"):
            BrowserServer(server.port)
    assert reply.read() == b"--frame--\r\n"
    reply.close()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("absent.mp4", "-o", "out.mp4"), 3, "No such file or directory [absent.mp4]"),
        (("/dev/video77", "-o", "out.mp4"), 3, "[/dev/video77]"),
        (("rtsp://camera/1", "-o", "out.mp4"), 2, "ffmpeg -i URL"),
        (("clip.mp4",), 2, "no output"),
        (("clip.mp4", "-o", "out.avi"), 2, ".mp4"),
        (("clip.mp4", "-o", "out.mp4", "--size", "64x48"), 2, "--video-size"),
        (("clip.mp4", "-o", "out.mp4", "--video-size", "64x48"), 2, "not for files"),
        (("clip.mp4", "-o", "out.mp4", "--video-size", "64"), 2, "WIDTHxHEIGHT"),
        (("clip.mp4", "-o", "out.mp4", "--rate", "nan"), 2, "'--rate'"),
        (("clip.mp4", "-o", "out.mp4", "--pixel-format", "gray"), 2, "raw frames of a pipe"),
        (("-", "-o", "out.mp4", "--pixel-format", "RGB42"), 2, "choose rgb4"),
        (("-", "-o", "out.mp4", "--pixel-format", "cuda"), 2, "choose rgb24"),
        (("-", "-o", "out.mp4", "--video-size", "16000x99999"), 2, "'16000x99999'"),
        (("clip.mp4", "-o", "out.mp4", "--size", "99999999999999"), 2, "must be at most 16,000 pixels"),
        (("clip.mp4", "-o", "out.mp4", "--size", "16000"), 2, "would become 24000x16000, more than can be scaled"),
        (("clip.mp4", "-o", "clip.mp4", "--overwrite"), 2, "clip.mp4"),
    ],
)
def test_errors_are_one_line(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...], code: int, text: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").symlink_to(clip)
    assert run_vidpred("stream", *words) == code
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert text in errors[0]
    assert not (tmp_path / "out.mp4").exists()
    assert clip.stat().st_size > 1000
