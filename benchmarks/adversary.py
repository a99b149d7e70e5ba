"""Measure what an adversary of patches adds to l1 and the gradient difference, on unseen frames of two domains.

    python -m benchmarks.adversary prepare FOLDER                # clips -> training frames and test windows
    python -m benchmarks.adversary train FOLDER --output DIR --features WEIGHTS --minutes 7   # on a machine with a GPU
    python -m benchmarks.adversary record DIR ... --frames FOLDER --features WEIGHTS  # baselines; appends results

Domains: `scenes` are other clips than those trained on (`benchmarks.real_clips`), `later` are later frames of the clips
trained on (gymnasts, still cameras). Every method is trained from scratch with the same network (Mathieu et al. 2016 at
the released size, on a copy of the last frame), samples and steps; the methods with rollouts have the control
`l1 + GDL, rollouts`, the others `l1 + GDL`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import commit, machine
from benchmarks.mathieu_long import (
    CONTEXT,
    FUTURE,
    KEPT,
    SIDE,
    Numbers,
    last_accuracy,
    lite0_features,
    measure_clip,
    over_clips,
    prepare,
)
from benchmarks.results import RESULTS, append_result
from vidpred.commands.parallel_runs import train_quietly
from vidpred.config import Config, load_config
from vidpred.data.batch import to_float
from vidpred.evaluation.feature_distance import FeatureDistance
from vidpred.files import write_file
from vidpred.inference.predictor import Predictor
from vidpred.models.baselines import build_baselines
from vidpred.models.rollout import rollout
from vidpred.processes.pool import available_cores, spawn_pool

ROW = "adversary of patches, GPU"
DOMAINS = ("scenes", "later")
SEEDS = (0, 1, 2)
TRAIN_FRAMES = 250  # of each clip
TRAINED = 0.7  # of each clip of the domain `later`, from its beginning
IMAGES = 1  # windows of each clip whose predictions are kept, first seed
STEPS = 2500
ADAM: dict[str, Any] = {"name": "adam", "learning_rate": 4e-4, "betas": [0.5, 0.99]}
SHARED: dict[str, Any] = {
    "data.size": SIDE, "data.crop_size": 64, "data.min_motion": 0.0005, "data.num_workers": 0, "model.size": "release",
    "model.residual": "last_frame", "training.batch_size": 8, "training.generator": ADAM,
    "training.schedule": {"shape": "cosine", "hold": 0.5, "final": 0.1}, "training.grad_clip_norm": 1.0,
    "training.ema_decay": 0.995, "training.validate_every": 0, "training.image_every": 0, "training.monitor_every": 0,
    "training.log_every": 50, "checkpoint.keep": 1,
}  # fmt: skip
L2: dict[str, Any] = {"objective.lp_exponent": 2.0, "objective.gdl_weight": 0.0}
PATCHES: dict[str, Any] = {
    "discriminator.name": "patch", "objective.adversarial.loss": "hinge", "objective.adversarial.balanced": True,
    "objective.adversarial.weight": 1.0, "objective.adversarial.r1_weight": 0.01,
    "training.discriminator": {**ADAM, "learning_rate": 1e-3},
}  # fmt: skip
START, RAMP = 0.3, 0.05  # of the steps: when the adversary's weight begins to rise, and how long it rises
METHODS: dict[str, dict[str, Any]] = {
    "l2": L2,
    "l1 + GDL": {},
    "patches": PATCHES,
    "patches, a quarter of the weight": {**PATCHES, "objective.adversarial.weight": 0.25},
    "patches of two scales": {**PATCHES, "discriminator.scales": 2},
    "patches, relativistic pairs": {
        **PATCHES, "objective.adversarial.loss": "relativistic", "objective.adversarial.r2_weight": 0.01,
    },
    "l1 + GDL, rollouts": {"data.unroll": 3},
    "patches, rollouts": {**PATCHES, "data.unroll": 3, "objective.adversarial.weight": 0.5},
}  # fmt: skip
SLOWEST_FIRST = ("patches, rollouts", "l1 + GDL, rollouts", "patches of two scales")
Job = tuple[str, str, int]  # method, domain, seed


def job_config(job: Job, frames: Path, run: Path, steps: int) -> Config:
    """Return the config of one training.

    Args:
        job: Method, domain, seed.
        frames: The output folder of `prepare`.
        run: The run folder.
        steps: Training steps.
    """
    method, domain, seed = job
    root = frames / domain / "train"
    changes = {
        **SHARED, **METHODS[method], "data.root": str(root), "run": str(run), "seed": seed, "training.steps": steps,
        "checkpoint.every": steps,
    }  # fmt: skip
    if method.startswith("patches"):
        changes |= {
            "objective.adversarial.start": int(START * steps), "objective.adversarial.ramp": max(1, int(RAMP * steps)),
        }  # fmt: skip
    return load_config("ladder_gdl_l1.yaml", changes)


def run_name(job: Job) -> str:
    """Return the name of a training's folder."""
    return "-".join(str(part) for part in job).replace(" ", "_").replace(",", "").replace("+", "and")


