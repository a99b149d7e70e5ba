"""The tables of docs/results/real-video.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import COPY, FLOW, FRAMES, HALF, SEEDS, Results, grid, numbers, with_error

PROTOCOL = "motion on ten frames, "
MOTION = {
    COPY: ("shipped weights", 0, COPY),
    "optical flow, recursive": ("shipped weights", 0, FLOW),
    HALF: ("shipped weights", 0, HALF),
    "the finer flow alone, recursive": ("the finer flow alone", 0, "finer flow"),
    "motion, before any training": ("untrained", 0, "untrained"),
    "**motion, the shipped weights (seed 0)**": ("shipped weights", 0, "pretrained"),
    "motion, trained from scratch, seed 1": ("trained from scratch", 1, "trained"),
    "motion, trained from scratch, seed 2": ("trained from scratch", 2, "trained"),
    "a SimVP-like network": ("baseline: SimVP", 0, "trained"),
    "the multi-scale generator on the warped frame": ("baseline: multi-scale on the warped frame", 0, "trained"),
}
PARTS = {
    "motion.yaml, seed 0 (the shipped weights)": ("shipped weights", 0, "pretrained"),
    "no backtest": ("no backtest", 0, "trained"),
    "clips only as filmed: no time warp, no camera shake": ("no wandering, no shaking", 0, "trained"),
    "no synthetic clips": ("no synthetic clips", 0, "trained"),
    "with the UNet (750 steps, as many CPU seconds)": ("refined", 0, "trained"),
}
ADVERSARY = {
    "the refined generator": ("refined, with an adversary", 0, "start"),
    "500 steps with the adversary": ("refined, with an adversary", 0, "with adversary"),
    "500 steps without": ("refined, with an adversary", 0, "without"),
}


def scores_of(results: Results, where: tuple[str, int, str]) -> dict[str, Any]:
    """Return the scores of a model, named by experiment, seed and name."""
    name, seed, model = where
    scores: dict[str, Any] = results[PROTOCOL + name, seed].values["scores"][model]
    return scores


def by_frame(results: Results, models: Mapping[str, tuple[str, int, str]]) -> str:
    """Return PSNR / SSIM / PSNR on moving pixels of frames 1, 2, 4 and 8."""
    rows = []
    for title, where in models.items():
        scores = scores_of(results, where)
        cells = zip(scores["psnr"], scores["ssim"], scores["psnr_moving"], strict=True)
        rows.append([title, *(f"{psnr:.2f} / {ssim:.4f} / {moving:.2f}" for psnr, ssim, moving in cells)])
    return grid(["PSNR / SSIM / PSNR moving", *(f"frame {frame}" for frame in FRAMES)], rows)


def gains(results: Results) -> str:
    """Return the gain in PSNR over the baselines: mean over clips, standard error over clips, worst clip."""
    rows = []
    for title, where in MOTION.items():
        if not title.strip("*").startswith("motion, ") or "before" in title:
            continue
        for other in (COPY, FLOW, HALF):
            gain = scores_of(results, where)["psnr_gain"][other]
            cells = zip(gain["mean"], gain["standard_error"], gain["least"], strict=True)
            rows.append([title.strip("*"), other,
                         *(f"{mean:+.2f} ±{error:.2f}, {least:+.2f}" for mean, error, least in cells)])  # fmt: skip
    return grid(["model", "gain over (dB)", *(f"frame {frame}" for frame in FRAMES)], rows)


def by_clip(results: Results) -> str:
    """Return PSNR of copy / flow / average / motion for every clip."""
    models = [scores_of(results, MOTION[title])["psnr_by_clip"] for title in (
        COPY, "optical flow, recursive", HALF, "**motion, the shipped weights (seed 0)**")]  # fmt: skip
    rows = [[clip, *(numbers(model[clip][place] for model in models) for place in range(4))] for clip in models[0]]
    return grid(["copy / flow / average / motion", *(f"frame {frame}" for frame in FRAMES)], rows)


def sharpness(results: Results, models: Mapping[str, tuple[str, int, str]]) -> str:
    """Return PSNR and sharpness of frames 1 / 2 / 4 / 8."""
    rows = []
    for title, where in models.items():
        scores = scores_of(results, where)
        rows.append([title, numbers(scores["psnr"]), numbers(scores["sharpness"])])
    return grid(["frames 1 / 2 / 4 / 8", "PSNR (dB)", "sharpness (dB)"], rows)


SHARP = "motion on ten frames, sharp, three seeds"
SEVERAL_VALUES = "motion on development clips, along the dial"
FUTURES = "motion on ten frames, several futures"
SHARPNESS_METRICS = (
    ("PSNR (dB)", "psnr", 2), ("energy", "energy", 2), ("patches", "patches", 2), ("features", "features", 1),
    ("warp error", "warp_error", 2),
)  # fmt: skip


def both_ends(results: Results, experiment: str) -> str:
    """Return the measures of sharpness at frames 1 / 2 / 4 / 8 for every model and baseline."""
    rows = []
    for title, scores in results[experiment, 0].values["scores"].items():
        cells = (numbers(scores[name], digits) for _, name, digits in SHARPNESS_METRICS)
        rows.append([title, *cells])
    return grid(["frames 1 / 2 / 4 / 8", *(title for title, *_ in SHARPNESS_METRICS)], rows)


def several_futures(results: Results, split: str) -> str:
    """Return the measures of the single prediction and of eight samples, and the samples' gain in PSNR."""
    measures = [measure for measure in SHARPNESS_METRICS if measure[1] in ("psnr", "energy", "features")]
    rows = []
    for title, scores in results[FUTURES, 0].values[split]["scores"].items():
        gain = scores["psnr_gain"].get("single") if title.startswith("samples") else None
        pairs = [] if gain is None else zip(gain["mean"], gain["standard_error"], strict=True)
        rows.append([title, *(numbers(scores[name], digits) for _, name, digits in measures),
                     " / ".join(f"{mean:+.2f} ±{error:.2f}" for mean, error in pairs) or "-"])  # fmt: skip
    return grid(["frames 1 / 2 / 4 / 8", *(title for title, *_ in measures), "PSNR over the single prediction"], rows)


