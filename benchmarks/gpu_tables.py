"""The tables of docs/notes/gpu.md."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.adversary import METHODS
from benchmarks.markdown import Results, grid, numbers, over_seeds
from vidpred.models.baselines import BASELINES

LONG = "mathieu long, real clips, GPU"
RUNGS = {"ladder_l2": "l2", "ladder_gdl_l1": "l1 + GDL", "ladder_adv_gdl": "Adv + GDL"}
LONG_METRICS = {
    "psnr_moving": ("PSNR moving", 2), "energy": ("E", 2), "energy_moving": ("E moving", 2),
    "patch_distance": ("S", 2), "feature_distance": ("R", 1),
}  # fmt: skip
ADVERSARY_METRICS = ("psnr_moving", "energy_moving", "patch_distance", "feature_distance")
SMALL_MODELS = {"multiscale": "multi-scale", "dcgan": "DCGAN", "film_unet": "film_unet", "motion": "motion"}
ROLLOUTS = {
    "block_push": "`WorldModel`, block_push (film_unet)",
    "multiscale release": "multi-scale, release size",
    "multiscale paper": "multi-scale, paper size",
}


def long_training(results: Results, split: str) -> str:
    """Return metrics of frames 1 / 2 / 4: the mean over seeds ± the largest standard deviation of the three frames."""
    runs = [run[split] for run in over_seeds(results, LONG)]

    def cell(model: str, metric: str, digits: int) -> str:
        frames = list(zip(*(run[model][metric] for run in runs), strict=True))
        spread = f" ±{max(map(statistics.stdev, frames)):.{digits}f}" if model in RUNGS else ""
        return numbers(map(statistics.fmean, frames), digits) + spread

    rows = [
        [RUNGS.get(model, model), *(cell(model, metric, digits) for metric, (_, digits) in LONG_METRICS.items())]
        for model in runs[0]
    ]
    return grid(["", *(title for title, _ in LONG_METRICS.values())], rows)


def long_training_clips(results: Results) -> str:
    """Return the number of clips in which one rung is better than another, by seed, for frames 1 and 2."""
    runs = [run["clips_better"] for run in over_seeds(results, LONG)]
    names = [name for name in LONG_METRICS if name != "energy_moving"]
    rows = [
        [f"{RUNGS[first]} against {RUNGS[second]}, t+{frame}",
         *(numbers((run[f"{first} against {second}"][name][frame - 1] for run in runs), 0) for name in names)]
        for first, second in (("ladder_adv_gdl", "ladder_l2"), ("ladder_gdl_l1", "ladder_l2"),
                              ("ladder_adv_gdl", "ladder_gdl_l1"))
        for frame in (1, 2)
    ]  # fmt: skip
    return grid(["", *(LONG_METRICS[name][0] for name in names)], rows)


def long_training_facts(results: Results) -> str:
    """Return length, rates and the discriminators' accuracy of the long trainings."""
    runs = over_seeds(results, LONG)
    figures = results["GPU: rates, training", 0].values["figures"]
    rates = (figures[f"training: {rung}, slowest seed"][0] for rung in RUNGS)
    rows = [
        ["steps of each training", f"{runs[0]['steps']:,}"],
        ["seconds, all trainings", f"{runs[0]['seconds']:.0f}"],
        [f"steps per second, {' / '.join(RUNGS.values())}, slowest seed", numbers(rates, 1)],
        ["accuracy of the discriminators, seeds 0 / 1 / 2", numbers(run["discriminator_accuracy"] for run in runs)],
    ]
    return grid(["", "nine trainings at once"], rows)


def _figures(results: Results, parts: str) -> dict[str, float]:
    return {name: value for name, (value, _) in results[f"GPU: {parts}", 0].values["figures"].items()}