def prepare_domains(folder: Path) -> None:
    """Write each domain's training frames and test windows."""
    from benchmarks.real_clips import clip_folder
    from data_prep import sets
    from data_prep.command import Request, run

    clips = {split: clip_folder(split) for split in ("train", "test", "development")}
    prepare(folder / "scenes", clips, TRAIN_FRAMES)
    later = folder / "later"
    (later / "arrays").mkdir(parents=True, exist_ok=True)
    windows = {}
    for file in sorted((folder / "scenes" / "arrays").glob("gym_*.npz")):
        frames = np.load(file)["frames"]
        cut = int(TRAINED * len(frames))
        np.savez(later / "arrays" / file.name, allow_pickle=False, frames=frames[:cut])
        starts = range(cut, len(frames) - CONTEXT - FUTURE + 1)
        clip = np.stack([frames[start : start + CONTEXT + FUTURE] for start in starts])
        windows[f"test/{file.stem}"] = clip.transpose(0, 1, 4, 2, 3)
    words = ["layout=THWC", f"size={SIDE}", "fractions=[1, 0, 0]"]
    print(run(Request(sets()["numpy"], later / "arrays", later / "train", words)))
    np.savez(later / "windows.npz", allow_pickle=False, **windows)


def train_and_measure(job: Job, frames: Path, output: Path, features: Path, steps: int) -> dict[str, Any]:
    """Train, predict the domain's windows and measure them; return the training's report.

    Args:
        job: Method, domain, seed.
        frames: The output folder of `prepare`.
        output: Receives the run folder and the images.
        features: Folder of the feature network.
        steps: Training steps.
    """
    torch.set_num_threads(1)
    run = Path(tempfile.mkdtemp()) / run_name(job)
    start = time.monotonic()
    config = job_config(job, frames, run, steps)
    train_quietly(config, 1)
    seconds = time.monotonic() - start
    device = "cuda" if torch.cuda.is_available() else "cpu"
    predictor = Predictor.load(str(run), device=device)
    distance = FeatureDistance(lite0_features(features, device))
    measured, images = {}, {}
    with np.load(frames / job[1] / "windows.npz") as clips:
        for clip in clips:
            windows = to_float(torch.from_numpy(clips[clip])).to(device)
            predicted = predictor.predict(windows[:, :CONTEXT], max(KEPT)).to(device)
            predicted = (predicted[:, [number - 1 for number in KEPT]] * 255).round() / 255
            measured[clip] = measure_clip(predicted, windows, distance)
            images[clip] = (predicted[:IMAGES] * 255).byte().cpu().numpy()
    if job[2] == SEEDS[0]:
        (output / "images").mkdir(parents=True, exist_ok=True)
        np.savez_compressed(output / "images" / f"{run_name(job)}.npz", allow_pickle=False, **images)
    adversarial = job[0].startswith("patches")
    return {
        "job": job,
        "steps": steps,
        "training_seconds": round(seconds, 1),
        "discriminator_accuracy": last_accuracy(run) if adversarial else None,
        "clips": measured,
    }


def train_all(frames: Path, output: Path, features: Path, seconds: float, steps: int, jobs: Sequence[Job]) -> None:
    """Train all methods in parallel processes, seed by seed, and write the reports that exist when time is up."""
    output.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    about = {"machine": machine(), "commit": commit()}
    reports: list[dict[str, Any]] = []
    pool = spawn_pool(min(available_cores(), len(jobs)))
    running = {pool.submit(train_and_measure, job, frames, output, features, steps): job for job in jobs}
    try:
        for future in as_completed(running, timeout=seconds):
            try:
                reports.append(future.result())
            except Exception as error:
                print("FAILED", running[future], repr(error)[:300], flush=True)
                continue
            report = {**about, "seconds": round(time.monotonic() - begin, 1), "reports": reports}
            write_file(output / "reports.json", json.dumps(report))
            energy = over_clips(reports[-1]["clips"], "test")
            shown = {name: energy[name] for name in ("psnr_moving", "energy_moving", "feature_distance")}
            print(f"{time.monotonic() - begin:.0f} s", *running[future], reports[-1]["training_seconds"],
                  reports[-1]["discriminator_accuracy"], shown, flush=True)  # fmt: skip
    except TimeoutError:
        print(f"time is up; {len(reports)} of {len(jobs)} trainings are done", flush=True)
    finally:
        for process in list((pool._processes or {}).values()):
            process.kill()


def all_jobs() -> list[Job]:
    """Return all trainings, seed by seed, the slowest first."""
    order = sorted(METHODS, key=lambda method: method not in SLOWEST_FIRST)
    return [(method, domain, seed) for seed in SEEDS for method in order for domain in DOMAINS]


