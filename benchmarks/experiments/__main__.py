"""Run the long experiments: make experiments.

Each trains, measures and appends one line to docs/results.jsonl. Finished ones are skipped; an interrupted one resumes
its trainings where they stopped.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.experiments.base import RUNS, Experiment, real_clips, weights_difference
from benchmarks.experiments.ceilings import CEILING_EXPERIMENTS
from benchmarks.experiments.fuzzing import FUZZ_EXPERIMENTS
from benchmarks.experiments.growth import GROWTH_EXPERIMENTS
from benchmarks.experiments.images import IMAGE_EXPERIMENTS
from benchmarks.experiments.ladder import LADDER_EXPERIMENTS
from benchmarks.experiments.latency import LATENCY_EXPERIMENTS
from benchmarks.experiments.loop import LOOP_EXPERIMENTS
from benchmarks.experiments.motion import MOTION_EXPERIMENTS
from benchmarks.experiments.planning import PLANNING_EXPERIMENTS
from benchmarks.experiments.presets import PRESET_EXPERIMENTS
from benchmarks.experiments.scale import SCALE_EXPERIMENTS
from benchmarks.experiments.sharpness import SHARP_EXPERIMENTS
from benchmarks.harness import commit, machine
from benchmarks.results import RESULTS, append_result, read_results
from vidpred.checkpoint import read_metrics
from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.data.sources import evaluation_offsets
from vidpred.evaluation.evaluate import EvaluationRequest, evaluate_predictors
from vidpred.evaluation.protocols import Evaluation, Measurement, evaluate_models, with_baselines
from vidpred.evaluation.report import clip_table, table, write_plot
from vidpred.inference.predictor import Predictor
from vidpred.models.base import Generator
from vidpred.run import train


def summary(result: Evaluation, name: str) -> dict[str, Any]:
    """Return a model's means and its gain over copy-last on moving pixels, overall and by clip."""
    scores = result.scores[name]
    return {
        "windows": result.windows,
        "psnr": [round(total.mean, 3) for total in scores.overall["psnr"]],
        "ssim": [round(total.mean, 4) for total in scores.overall["ssim"]],
        "psnr_moving": [round(total.mean, 3) for total in scores.overall["psnr_moving"]],
        "gain_moving": [round(total.mean, 3) for total in scores.gain["psnr_moving"]],
        "gain_moving_first_frame_by_clip": {
            clip: {
                "mean": round(gain["psnr_moving"][0].mean, 3),
                "standard_error": round(gain["psnr_moving"][0].error, 3),
            }
            for clip, gain in scores.gain_by_clip.items()
        },
    }


def real_video(folder: Path, seed: int, residual: str) -> dict[str, Any]:
    """Train the release-size model with l1 + GDL on the three clips, split by time; measure on their last fifth."""
    overrides = {"data.root": real_clips(), "run": str(folder / "run"), "seed": seed, "model.residual": residual}
    train(load_config("release.yaml", overrides))
    predictor = Predictor.load(folder / "run")
    result = evaluate_predictors([predictor], EvaluationRequest(num_frames=8, windows=None, progress=True))
    print(table(result), clip_table(result), sep="\n\n")
    write_plot(folder / "quality.png", result)
    return summary(result, predictor.name)


class Leads(Generator):
    """Direct predictors of several leads combined into one of all frames; leads without a model are NaN."""

    def __init__(self, by_lead: Mapping[int, nn.Module], context_frames: int, channels: int) -> None:
        super().__init__()
        self.models = nn.ModuleDict({str(lead): model for lead, model in by_lead.items()})
        self.context_frames, self.pred_frames, self.lead, self.channels = context_frames, max(by_lead), 1, channels

    def forward(self, context: Tensor) -> list[Tensor]:
        frames = torch.full((len(context), self.pred_frames, *context.shape[2:]), float("nan"), device=context.device)
        for lead, model in self.models.items():
            frames[:, int(lead) - 1] = model(context)[-1][:, 0]
        return [frames]


def three_ways(folder: Path, seed: int) -> dict[str, Any]:
    """Predict frame t+k recursively, jointly and directly, with the same network, steps and windows."""
    shared = {
        "data.root": real_clips(), "data.size": 96, "data.crop_size": 48, "seed": seed,
        "training.steps": 2500, "training.image_every": 0,
    }  # fmt: skip
    ways = {"next": {}, "joint": {"data.pred_frames": 8}, **{f"lead-{k}": {"data.lead": k} for k in (2, 4, 8)}}
    trained = {}
    for name, change in ways.items():
        train(load_config("release.yaml", {**shared, **change, "run": str(folder / name)}))
        trained[name] = Predictor.load(folder / name)
    data = trained["joint"].data  # its gaps between the splits are the longest
    leads = {1: trained["next"].generator, **{k: trained[f"lead-{k}"].generator for k in (2, 4, 8)}}
    models = with_baselines(
        {
            "recursively": trained["next"].generator,
            "jointly": trained["joint"].generator,
            "directly": Leads(leads, data.context_frames, data.channels),
        },
        8,
    )
    source = build_source(data, "test", evaluation_offsets(data, 8))
    result = evaluate_models(models, source, Measurement(8, progress=True))
    print(table(result))
    write_plot(folder / "quality.png", result)
    return {"models": {name: summary(result, name) for name in models}}


