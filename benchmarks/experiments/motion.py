"""The fixed protocol of prediction on real video: seven unseen clips, short side 160, frames 1, 2, 4 and 8.

Every clip counts alike: four windows of each, evenly spread, free of cuts and, in their newest twelve frames, of
repeated ones (those measure the recorder), averaged within the clip, then over the clips. The test clips are looked at
by these experiments alone.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments.base import Experiment
from benchmarks.experiments.baselines import SimVP, WarpedMultiscale
from benchmarks.real_clips import clip_folder
from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, spread
from vidpred.data.videos.windows import movement
from vidpred.evaluation.protocols import Evaluation, Measurement, evaluate_models, with_baselines
from vidpred.inference.predictor import Predictor
from vidpred.models.base import Generator
from vidpred.models.baselines import FlowExtrapolation
from vidpred.models.build import build_generator
from vidpred.run import train

KNOWN, STEPS, SHORT_SIDE, WINDOWS = 10, 8, 160, 4
MOVING = 4 + STEPS  # so many newest frames of a window repeat none
SHOWN = (1, 2, 4, 8)
MEASURED = ("psnr", "ssim", "psnr_moving", "sharpness")
REPEATED = 1e-6  # mean squared difference under which a frame repeats the one before: 60 dB
WHOLE = {"data.split": "file", "data.split_fractions": [1, 0, 0]}  # all clips of a folder are of one split


class EvenWindows(Source):
    """`per_clip` windows of every clip of a source, evenly spread among those whose newest frames repeat none."""

    def __init__(self, source: Source, per_clip: int) -> None:
        self.source, self.name = source, source.name
        by_clip: dict[str, list[int]] = {}
        for index in range(len(source)):
            by_clip.setdefault(source.clip_name(index), []).append(index)
        self.chosen: list[int] = []
        for windows in by_clip.values():
            moving = [index for index in windows if self._moves(index)]
            self.chosen += [moving[place] for place in spread(len(moving), per_clip)]

    def _moves(self, index: int) -> bool:
        frames = self.source.window(index)[-MOVING:]
        return all(movement(a, b) > REPEATED for a, b in pairwise(frames))

    def __len__(self) -> int:
        return len(self.chosen)

    def window(self, index: int) -> np.ndarray:
        return self.source.window(self.chosen[index])

    def clip_name(self, index: int) -> str:
        return self.source.clip_name(self.chosen[index])


def measure(models: Mapping[str, Generator], split: str = "test", per_clip: int = WINDOWS) -> dict[str, Any]:
    """What every model and baseline scores on the clips of a split."""
    settings = DataSettings(
        root=str(clip_folder(split)), size=SHORT_SIDE, crop_size=None, split="file", split_fractions=(1, 0, 0)
    )
    source = EvenWindows(build_source(settings, "train", range(KNOWN + STEPS)), per_clip)
    how = Measurement(STEPS, only=MEASURED, progress=True)
    result = evaluate_models(with_baselines(models, STEPS), source, how)
    return summarise(result)


def summarise(result: Evaluation) -> dict[str, Any]:
    """Means over clips of the shown frames; and each model's gain in PSNR over each baseline, with its standard error
    over the clips and the smallest clip's."""
    scores: dict[str, Any] = {}
    for name, found in result.scores.items():
        scores[name] = {
            measure: [
                round(statistics.fmean(clip[measure][step - 1].mean for clip in found.by_clip.values()), 4)
                for step in SHOWN
            ]
            for measure in MEASURED
        }
        scores[name]["psnr_by_clip"] = {
            clip: [round(values["psnr"][step - 1].mean, 3) for step in SHOWN] for clip, values in found.by_clip.items()
        }
    for name in scores:
        scores[name]["psnr_gain"] = {other: gain(scores[name], scores[other]) for other in scores if other != name}
    return {"windows": result.windows, "frames": list(SHOWN), "scores": scores}


def gain(model: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, list[float]]:
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
    """The table of means over clips: PSNR / SSIM / PSNR on moving pixels."""
    lines = [f"{'':<28}" + "".join(f"{f'frame {step}':>28}" for step in numbers["frames"])]
    for name, scores in numbers["scores"].items():
        cells = zip(scores["psnr"], scores["ssim"], scores["psnr_moving"], strict=True)
        lines.append(f"{name:<28}" + "".join(f"{f'{a:.2f} / {b:.4f} / {c:.2f}':>28}" for a, b, c in cells))
    return "\n".join(lines)


def experiment(
    folder: Path, seed: int, changes: Mapping[str, Any], generator: Callable[[], Generator] | None = None
) -> dict[str, Any]:
    """Train motion.yaml with some settings changed, or a module of another kind with it, on the train clips; measure on
    the test clips. seconds: of the processor, over all threads."""
    overrides = {"data.root": str(clip_folder("train")), **WHOLE, "run": str(folder / "run"), "seed": seed, **changes}
    start = time.process_time()
    train(load_config("motion.yaml", overrides), generator() if generator else None)
    seconds = time.process_time() - start
    trained = Predictor.load(folder / "run", "last", generator=generator() if generator else None)
    numbers = measure({"trained": trained.generator})
    print(show(numbers))
    return {"training_cpu_seconds_this_sitting": round(seconds), **numbers}


