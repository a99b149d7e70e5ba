"""Does the adversary of Mathieu et al. 2016 beat squared error on unseen real clips? Long trainings for a GPU.

    python -m benchmarks.mathieu_long prepare FOLDER      # clips -> FOLDER/train (prepared frames), FOLDER/windows.npz
    python -m benchmarks.gpu --frames FOLDER --output DIR # trains and predicts on a machine with a GPU
    python -m benchmarks.mathieu_long evaluate DIR --frames FOLDER --features WEIGHTS   # measures, appends rows

Three rungs of the paper's ladder (squared error; l1 + gradient difference; the same with the adversary), three seeds
each, the paper's network sizes, the same samples and the same number of steps. The rung without the adversary shows
what the gradient difference does alone.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vidpred.config import Config, load_config
from vidpred.data.build import build_source
from vidpred.data.index import scan
from vidpred.data.settings import DataSettings
from vidpred.data.video import scaled_size, stream_frames
from vidpred.inference.predictor import Predictor
from vidpred.together import train_quietly

RUNGS = ("ladder_l2", "ladder_gdl_l1", "ladder_adv_gdl")
SEEDS = (0, 1, 2)
SIDE = 96  # pixels, the short side of all frames
CONTEXT, FUTURE = 4, 4  # frames of a test window
KEPT = (1, 2, 4)  # which of the predicted frames are kept and measured
WINDOWS = 8  # of each clip that is measured
TRAIN_RATE = 25  # frames per second; faster clips keep every n-th frame
TRAIN_FRAMES = 800  # of each clip, so that the longest one does not outweigh the others
SPLITS = ("test", "development")
TIMING_STEPS = 400
PREDICTING_SECONDS = 40  # kept for the predictions after the trainings
# Horizontal differences of bytes compress frames to about a third without loss.
FILTERS: list[dict[str, int]] = [
    {"id": lzma.FILTER_DELTA, "dist": 1},
    {"id": lzma.FILTER_LZMA2, "preset": 4},
]

# What differs from the presets: the data and, because the training is short, the optimizers (see proofs_ladder) and the
# strided discriminator with a gradient penalty. The adversary's weight gives its mean over the scales the paper's 0.05.
SHARED: dict[str, Any] = {
    "data.size": SIDE, "data.movement_threshold": 0.0005, "data.workers": 1, "training.batch_size": 8,
    "training.ema_decay": 0.999, "training.clip_norm": 1.0, "training.validate_every": 0, "training.picture_every": 0,
    "training.monitor_every": 0, "training.log_every": 50, "checkpoint.keep": 1,
}  # fmt: skip
ADVERSARY: dict[str, Any] = {
    "discriminator.size": "strided", "objective.adversarial_weight": 0.0125, "objective.r1_weight": 0.1,
}  # fmt: skip
LEARNING_RATES = {"paper": 3e-4, "release": 1e-3}


def rung_config(rung: str, seed: int, frames: Path, run: Path, steps: int, size: str = "paper") -> Config:
    """The config of one training.

    Args:
        rung: the name of a preset, one of `RUNGS`.
        frames: the prepared training frames.
        size: of the generator, `paper` or `release`.
    """
    adam = {"name": "adam", "learning_rate": LEARNING_RATES[size], "betas": [0.5, 0.99]}
    changes = {
        **SHARED, "data.root": str(frames), "run": str(run), "seed": seed, "model.size": size, "training.steps": steps,
        "training.generator": adam, "checkpoint.every": max(1, steps // 2),
    }  # fmt: skip
    if rung.startswith("ladder_adv"):
        changes |= {**ADVERSARY, "training.discriminator": adam}
    return load_config(f"{rung}.yaml", changes)


def prepare(folder: Path, clips: Mapping[str, Path]) -> None:
    """Write the training frames and the test windows.

    Args:
        clips: the folder of videos of each split, `train`, `test` and `development`.
    """
    from data_prep.command import run as prepare_set

    arrays = folder / "arrays"
    arrays.mkdir(parents=True, exist_ok=True)
    for video in scan(clips["train"])[0]:
        every = max(1, round(video.rate / TRAIN_RATE))
        frames = list(stream_frames(clips["train"] / video.path, scaled_size(video.height, video.width, SIDE)))
        np.savez(arrays / f"{Path(video.path).stem}.npz", frames=np.stack(frames[::every][:TRAIN_FRAMES]))
    words = [str(arrays), str(folder / "train"), "--layout", "THWC", "--size", str(SIDE), "--fractions", "1,0,0"]
    print(prepare_set("vidpred prepare", ["numpy", *words]))
    found = {}
    for split in SPLITS:
        listing = folder / f"{split}.csv"
        listing.write_text("".join(f"{file.name},test\n" for file in sorted(clips[split].iterdir()) if file.is_file()))
        settings = DataSettings(root=str(clips[split]), size=SIDE, split_file=str(listing), context_frames=CONTEXT)
        source = build_source(settings, "test", range(CONTEXT + FUTURE))
        by_clip: dict[str, list[int]] = {}
        for index in range(len(source)):
            by_clip.setdefault(source.clip_name(index), []).append(index)
        for clip, numbers in by_clip.items():
            places = [(2 * place + 1) * len(numbers) // (2 * WINDOWS) for place in range(WINDOWS)]
            windows = np.stack([source.window(numbers[place]) for place in places])
            found[f"{split}/{clip}"] = windows.transpose(0, 1, 4, 2, 3)
    np.savez(folder / "windows.npz", **found)


def train_all(
    frames: Path, output: Path, seconds: float, rungs: Sequence[str] = RUNGS, seeds: Sequence[int] = SEEDS,
    size: str = "paper", steps: int | None = None,
) -> Iterator[tuple[str, float, str]]:  # fmt: skip
    """Train every rung with every seed at the same time, one process each, and predict the test windows.

    The number of steps is the same for all and chosen before they start: a short run of all of them tells how many
    the slowest can take in the time that is left.

    Args:
        frames: the folder that `prepare` wrote.
        output: gets `runs/RUNG-SEED` and `predictions/RUNG-SEED.npz.xz`.
        seconds: wall-clock time for everything.
        steps: overrides the number of steps.

    Yields:
        (name, value, unit) of every figure.
    """
    begin = time.monotonic()
    jobs = [(rung, seed) for rung in rungs for seed in seeds]
    with ProcessPoolExecutor(len(jobs), mp_context=multiprocessing.get_context("spawn")) as pool:

        def configs(folder: str, steps: int) -> list[Config]:
            runs = [output / folder / f"{rung}-{seed}" for rung, seed in jobs]
            return [
                rung_config(rung, seed, frames / "train", run, steps, size)
                for (rung, seed), run in zip(jobs, runs, strict=True)
            ]

        if steps is None:
            short = configs("timing", TIMING_STEPS)
            finish([pool.submit(train_quietly, config, 1) for config in short])
            rates = {rung: min(steps_per_second(config) for config in of_rung(short, rung)) for rung in rungs}
            for rung, rate in rates.items():
                yield f"{rung}, all trainings at once", rate, "steps/s"
            left = seconds - (time.monotonic() - begin)
            # The others end first, which makes the slowest faster: that is the margin.
            steps = max(50, int(0.9 * (left - PREDICTING_SECONDS) * min(rates.values()) / 50) * 50)
            yield "timing of all trainings at once", time.monotonic() - begin, "s"
        yield "steps of each training", steps, "steps"
        start = time.monotonic()
        long = configs("runs", steps)
        trainings = [pool.submit(train_quietly, config, 1) for config in long]
        finish(trainings)
        yield "all trainings", time.monotonic() - start, "s"
        for rung in rungs:
            yield f"{rung}, slowest seed", min(steps_per_second(config) for config in of_rung(long, rung)), "steps/s"
        start = time.monotonic()
        target = output / "predictions"
        target.mkdir(exist_ok=True)
        finish(
            [
                pool.submit(predict_windows, config.run, frames / "windows.npz", target / f"{rung}-{seed}.npz.xz")
                for (rung, seed), config in zip(jobs, long, strict=True)
            ]
        )
        yield "predictions of all trainings", time.monotonic() - start, "s"


def of_rung(configs: Sequence[Config], rung: str) -> list[Config]:
    return [config for config in configs if Path(config.run).name.startswith(f"{rung}-")]


def finish(jobs: Sequence[Future[None]]) -> None:
    """Wait for all; raises the first failure only after the others have ended."""
    wait(jobs)
    for job in jobs:
        job.result()


def steps_per_second(config: Config) -> float:
    """Return the median over a run's log; the first entry, which includes the start, does not count."""
    lines = [json.loads(line) for line in (Path(config.run) / "metrics.jsonl").read_text().splitlines()]
    rates = [line["samples_per_second"] for line in lines if "samples_per_second" in line]
    return float(np.median(rates[1:] or rates)) / config.training.batch_size


def predict_windows(run: str, windows: Path, target: Path) -> None:
    """Write the kept frames that a run predicts, `(n, len(KEPT), 3, H, W)` uint8 for each clip."""
    predictor = Predictor.load(run)
    found = {}
    with np.load(windows) as clips:
        for clip in clips:
            frames = predictor.predict(clips[clip][:, :CONTEXT], max(KEPT))[:, [number - 1 for number in KEPT]]
            found[clip] = (frames * 255).round().to(torch.uint8).numpy()
    buffer = io.BytesIO()
    np.savez(buffer, **found)
    target.write_bytes(lzma.compress(buffer.getvalue(), lzma.FORMAT_XZ, filters=FILTERS))


def load_predictions(file: Path) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(lzma.decompress(file.read_bytes()))) as clips:
        return {clip: clips[clip] for clip in clips}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("prepare", help="write the training frames and the test windows")
    verb.add_argument("folder", type=Path)
    options = parser.parse_args(words)
    if options.verb == "prepare":
        from benchmarks.real_clips import clip_folder

        prepare(options.folder, {split: clip_folder(split) for split in ("train", *SPLITS)})


if __name__ == "__main__":
    main()