def baselines(frames: Path, domain: str, distance: FeatureDistance) -> dict[str, dict[str, Numbers]]:
    """Measure copying and optical flow on a domain's windows: baseline -> clip -> its numbers."""
    found: dict[str, dict[str, Numbers]] = {}
    with np.load(frames / domain / "windows.npz") as clips:
        for clip in clips:
            windows = to_float(torch.from_numpy(clips[clip]))
            for name, baseline in build_baselines(max(KEPT)).items():
                rolled = rollout(baseline, windows[:, :CONTEXT], max(KEPT))[:, [number - 1 for number in KEPT]]
                found.setdefault(name, {})[clip] = measure_clip((rolled * 255).round() / 255, windows, distance)
    return found


def closer(reports: Mapping[str, Mapping[str, Numbers]], method: str, control: str) -> list[int]:
    """Return the number of clips in which a method's feature distance is below its control's, for each frame."""
    return [
        sum(reports[method][clip]["feature_distance"][place] < reports[control][clip]["feature_distance"][place]
            for clip in reports[method])
        for place in range(len(KEPT))
    ]  # fmt: skip


def record(results: Sequence[Path], frames: Path, features: Path) -> None:
    """Append a result for each domain and seed of which both controls without rollouts were trained.

    Args:
        results: Output folders of `train`, whose trainings are joined.
        frames: The output folder of `prepare`.
        features: Folder of the feature network.
    """
    files = [json.loads((folder / "reports.json").read_text()) for folder in results]
    rows = [row for file in files for row in file["reports"]]
    distance = FeatureDistance(lite0_features(features))
    for domain in DOMAINS:
        simple = baselines(frames, domain, distance)
        for seed in SEEDS:
            found = {row["job"][0]: row for row in rows if row["job"][1:] == [domain, seed]}
            if not {"l2", "l1 + GDL"} <= set(found):
                print(f"{domain}, seed {seed}: not complete")
                continue
            about = {"name": f"{ROW}: {domain}", "seed": seed, "commit": commit(), "machine": files[0]["machine"]}
            append_result(RESULTS, {**about, "commit_of_trainings": files[0]["commit"], **numbers(found, simple)})


def numbers(found: Mapping[str, Mapping[str, Any]], simple: Mapping[str, Mapping[str, Numbers]]) -> dict[str, Any]:
    """Return the numbers of one domain and seed.

    Args:
        found: Method -> its training's report.
        simple: Baseline -> clip -> its numbers.
    """
    methods = [method for method in METHODS if method in found]
    clips = {method: found[method]["clips"] for method in methods}
    controls = {method: "l1 + GDL, rollouts" if "rollouts" in method else "l1 + GDL" for method in methods}
    adversarial = [method for method in methods if method.startswith("patches") and controls[method] in clips]
    return {
        "steps": found["l2"]["steps"],
        "frames": list(KEPT),
        "clips": len(clips["l2"]),
        "methods": {
            name: {metric: [round(value, 4) for value in values] for metric, values in all_clips(by_clip).items()}
            for name, by_clip in (clips | dict(simple)).items()
        },
        "clips_closer_than_control": {method: closer(clips, method, controls[method]) for method in adversarial},
        "clips_closer_than_l2": {method: closer(clips, method, "l2") for method in methods if method != "l2"},
        "discriminator_accuracy": {method: found[method]["discriminator_accuracy"] for method in adversarial},
        "training_seconds": {method: found[method]["training_seconds"] for method in methods},
    }


def all_clips(by_clip: Mapping[str, Numbers]) -> Numbers:
    """Average over clips of all splits, all with the same weight."""
    return over_clips({f"all/{clip}": numbers for clip, numbers in by_clip.items()}, "all")


def main(words: Sequence[str] | None = None) -> None:
    """Run one of the verbs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("prepare", help="Write the training frames and the test windows.")
    verb.add_argument("frames", type=Path, help="Output folder.")
    verb = verbs.add_parser("train", help="Train, predict and measure.")
    verb.add_argument("frames", type=Path, help="Output folder of prepare.")
    verb.add_argument("--output", type=Path, required=True, help="Folder for reports and images.")
    verb.add_argument("--features", type=Path, required=True, help="Folder of the feature network, see lite0_features.")
    verb.add_argument("--minutes", type=float, default=7, help="Wall-clock limit.")
    verb.add_argument("--steps", type=int, default=STEPS, help="Steps of each training.")
    verb.add_argument("--jobs", type=int, help="Only the first n trainings.")
    verb = verbs.add_parser("record", help="Measure the baselines and append results.")
    verb.add_argument("results", type=Path, nargs="+", help="Output folders of train.")
    verb.add_argument("--frames", type=Path, required=True, help="Output folder of prepare.")
    verb.add_argument("--features", type=Path, required=True, help="Folder of the feature network, see lite0_features.")
    options = parser.parse_args(words)
    if options.verb == "prepare":
        prepare_domains(options.frames)
    elif options.verb == "train":
        jobs = all_jobs()[: options.jobs]
        train_all(options.frames, options.output, options.features, 60 * options.minutes, options.steps, jobs)
    else:
        record(options.results, options.frames, options.features)


if __name__ == "__main__":
    main()
