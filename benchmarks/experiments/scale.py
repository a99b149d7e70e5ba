"""Large folders: a tree of UCF101's shape and one of 200,000 images, built from links to few files."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from benchmarks.data import make_video
from benchmarks.experiments.base import Experiment
from vidpred.data.build import build_source, record_splits
from vidpred.data.files_unchanged import files_unchanged
from vidpred.data.images.index import Scan
from vidpred.data.settings import DataSettings
from vidpred.data.videos.containers import open_video
from vidpred.data.videos.index import find_files, find_videos, scan
from vidpred.data.videos.limits import Limits
from vidpred.files import atomic_write
from vidpred.processes.pool import available_cores

VIDEOS, CLASSES, DISTINCT = 13_320, 101, 12
LENGTHS = range(96, 288, 16)  # frames; their mean is that of UCF101, as is the bit rate
TURNS, TURN_CLASSES = 5, 6  # parts of a tree that are scanned and decoded in turns, and their classes
KILLED_AFTER = 40.0  # seconds
IMAGES, IMAGE_CLASSES, DISTINCT_IMAGES = 200_000, 200, 100
IMAGE_SIZE = (218, 178)  # height and width, as in CelebA
FACES = ["--config", "dcgan_faces.yaml", "data.size=32", "data.crop_size=32", "model.width=16",
         "discriminator.width=16", "training.batch_size=32", "training.image_every=1000"]  # fmt: skip
TINY = ["--config", "tiny.yaml", "training.batch_size=8", "data.num_workers=2", "training.image_every=1000"]


def link_videos(folder: Path, files: int = VIDEOS) -> None:
    """Build a tree of video files in classes, all of them links to a few distinct AVIs."""
    originals = []
    for number, length in enumerate(LENGTHS):
        originals.append(folder / f"original{number}.avi")
        make_video(originals[-1], length, "mpeg4", {"g": "12", "b": "560k"})
    for index in range(files):
        kind = folder / "tree" / f"Class{index % CLASSES:03d}"
        kind.mkdir(parents=True, exist_ok=True)
        os.link(originals[index % DISTINCT], kind / f"v_Class_g{index // CLASSES:03d}_c01.avi")


def decode(path: Path) -> None:
    """Decode all frames of a video and do nothing with them."""
    with closing(open_video(path)) as video:
        for _ in video.frames():
            pass


def decode_all(root: Path) -> None:
    """Decode all videos, as many at once as there are cores."""
    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(decode, [root / name for name in find_videos(root)]))


def seconds(action: Callable[[], Any]) -> float:
    """Return how long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@contextmanager