def shipped(folder: Path, seed: int) -> dict[str, Any]:
    """The weights of the package, untrained further."""
    numbers = measure({"pretrained": Predictor.load("pretrained").generator})
    print(show(numbers))
    return numbers


def motion(folder: Path, seed: int) -> dict[str, Any]:
    return experiment(folder, seed, {})


def refined(folder: Path, seed: int) -> dict[str, Any]:
    """With the UNet, for about as many processor seconds."""
    return experiment(folder, seed, {"model.refine": True, "training.steps": REFINED_STEPS})


def adversarial(folder: Path, seed: int) -> dict[str, Any]:
    """The refined generator, trained on with an adversary (motion_adversarial.yaml), and as long with the same losses
    but no adversary: what it costs in PSNR, what it brings in sharpness."""
    start = folder / "start"
    shared = {"data.root": str(clip_folder("train")), **WHOLE, "seed": seed}
    refine = {"model.refine": True, "training.steps": REFINED_STEPS}
    train(load_config("motion.yaml", {**shared, **refine, "run": str(start)}))
    models = {"start": Predictor.load(start, "last").generator}
    seconds = {}
    nobody: dict[str, Any] = {
        "objective.adversarial.weight": 0, "objective.adversarial.r1_weight": 0, "discriminator.size": "release",
        "training.discriminator.learning_rate": 1e-3, "training.discriminator.betas": [0.9, 0.99],
    }  # fmt: skip
    for name, change in {"with adversary": {}, "without": nobody}.items():
        run, begun = folder / name.replace(" ", "-"), time.process_time()
        own = {**shared, "training.init_from": str(start), "run": str(run), **change}
        train(load_config("motion_adversarial.yaml", own))
        seconds[name] = round(time.process_time() - begun)
        models[name] = Predictor.load(run, "last").generator
    numbers = measure(models)
    print(show(numbers))
    return {"training_cpu_seconds_this_sitting": seconds, **numbers}


def without_backtest(folder: Path, seed: int) -> dict[str, Any]:
    return experiment(folder, seed, {"model.backtest": False})


def without_wandering(folder: Path, seed: int) -> dict[str, Any]:
    """Real clips only as they were filmed: at an even speed and with the camera's own motion."""
    return experiment(folder, seed, {"data.augment.time_warp": 0, "data.augment.camera_shake": 0})


def untrained(folder: Path, seed: int) -> dict[str, Any]:
    """What is measured on the known frames alone, before anything is learned."""
    config = load_config("motion.yaml")
    numbers = measure({"untrained": build_generator(config.model, config.data).eval()})
    print(show(numbers))
    return numbers


def finer_flow(folder: Path, seed: int) -> dict[str, Any]:
    """Extrapolation along the finer flow, which the baseline does not have and the generator does."""
    numbers = measure({"finer flow": FlowExtrapolation("fine")})
    print(show(numbers))
    return numbers


def without_synthetic(folder: Path, seed: int) -> dict[str, Any]:
    return experiment(folder, seed, {"data.world.synthetic_share": 0.0})


def simvp(folder: Path, seed: int) -> dict[str, Any]:
    """Squared error as in the paper, for about as many processor seconds as motion.yaml takes."""
    changes = {"objective.log_weight": 0, "objective.lp_weight": 1, "objective.lp_exponent": 2,
               "training.steps": SIMVP_STEPS}  # fmt: skip
    return experiment(folder, seed, changes, lambda: SimVP(KNOWN, STEPS))


def warped_multiscale(folder: Path, seed: int) -> dict[str, Any]:
    changes = {"data.context_frames": 3, "data.pred_frames": 1, "data.unroll": 2, "training.steps": WARPED_STEPS}
    return experiment(folder, seed, changes, lambda: WarpedMultiscale(3))


# A step of theirs takes 3.4, 1.6 and 1.9 times as long as one of motion.yaml, which has 1,400.
SIMVP_STEPS, WARPED_STEPS, REFINED_STEPS = 410, 870, 750
MOTION_EXPERIMENTS = [
    Experiment("motion on ten frames, shipped weights", 0, shipped),
    *(Experiment("motion on ten frames, trained from scratch", seed, motion) for seed in (0, 1, 2)),
    Experiment("motion on ten frames, untrained", 0, untrained),
    Experiment("motion on ten frames, the finer flow alone", 0, finer_flow),
    Experiment("motion on ten frames, no backtest", 0, without_backtest),
    Experiment("motion on ten frames, no wandering, no shaking", 0, without_wandering),
    Experiment("motion on ten frames, refined", 0, refined),
    Experiment("motion on ten frames, refined, with an adversary", 0, adversarial),
    Experiment("motion on ten frames, no synthetic clips", 0, without_synthetic),
    Experiment("motion on ten frames, baseline: SimVP", 0, simvp),
    Experiment("motion on ten frames, baseline: multi-scale on the warped frame", 0, warped_multiscale),
]