def gpu_steps(results: Results) -> str:
    """Return the time of a training step by preset and precision, and how much of the GPU it uses."""
    figures = _figures(results, "rates, speed, rollouts")
    rows = []
    for label in (name.partition(": step, vidpred, bfloat16")[0] for name in figures if name.endswith("d, bfloat16")):
        plain = figures.get(f"{label}: step, plain float32 NCHW")
        rows.append([
            label,
            numbers([figures[f"{label}: step, vidpred, bfloat16"]], 1),
            numbers([figures[f"{label}: step, vidpred, float32"]], 1),
            numbers([plain], 1),
            f"{figures[f'{label}: samples, bfloat16']:,.0f}",
            f"{figures[f'{label}: arithmetic of a step']:,.0f}",
            numbers([figures[f"{label}: share of the matrix product's rate"]], 1),
            f"{figures[f'{label}: the GPU computes during']:.0f}",
        ])  # fmt: skip
    return grid(["preset", "bfloat16, ms", "float32, ms", "plain float32 NCHW, ms", "samples/s (bfloat16)", "GFLOP",
                 "share, %", "GPU, %"], rows)  # fmt: skip


def gpu_rollouts(results: Results) -> str:
    """Return the time and rate of rollouts by model and precision."""
    figures = _figures(results, "rates, speed, rollouts")
    rows = []
    for name, title in ROLLOUTS.items():
        labels = [f"rollout 256 x 10 at 64 px, {name}, {precision}" for precision in ("float32", "bfloat16")]
        rows.append([title, *(numbers([figures[label]], 1) for label in labels),
                     *(f"{figures[f'{label}: frames']:,.0f}" for label in labels)])  # fmt: skip
    return grid(["", "float32, ms", "bfloat16, ms", "float32, frames/s", "bfloat16, frames/s"], rows)


def gpu_correctness(results: Results) -> str:
    """Return relative differences between GPU and CPU: predicted frames, and weight changes over three steps."""
    figures = _figures(results, "rates, correctness")
    rows = []
    for name, title in SMALL_MODELS.items():
        for network in ("generator", "discriminator"):
            change = f"{name}: {network}'s change over 3 steps in"
            if f"{change} float32, GPU against CPU" not in figures:
                continue
            keys = (f"{name}: predicted frames, GPU against CPU" if network == "generator" else "",
                    f"{change} float64, GPU against CPU", f"{change} float32, GPU against CPU",
                    f"{change} float32, CPU moved by 1e-6")  # fmt: skip
            rows.append([f"{title}, {network}", *(f"{figures[key]:.1e}" if key in figures else "-" for key in keys)])
    return grid(["", "predicted frames, float32", "change, float64", "change, float32", "CPU, weights moved by 1e-6"],
                rows)  # fmt: skip


def adversaries(results: Results, domain: str) -> str:
    """Return the methods of `benchmarks.adversary` in one domain, means over the seeds that were trained."""
    runs = over_seeds(results, f"adversary of patches, GPU: {domain}")
    return grid(
        ["", "seeds", *(LONG_METRICS[name][0] for name in ADVERSARY_METRICS), "accuracy", "R below the control's"],
        [_adversary_line(method, [run for run in runs if method in run["methods"]]) for method in _methods(runs)],
    )


def _methods(runs: list[dict[str, Any]]) -> list[str]:
    """Return the methods and baselines of any seed, in their order."""
    return sorted({name: None for run in runs for name in run["methods"]}, key=(*METHODS, *BASELINES).index)


def _adversary_line(method: str, runs: list[dict[str, Any]]) -> list[str]:
    """Return a method's line: its metrics, its discriminators' accuracy, and its clips that are closer (R)."""
    cells = []
    for name in ADVERSARY_METRICS:
        digits = LONG_METRICS[name][1]
        frames = list(zip(*(run["methods"][method][name] for run in runs), strict=True))
        trained = method in METHODS and len(runs) > 1
        spread = f" ±{max(map(statistics.stdev, frames)):.{digits}f}" if trained else ""
        cells.append(numbers(map(statistics.fmean, frames), digits) + spread)
    compared = [run for run in runs if method in run["clips_closer_than_control"]]
    accuracy = (
        numbers([statistics.fmean(run["discriminator_accuracy"][method] for run in compared)]) if compared else "-"
    )
    counts = zip(*(run["clips_closer_than_control"][method] for run in compared), strict=True)
    clips = sum(run["clips"] for run in compared)
    closer = f"{numbers(map(sum, counts), 0)} of {clips}" if compared else "-"
    return [method, str(len(runs)) if method in METHODS else "-", *cells, accuracy, closer]