def started(*words: str) -> Iterator[psutil.Popen]:
    """Start a training with two data workers in a separate process group, and kill what is left of it."""
    process = psutil.Popen(
        [sys.executable, "-m", "vidpred", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def peaks(words: list[str], metrics: Path) -> dict[str, float]:
    """Run a training; return the seconds to its first logged step, and the peak memory of trainer and data workers."""
    trainer, workers, first = 0.0, 0.0, 0.0
    begin = time.perf_counter()
    with started(*words) as process:
        while process.poll() is None:
            with closing_gaps():
                trainer = max(trainer, process.memory_info().rss / 1e6)
                workers = max([workers, *(child.memory_info().rss / 1e6 for child in process.children(recursive=True))])
            if not first and metrics.exists() and metrics.stat().st_size:
                first = time.perf_counter() - begin
            time.sleep(0.05)
        if process.returncode:
            raise RuntimeError(process.stderr.read().decode())
    return {"first_step_seconds": first, "trainer_mb": trainer, "worker_mb": workers}


@contextmanager
def closing_gaps() -> Iterator[None]:
    """Ignore processes that end while they are looked at."""
    try:
        yield
    except psutil.Error:
        return


def videos(run: Path, seed: int) -> dict[str, Any]:
    """Scan the tree, stop and go on, start trainings on it."""
    with tempfile.TemporaryDirectory(dir=run.parent) as name:
        folder = Path(name)
        link_videos(folder)
        root = folder / "tree"
        as_the_command = partial(scan, processes=True)
        speeds = rates(root, folder / "copies", decode_all, as_the_command)
        values = {"videos": VIDEOS, "cores": available_cores(), **speeds}
        words = ["train", *TINY, f"data.root={root}", f"run={folder / 'first'}", "training.steps=1"]
        with started(*words) as process:
            time.sleep(KILLED_AFTER)
            os.killpg(process.pid, signal.SIGKILL)
        index = root / ".vidpred" / "index.jsonl"
        values["scanned_before_kill"] = len(index.read_text().splitlines()) - 1
        values["scan_seconds_after_kill"] = seconds(lambda: as_the_command(root))
        values["index_mb"] = index.stat().st_size / 1e6
        values["second_scan_seconds"] = [seconds(lambda: scan(root)) for _ in range(3)]
        for turn in range(3):
            words[-2:] = [f"run={folder / f'run{turn}'}", "training.steps=20"]
            for key, value in peaks(words, folder / f"run{turn}" / "metrics.jsonl").items():
                values.setdefault(key, []).append(value)
    return values


def rates(
    root: Path, copies: Path, decode_tree: Callable[[Path], Any], scan_tree: Callable[[Path], Any]
) -> dict[str, Any]:
    """Return the files per second of plain decoding and of scanning, a part of the classes in every turn."""
    classes = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    decoding, scanning = [], []
    for number in range(TURNS):
        linked = copies / str(number)  # a scan leaves an index, which the measurement of the tree must not find
        for kind in classes[number * TURN_CLASSES : (number + 1) * TURN_CLASSES]:
            (linked / kind.name).mkdir(parents=True)
            for path in kind.iterdir():
                os.link(path, linked / kind.name / path.name)
        count = len(list(find_files(linked)))
        decoding.append(count / seconds(lambda linked=linked: decode_tree(linked)))  # type: ignore[misc]
        scanning.append(count / seconds(lambda linked=linked: scan_tree(linked)))  # type: ignore[misc]
    ratio = statistics.median(scan / plain for scan, plain in zip(scanning, decoding, strict=True))
    return {"decoded_per_second": decoding, "scanned_per_second": scanning, "scan_to_decoding": ratio}


def link_images(folder: Path, files: int = IMAGES) -> None:
    """Build a tree of JPEGs in classes, all of them links to a few distinct ones."""
    random = np.random.default_rng(0)
    for number in range(DISTINCT_IMAGES):
        noise = random.integers(0, 256, (*IMAGE_SIZE, 3), dtype=np.uint8)
        blurred = cv2.blur(noise, (9, 9)).astype(np.float32)
        stretched = (blurred - blurred.min()) * (255 / np.ptp(blurred))
        with atomic_write(folder / f"original{number}.jpg") as temporary:
            cv2.imwrite(str(temporary), stretched.round().astype(np.uint8))
    for index in range(files):
        kind = folder / "tree" / f"class{index % IMAGE_CLASSES:03d}"
        kind.mkdir(parents=True, exist_ok=True)
        os.link(folder / f"original{index % DISTINCT_IMAGES}.jpg", kind / f"{index:06d}.jpg")


def read_all(root: Path) -> None:
    """Decode all images, as many at once as there are cores."""
    paths = [str(root / name) for name in find_files(root)]
    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(_read_block, (paths[first : first + 256] for first in range(0, len(paths), 256))))


def _read_block(paths: list[str]) -> None:
    for path in paths:
        cv2.imread(path)


def scan_images(root: Path) -> None:
    """Check all images of a folder."""
    Scan(root, None, Limits.pixels).run(list(find_files(root)))


def images(run: Path, seed: int) -> dict[str, Any]:
    """Check the images, open all splits again, start trainings on them."""
    with tempfile.TemporaryDirectory(dir=run.parent) as name:
        folder = Path(name)
        link_images(folder)
        root = folder / "tree"
        settings = DataSettings(root=str(root), context_frames=0, size=32)
        values = {"images": IMAGES, "cores": available_cores(), **rates(root, folder / "copies", read_all, scan_images)}
        values["decoding_seconds"] = seconds(lambda: read_all(root))
        values["first_scan_seconds"] = seconds(lambda: record_splits(settings))
        values["index_mb"] = (root / ".vidpred" / "images.jsonl").stat().st_size / 1e6
        code = f"from benchmarks.experiments.scale import open_splits; open_splits({str(root)!r})"
        values["second_start_seconds"] = []
        for _ in range(3):  # in processes that know nothing of the folder
            found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            values["second_start_seconds"].append(float(found.stdout))
        for turn in range(3):
            words = ["train", *FACES, f"data.root={root}", f"run={folder / f'run{turn}'}", "training.steps=20"]
            for key, value in peaks(words, folder / f"run{turn}" / "metrics.jsonl").items():
                values.setdefault(key, []).append(value)
    return values


def open_splits(root: str) -> None:
    """Print how long a training takes to find its images, which it divides, and opens for training and validation."""
    settings = DataSettings(root=root, context_frames=0, size=32)

    def start() -> None:
        with files_unchanged():  # as in a training
            for split in ("train", "validation"):
                build_source(settings, split, (0,))
            record_splits(settings)

    print(seconds(start))


SCALE_EXPERIMENTS = [
    Experiment("scale: a tree of 13,320 videos", 0, videos),
    Experiment("scale: a folder of 200,000 images", 0, images),
]
