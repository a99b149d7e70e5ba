"""Measure the start of the help, a first prediction and a training. Run: python -m benchmarks.startup.

Every round starts each of them once in a new process; with --before FOLDER also with the code of another checkout, in
turns, so that ratios hold on a noisy machine. The first round is discarded: it compiles bytecode and scans the videos.
With --busy, further rounds run next to that many processes that never wait.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import commit, machine
from benchmarks.markdown import grid
from benchmarks.results import RESULTS, append_result
from vidpred.files import write_file

NAME = "speed: start"
CHECKOUT = Path(__file__).resolve().parents[1]
VIDEOS, FRAMES = 8, 64
PREDICT = (
    "import vidpred, numpy; frames = numpy.random.default_rng(0).integers(0, 256, (10, 3, 64, 64), numpy.uint8);"
    "vidpred.Predictor.load('pretrained').predict(frames, 8)"
)
STARTS = {  # what is started -> the words after `python`
    "`import torch`, for comparison": ["-c", "import torch"],
    "`import vidpred`": ["-c", "import vidpred"],
    "`vidpred --help`": ["-m", "vidpred", "--help"],
    "`Predictor.load(\"pretrained\")` and a prediction": ["-c", PREDICT],
    "`vidpred train`: the first logged step": [
        "-m", "vidpred", "train", "--config", "tiny.yaml", "data.root=clips", "run=run", "training.steps=1",
        "training.log_every=1", "training.validate_every=0", "training.image_every=0",
    ],
}  # fmt: skip
TITLES = {"now": "", "before": " before", "busy": ", busy"}
Times = tuple[float, float]


def time_start(words: list[str], folder: Path, checkout: Path) -> Times:
    """Start Python in a folder; return the seconds to its end or to its first logged step, and its CPU seconds.

    Raises:
        RuntimeError: It fails.
    """
    metrics = folder / "run" / "metrics.jsonl"
    shutil.rmtree(folder / "run", ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as for an installed package
    before = os.times()
    with tempfile.TemporaryFile() as errors:
        began, logged = time.perf_counter(), None
        process = subprocess.Popen(
            [sys.executable, *words], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        while "train" in words and logged is None and process.poll() is None:
            if metrics.exists() and metrics.stat().st_size:
                logged = time.perf_counter() - began
            time.sleep(0.002)
        code, ended, after = process.wait(), time.perf_counter() - began, os.times()
        if code:
            errors.seek(0)
            raise RuntimeError(errors.read().decode())
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return ended if logged is None else logged, used


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep processes running that never wait."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(rounds: int, checkouts: dict[str, Path], busy: int = 0) -> dict[str, dict[str, list[Times]]]:
    """Return the times of every start by checkout, and "busy" for the newest next to busy processes."""
    from benchmarks.data import FILES, make_video

    names = [*checkouts, *(["busy"] if busy else [])]
    found: dict[str, dict[str, list[Times]]] = {name: {kind: [] for kind in STARTS} for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "clips").mkdir()
        for number in range(VIDEOS):
            make_video(folder / "clips" / f"{number}.mp4", FRAMES, **FILES["h264_gop12.mp4"])
        for turn in range(rounds + 1):
            for kind, words in STARTS.items():
                for name, checkout in checkouts.items():
                    times = time_start(words, folder, checkout)
                    if turn:
                        found[name][kind].append(times)
        with busy_processes(busy):
            for _ in range(rounds if busy else 0):
                for kind, words in STARTS.items():
                    found["busy"][kind].append(time_start(words, folder, checkouts["now"]))
    return found


def table(values: dict[str, dict[str, list[Times]]]) -> str:
    """Return medians and ranges of the seconds, and medians of the CPU seconds, of every checkout."""
    heads = [f"{title}{TITLES[name]}" for name in values for title in ("seconds", "CPU seconds")]
    rows = []
    for kind in STARTS:
        cells = []
        for times in values.values():
            seconds, used = zip(*times[kind], strict=True)
            cells += [
                f"{statistics.median(seconds):.2f} ({min(seconds):.2f} - {max(seconds):.2f})",
                f"{statistics.median(used):.2f}",
            ]
        rows.append([kind, *cells])
    return grid(["", *heads], rows)


def main() -> None:
    """Print the table; with --record also write the row, instead of an earlier one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--before", type=Path, help="another checkout, to be measured in turns")
    parser.add_argument("--busy", type=int, default=0, help="number of busy processes of the further rounds")
    parser.add_argument("--record", action="store_true", help=f"write the row to {RESULTS}")
    options = parser.parse_args()
    checkouts = {"now": CHECKOUT} | ({"before": options.before.resolve()} if options.before else {})
    values = measure(options.rounds, checkouts, options.busy)
    print(table(values))
    if options.record:
        kept = [line for line in RESULTS.read_text().splitlines() if json.loads(line)["name"] != NAME]
        write_file(RESULTS, "\n".join(kept) + "\n")
        append_result(RESULTS, {"name": NAME, "seed": 0, "commit": commit(), "times": values, "machine": machine()})


if __name__ == "__main__":
    main()