def one_and_two_processes(folder: Path, seed: int) -> dict[str, Any]:
    """Compare the samples and weights of the same run in one process and in two, at the same global batch size.

    Sums in another order round differently, and training amplifies the difference. This effect alone is measured as the
    difference between one process with two threads and one process with one.
    """
    words = ["--config", "tiny.yaml", f"data.root={real_clips()}", f"seed={seed}", "training.log_every=1",
             "training.precision=float32", "checkpoint.every=20", "checkpoint.keep=100"]  # fmt: skip
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    runs = {"one process": ([], 1), "two processes": (launcher, 1), "one process, two threads": ([], 2)}
    logs = {}
    for name, (launch, threads) in runs.items():
        run = folder / name.replace(" ", "-")
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(
            [sys.executable, *launch, "-m", "vidpred", "train", *words, f"run={run}"], check=True, env=environment
        )
        lines = read_metrics(run)
        logs[name] = {line["step"]: line["data_checksum"] for line in lines if "data_checksum" in line}

    one, two = logs["one process"], logs["two processes"]
    return {
        "steps": len(one),
        "steps_with_equal_samples": sum(one[step] == two.get(step) for step in one),
        "relative_difference_of_weights_after_steps": {
            name: {
                str(step): weights_difference(folder / name.replace(" ", "-"), folder / "one-process", step)
                for step in (20, 100, 300)
            }
            for name in list(runs)[1:]
        },
    }


def processes_changed_on_resume(folder: Path, seed: int) -> dict[str, Any]:
    """Resume a run of one process with two after 100 steps; compare its weights with those of the run that went on."""
    words = ["--config", "tiny.yaml", f"data.root={real_clips()}", f"seed={seed}", "training.steps=400",
             "training.precision=float32", "checkpoint.every=20", "checkpoint.keep=100"]  # fmt: skip
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    kept, changed = folder / "kept", folder / "changed"
    for run, launch in ((kept, []), (changed, launcher)):
        if run == changed and not changed.exists():
            shutil.copytree(kept, changed)
            for step in range(120, 401, 20):
                shutil.rmtree(changed / "checkpoints" / f"step-{step}")
        words_of_run = [sys.executable, *launch, "-m", "vidpred", "train", *words, f"run={run}"]
        subprocess.run(words_of_run, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    differences = {str(after): weights_difference(changed, kept, 100 + after) for after in (20, 100, 300)}
    return {"resumed_at": 100, "relative_difference_of_weights_after_further_steps": differences}


EXPERIMENTS = [
    *(Experiment("real video, release.yaml", seed, lambda f, s: real_video(f, s, "last_frame")) for seed in (0, 1, 2)),
    Experiment("frame t+k three ways", 0, three_ways),
    Experiment("one and two processes", 0, one_and_two_processes),
    Experiment("processes changed on resume", 0, processes_changed_on_resume),
    Experiment("real video, release.yaml, residual coarse (the paper's)", 0, lambda f, s: real_video(f, s, "coarse")),
    *PRESET_EXPERIMENTS,
    *PLANNING_EXPERIMENTS,
    *LATENCY_EXPERIMENTS,
    *CEILING_EXPERIMENTS,
    *GROWTH_EXPERIMENTS,
    *SHARP_EXPERIMENTS,
    *SCALE_EXPERIMENTS,
    *LOOP_EXPERIMENTS,
    *LADDER_EXPERIMENTS,
    *IMAGE_EXPERIMENTS,
    *MOTION_EXPERIMENTS,
    *FUZZ_EXPERIMENTS,
]


def main() -> None:
    """Run the chosen experiments that have no result yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="Run the experiments whose name contains this.")
    parser.add_argument("--seed", type=int, help="Run the experiments of this seed.")
    options = parser.parse_args()
    for experiment in EXPERIMENTS:
        wanted = (options.only or "") in experiment.name and options.seed in (None, experiment.seed)
        if not wanted or (experiment.name, experiment.seed) in read_results():
            continue
        print(f"== {experiment.name}, seed {experiment.seed}")
        folder = RUNS / f"{experiment.name.replace(' ', '_').replace(',', '')}-{experiment.seed}"
        folder.mkdir(parents=True, exist_ok=True)
        start, started_at = time.monotonic(), commit()
        numbers = experiment.measure(folder, experiment.seed)
        seconds = round(time.monotonic() - start, 1)
        about = {
            "name": experiment.name,
            "seed": experiment.seed,
            "commit": started_at,
            "seconds_this_sitting": seconds,
        }
        append_result(RESULTS, {**about, **numbers, "machine": machine()})


if __name__ == "__main__":
    main()