def errors_of_ends(results: Results) -> str:
    """Return the standard errors over clips of `both_ends`, and those of the gain in PSNR over the blend."""
    rows = []
    for title, scores in results[SHARP, 0].values["scores"].items():
        cells = (numbers(scores["standard_error"][name], digits) for _, name, digits in SHARPNESS_METRICS)
        gain = scores["psnr_gain"].get("sharpness 0")
        pairs = [] if gain is None else zip(gain["mean"], gain["standard_error"], strict=True)
        rows.append([title, *cells, " / ".join(f"{mean:+.2f} ±{error:.2f}" for mean, error in pairs) or "-"])
    return grid(["standard errors", *(title for title, *_ in SHARPNESS_METRICS), "PSNR over sharpness 0"], rows)


def ends_by_clip(results: Results) -> str:
    """Return the measures of every clip at frame 8 for both baselines, sharpness 0 and the sharp seeds."""
    scores = results[SHARP, 0].values["scores"]
    models = [COPY, FLOW, "sharpness 0", *(f"sharp, seed {seed}" for seed in SEEDS)]
    measures = [row for row in SHARPNESS_METRICS if f"{row[1]}_by_clip" in scores[COPY]]
    rows = [
        [title, clip, *(numbers([scores[model][f"{name}_by_clip"][clip][-1]], digits) for model in models)]
        for title, name, digits in measures
        for clip in scores[COPY]["psnr_by_clip"]
    ]
    return grid(["", "clip", *models], rows)


def release(results: Results) -> str:
    """Return all metrics of the release-size model next to the baselines."""
    values = results["real video, release.yaml, all metrics", 0].values
    metrics = ("psnr", "ssim", "sharpness", "psnr_moving", "ssim_moving", "sharpness_moving")
    rows = []
    for place, frame in enumerate(values["frames"]):
        for model, scores in values["scores"].items():
            cells = (with_error(scores[name]["mean"][place], scores[name]["standard_error"][place],
                                4 if "ssim" in name else 2) for name in metrics)  # fmt: skip
            rows.append([f"t+{frame}", "release.yaml" if model == "run" else model, *cells])
    head = ["frame", "", "PSNR", "SSIM", "sharpness", "PSNR moving", "SSIM moving", "sharpness moving"]
    return grid(head, rows)


def release_gains(results: Results, name: str) -> str:
    """Return the gain over copy-last on moving pixels of the next frame, by seed and clip."""
    rows = []
    for seed in SEEDS:
        if (name, seed) in results:
            values = results[name, seed].values
            clips = (with_error(clip["mean"], clip["standard_error"])
                     for clip in values["gain_moving_first_frame_by_clip"].values())  # fmt: skip
            rows.append([str(seed), *clips, f"{values['gain_moving'][0]:.2f}"])
    return grid(["seed", "bigbuckbunny (dB)", "bikes (dB)", "carphone_pristine (dB)", "all windows (dB)"], rows)
