"""Write the tables of the README, docs/results/*.md and docs/notes/gpu.md from docs/results.jsonl.

Run: python -m benchmarks.tables. A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a key of
`TABLES`. A test finds stale ones. Numbers over several seeds are separated by " / ", in the order of the seeds.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import gpu_tables, predictors, reliability_tables, startup
from benchmarks.markdown import SEEDS, Results, grid, mean_and_spread, numbers, over_seeds, percent, with_error
from benchmarks.results import RESULTS, read_results
from vidpred.config import load_config
from vidpred.errors import counted
from vidpred.models.build import build_generator

CHECKOUT = Path(__file__).parent.parent
PAGES = (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs/results").glob("*.md")), CHECKOUT / "docs/notes/gpu.md",
         CHECKOUT / "docs/guide/reliability.md")  # fmt: skip
MARKED = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
FRAMES = (1, 2, 4, 8)
DECISION, KINDS = "PushT, time of a decision", ("processor", "wall")
COPY, FLOW, HALF = "copy last", "optical flow", "half copy, half flow"


# Sharpness


def forks(results: Results) -> str:
    """Return the predictions of forks by loss; one number where all seeds agree."""
    runs = [run["models"] for run in over_seeds(results, "forks")]
    columns = (("near", 3), ("sharp", 3), ("gradient energy", 2), ("PSNR", 2))

    def cell(model: str, key: str, digits: int) -> str:
        text = [numbers([run[model][key]], digits) for run in runs]
        return text[0] if len(set(text)) == 1 else " / ".join(text)

    rows = [[model, *(cell(model, key, digits) for key, digits in columns)] for model in runs[0]]
    return grid(["", "near", "sharp", "gradient energy", "PSNR, pooled (dB)"], rows)


def samples(results: Results) -> str:
    """Return the sampled futures of forks, by seed."""
    runs = over_seeds(results, "samples")
    certain = [run["psnr of certain scenes"] for run in runs]
    rows = [
        ["forks whose samples hold both futures", percent((run["both futures occur"] for run in runs), 0)],
        ["sharp samples", percent(run["sharp draws"] for run in runs)],
        ["samples that go left", percent(run["draws to the left"] for run in runs)],
        ["PSNR of scenes that do not fork, with noise (dB)", numbers(scene["with noise"] for scene in certain)],
        ["the same model without noise (dB)", numbers(scene["without noise"] for scene in certain)],
    ]
    return grid(["", "seeds 0 / 1 / 2"], rows)


def balance(results: Results) -> str:
    """Return the discriminator's accuracy during training, by seed."""
    runs = over_seeds(results, "game in balance")
    rows = [
        ["steps after 200 at 0.5 to 0.9", percent((run["share of steps in balance"] for run in runs), 0)],
        ["lowest accuracy", numbers(run["lowest"] for run in runs)],
        ["highest accuracy", numbers(run["highest"] for run in runs)],
        ["saturated logits, mean", percent(run["mean saturated"] for run in runs)],
    ]
    return grid(["", "seeds 0 / 1 / 2"], rows)


LADDER = {
    "ladder_single_l2": "one scale, l2", "ladder_l2": "l2", "ladder_l1": "l1", "ladder_gdl_l1": "GDL, l1",
    "ladder_adv": "adversary", "ladder_adv_gdl": "adversary, GDL",
    "ladder_adv_gdl_64": "adversary, GDL, then patches of 64",
    COPY: COPY, FLOW: FLOW, HALF: HALF,
}  # fmt: skip


def ladder(results: Results, name: str) -> str:
    """Return scores of the paper's methods over seeds, on moving pixels of frames 1 and 2."""
    runs = [run["models"] for run in over_seeds(results, name)]
    metrics = (("psnr_moving", 2), ("ssim_moving", 3), ("sharpness_moving", 2))

    def cell(model: str, metric: str, digits: int, frame: int) -> str:
        values = [run[model][metric][frame] for run in runs]
        return mean_and_spread(values, digits) if model.startswith("ladder") else f"{values[0]:.{digits}f}"

    rows = [
        [title, *(cell(model, metric, digits, frame) for frame in (0, 1) for metric, digits in metrics)]
        for model, title in LADDER.items()
        if model in runs[0]
    ]
    head = [f"{title}, frame {frame}" for frame in (1, 2) for title in ("PSNR", "SSIM", "sharpness")]
    return grid(["moving pixels", *head], rows)


def three_ways(results: Results) -> str:
    """Return PSNR of frame t+k predicted in three ways."""
    models = results["frame t+k three ways", 0].values["models"]
    rows = [[name, *(numbers([model["psnr_moving"][frame - 1]]) for frame in FRAMES)] for name, model in models.items()]
    return grid(["PSNR on moving pixels (dB)", *(f"t+{frame}" for frame in FRAMES)], rows)


def balls(results: Results) -> str:
    """Return gray pixels and PSNR of the sixth frame of bouncing balls."""
    values = results["bouncing balls, the sixth frame", 0].values
    names = {
        "true": "ground truth",
        "copy_last": COPY,
        "lotter_mse": "squared error",
        "lotter_adversarial": "with the adversary",
    }
    rows = [
        [title, percent([values[name]["gray_share"]]), numbers([values[name].get("psnr")])]
        for name, title in names.items()
    ]
    return grid(["seed 0", "gray pixels", "PSNR (dB)"], rows)


def details(results: Results) -> str:
    """Return the share of faint details that are predicted, after a short and a long training."""
    rows = []
    for title, name in (("1,000 + 1,000 steps", "faint details after a short training"),
                        ("5,000 + 5,000 steps", "rotating solids, details")):  # fmt: skip
        runs = over_seeds(results, name)
        for key, loss in (("lotter_mse", "squared error"), ("lotter_adversarial", "with the adversary")):
            cells = [
                f"{with_error(100 * run[key]['painted_share'], 100 * run[key]['standard_error'], 1)} %, "
                f"{run[key]['psnr']:.2f} dB"
                for run in runs
            ]
            rows.append([title, loss, *(cells + ["-"] * (3 - len(cells)))])
    return grid(["training", "loss", "seed 0", "seed 1", "seed 2"], rows)


# Real video

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
    "with the UNet (750 steps, as many processor seconds)": ("refined", 0, "trained"),
}
ADVERSARY = {
    "the refined generator": ("refined, with an adversary", 0, "start"),
    "500 steps with the adversary": ("refined, with an adversary", 0, "with adversary"),
    "500 steps without": ("refined, with an adversary", 0, "without"),
}


def _scores(results: Results, where: tuple[str, int, str]) -> dict[str, Any]:
    name, seed, model = where
    scores: dict[str, Any] = results[PROTOCOL + name, seed].values["scores"][model]
    return scores


def by_frame(results: Results, models: Mapping[str, tuple[str, int, str]]) -> str:
    """Return PSNR / SSIM / PSNR on moving pixels of frames 1, 2, 4 and 8."""
    rows = []
    for title, where in models.items():
        scores = _scores(results, where)
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
            gain = _scores(results, where)["psnr_gain"][other]
            cells = zip(gain["mean"], gain["standard_error"], gain["least"], strict=True)
            rows.append([title.strip("*"), other,
                         *(f"{mean:+.2f} ±{error:.2f}, {least:+.2f}" for mean, error, least in cells)])  # fmt: skip
    return grid(["model", "gain over (dB)", *(f"frame {frame}" for frame in FRAMES)], rows)


def by_clip(results: Results) -> str:
    """Return PSNR of copy / flow / half / motion for every clip."""
    models = [_scores(results, MOTION[title])["psnr_by_clip"] for title in (
        COPY, "optical flow, recursive", HALF, "**motion, the shipped weights (seed 0)**")]  # fmt: skip
    rows = [[clip, *(numbers(model[clip][place] for model in models) for place in range(4))] for clip in models[0]]
    return grid(["copy / flow / half / motion", *(f"frame {frame}" for frame in FRAMES)], rows)


def sharpness(results: Results, models: Mapping[str, tuple[str, int, str]]) -> str:
    """Return PSNR and sharpness of frames 1 / 2 / 4 / 8."""
    rows = []
    for title, where in models.items():
        scores = _scores(results, where)
        rows.append([title, numbers(scores["psnr"]), numbers(scores["sharpness"])])
    return grid(["frames 1 / 2 / 4 / 8", "PSNR (dB)", "sharpness (dB)"], rows)


SHARP = "motion on ten frames, sharp, three seeds"
DIAL = "motion on development clips, along the dial"
FUTURES = "motion on ten frames, several futures"
DIAL_MEASURES = (
    ("PSNR (dB)", "psnr", 2), ("energy", "energy", 2), ("patches", "patches", 2), ("features", "features", 1),
    ("warp error", "warp_error", 2),
)  # fmt: skip


def both_ends(results: Results, experiment: str) -> str:
    """Return the measures of sharpness at frames 1 / 2 / 4 / 8 for every model and baseline."""
    rows = []
    for title, scores in results[experiment, 0].values["scores"].items():
        cells = (numbers(scores[name], digits) for _, name, digits in DIAL_MEASURES)
        rows.append([title, *cells])
    return grid(["frames 1 / 2 / 4 / 8", *(title for title, *_ in DIAL_MEASURES)], rows)


def several_futures(results: Results, split: str) -> str:
    """Return the measures of the single prediction and of eight samples, and the samples' gain in PSNR."""
    measures = [measure for measure in DIAL_MEASURES if measure[1] in ("psnr", "energy", "features")]
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
        cells = (numbers(scores["standard_error"][name], digits) for _, name, digits in DIAL_MEASURES)
        gain = scores["psnr_gain"].get("sharpness 0")
        pairs = [] if gain is None else zip(gain["mean"], gain["standard_error"], strict=True)
        rows.append([title, *cells, " / ".join(f"{mean:+.2f} ±{error:.2f}" for mean, error in pairs) or "-"])
    return grid(["standard errors", *(title for title, *_ in DIAL_MEASURES), "PSNR over sharpness 0"], rows)


def ends_by_clip(results: Results) -> str:
    """Return the measures of every clip at frame 8 for both baselines, the blend and the sharp seeds."""
    scores = results[SHARP, 0].values["scores"]
    models = [COPY, FLOW, "sharpness 0", *(f"sharp, seed {seed}" for seed in SEEDS)]
    measures = [row for row in DIAL_MEASURES if f"{row[1]}_by_clip" in scores[COPY]]
    rows = [
        [clip, *(numbers((scores[model][f"{name}_by_clip"][clip][-1] for model in models), digits)
                 for _, name, digits in measures)]
        for clip in scores[COPY]["psnr_by_clip"]
    ]  # fmt: skip
    return grid(["copy / flow / sharpness 0 / three sharp seeds", *(title for title, *_ in measures)], rows)


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
            clips = results[name, seed].values["gain_moving_first_frame_by_clip"]
            rows.append([str(seed), *(with_error(clip["mean"], clip["standard_error"]) for clip in clips.values())])
    return grid(["seed", "bigbuckbunny (dB)", "bikes (dB)", "carphone_pristine (dB)"], rows)


# Planning


def _success(play: Mapping[str, Any]) -> list[str]:
    low, high = play["interval_95"]
    steps = play["mean_steps_to_success"]
    return [
        f"{play['successes']} of {play['episodes']}",
        f"{100 * low:.1f} to {100 * high:.1f} %",
        "-" if steps is None else f"{steps:.1f}",
        numbers([play["median_seconds_a_decision"]]),
    ]


SUCCESS = ["", "successes", "95 % interval", "mean actions to success", "seconds per decision"]


def block_push(results: Results) -> str:
    """Return the success of planners in block_push."""
    world = results["block_push, what a planner can do", 0].values["results"]
    titles = {
        "uniform actions": "uniform actions", "random actions": "random actions, smooth in time",
        COPY: "planning with copy-last as the model", "true simulator": "planning with the true simulator",
    }  # fmt: skip
    rows = [[title, *_success(world[name])] for name, title in titles.items()]
    for seed, run in enumerate(over_seeds(results, "block_push, planning with a trained model")):
        rows.append([f"planning with the trained model, seed {seed}", *_success(run["results"]["model"])])
    return grid(SUCCESS, rows)


def pusht(results: Results) -> str:
    """Return the success of planners in PushT."""
    world = results["PushT, what a planner can do", 0].values["results"]
    trained = results["PushT, planning with a trained model", 0].values["results"]
    rows = [
        ["uniform actions", *_success(world["uniform actions"])],
        ["random actions near the block", *_success(world["random actions"])],
        ["the policy that made the goals, other random numbers", *_success(world["scripted actions"])],
        ["planning with copy-last as the model", *_success(trained["copy last"])],
        ["planning with the true simulator, cost of states", *_success(world["true simulator, cost of states"])],
        ["planning with the true simulator, cost of colors", *_success(world["true simulator, cost of images"])],
        ["planning with the trained model, cost of colors", *_success(trained["model"])],
    ]
    shorter = results["PushT, planning by poses with a trained model", 0].values["results"]
    names = {"objects": "trained half as long, cost of colors", "pose": "trained half as long, cost of poses"}
    return grid(SUCCESS, [*rows, *([title, *_success(shorter[name])] for name, title in names.items())])


PROTOCOL_ROWS = {
    "uniform actions": "uniform actions", "random actions": "random actions near the block",
    "scripted actions": "the policy that made the goals, other random numbers",
    COPY: "planning with copy-last as the model",
    "true simulator, cost of states": "planning with the true simulator, cost of states",
    "true simulator, cost of images": "planning with the true simulator, cost of poses",
}  # fmt: skip


def pusht_protocol(results: Results) -> str:
    """Return the success in PushT by DINO-WM's protocol, also strictly; "not recorded" where a row is missing."""
    name = "PushT, DINO-WM's protocol"
    world = results.get((f"{name}, what a planner can do", 0))
    plays = {title: None if world is None else world.values["results"][key] for key, title in PROTOCOL_ROWS.items()}
    for seed in SEEDS:
        run = results.get((f"{name}, trained model", seed))
        training = {} if run is None else run.values["training"]
        spent = (
            f", {training['processor_seconds'] / 60:.0f} CPU minutes" if isinstance(training, dict) and training else ""
        )
        plays[f"planning with the trained model, seed {seed}{spent}"] = (
            None if run is None else run.values["results"]["model"]
        )

    def cells(play: Mapping[str, Any] | None) -> list[str]:
        if play is None:
            return ["not recorded", *["-"] * 5]
        successes, interval, steps, _ = _success(play)
        strict = _success({**play, "successes": play["strict_successes"], "interval_95": play["strict_interval_95"]})[
            :2
        ]
        return [successes, interval, *strict, steps,
                numbers([play["median_seconds_a_decision"], play["p95_seconds_a_decision"]])]  # fmt: skip

    head = ["", "successes", "95 % interval", "within both tolerances at the end", "95 % interval",
            "mean actions to success", "seconds per decision, median / 95th percentile"]  # fmt: skip
    return grid(head, [[title, *cells(play)] for title, play in plays.items()])


def pusht_costs(results: Results) -> str:
    """Return what each cost reaches in PushT with the true simulator."""
    found = results["PushT, costs with the true simulator", 0].values["results"]
    titles = {
        "state": "state of the simulator", "pose": "`pose`", "objects": "`objects`",
        "pose, 32 x 3 candidates": "`pose`, 32 candidates x 3 iterations",
        "pose, new plan after 5 actions": "`pose`, a new plan after 5 actions only",
    }  # fmt: skip
    rows = [[title, *_success(found[name])] for name, title in titles.items()]
    return grid(["cost", *SUCCESS[1:]], rows)


def actions(results: Results, name: str, frames: Sequence[int]) -> str:
    """Return the PSNR with a window's own and with other windows' actions, and the cost of training."""
    rows = []
    for seed, run in enumerate(over_seeds(results, name)):
        true, other = run["psnr_moving"]["true actions"], run["psnr_moving"]["other windows' actions"]
        cells = (
            f"{true[frame - 1]:.1f} / {other[frame - 1]:.1f} / {true[frame - 1] - other[frame - 1]:.1f}"
            for frame in frames
        )
        training = run["training"]
        rows.append([str(seed), *cells, f"{training['processor_seconds']:.0f}", f"{training['wall_seconds']:.0f}"])
    head = [f"PSNR moving, frame {frame}: own / other / loss (dB)" for frame in frames]
    return grid(["seed", *head, "training, processor seconds", "wall-clock seconds"], rows)


# Images


def points(results: Results) -> str:
    """Return covered Gaussians and good samples, by seed."""
    runs = over_seeds(results, "points in the plane, four generators")
    rows = [
        [f"`{name}`", *(f"{run['modes_covered']}, {100 * run['high_quality_share']:.0f} %" for run in by_seed)]
        for name, by_seed in ((name, [run[name] for run in runs]) for name in runs[0])
    ]
    return grid(["Gaussians covered of 25, good samples", "seed 0", "seed 1", "seed 2"], rows)


GENERATORS = {
    "dcgan": "DCGAN",
    "mixture": "mixture of Gaussians",
    "wgan_gp": "WGAN-GP",
    "vae": "VAE",
    "lapgan": "LAPGAN (with R1)",
}


def clothes(results: Results) -> str:
    """Return image metrics of five generators on Fashion-MNIST, by seed."""
    runs = [run["numbers"] for run in over_seeds(results, "clothes, five generators")]
    sharp = results["clothes, sharpness and likelihood", 0].values["sharpness"]
    rows = [["as many training images", numbers([runs[0]["dcgan"]["frechet_of_training"]], 1), "-", "-", "1"]]
    for name, title in GENERATORS.items():
        rows.append([
            title,
            numbers((run[name]["frechet"] for run in runs), 1),
            numbers((run[name]["classifier_score"] for run in runs), 1),
            numbers(run[name]["memorized_share"] for run in runs),
            numbers(sharp[name]),
        ])  # fmt: skip
    return grid(["seeds 0 / 1 / 2", "Fréchet distance (lower is better)", "classifier score (of 10)",
                 "share nearer to a training image (0.5: as new images)", "sharpness, seeds 1 / 2"], rows)  # fmt: skip


def likelihood(results: Results) -> str:
    """Return the mixture's likelihood in nats per image."""
    nats = results["clothes, sharpness and likelihood", 0].values["mixture_nats_per_image"]
    return grid(["seeds 1 / 2", "nats per image"], [[split, numbers(values, 1)] for split, values in nats.items()])


def accuracies(results: Results, name: str, titles: Mapping[str, str]) -> str:
    """Return accuracies in percent, by seed."""
    runs = [run["accuracy"] for run in over_seeds(results, name)]
    rows = [[title, *(percent([run[key]]) for run in runs)] for key, title in titles.items()]
    return grid(["accuracy", "seed 0", "seed 1", "seed 2"], rows)


# Speed


def milliseconds(results: Results, name: str, key: str = "milliseconds") -> str:
    """Return medians, extremes and the ratio to the first line."""
    values = results[name, 0].values[key]
    reference = next(iter(values.values()))["median"]
    rows = [
        [title, f"{time['median']:.1f}", f"{time['min']:.0f} - {time['max']:.0f}", f"{reference / time['median']:.2f}x"]
        for title, time in values.items()
    ]
    return grid(["", "median ms", "min - max ms", "speed-up"], rows)


def decision(results: Results) -> str:
    """Return the time of a decision by variant."""
    rows = [
        [
            name,
            *(
                f"{time[f'{kind}_median']:.2f} ({time[f'{kind}_min']:.2f} - {time[f'{kind}_max']:.2f})"
                for kind in KINDS
            ),
        ]
        for name, time in results[DECISION, 0].values["seconds"].items()
    ]
    return grid(["", "processor seconds", "wall-clock seconds"], rows)


def decision_stages(results: Results) -> str:
    """Return the share of each stage of a decision."""
    stages = results[DECISION, 0].values["stages"]
    return grid(["stage", "share of the time"], [[name, percent([share], 0)] for name, share in stages.items()])


def reading(results: Results) -> str:
    """Return clips per second by reader and file."""
    rows = []
    for file, readers in results["speed: reading clips", 0].values["clips_per_second"].items():
        fastest = max(rate["median"] for name, rate in readers.items() if not name.startswith("vidpred"))
        rows += [
            [file, name, f"{rate['median']:,.0f}", f"{rate['min']:,.0f} - {rate['max']:,.0f}",
             f"{rate['median'] / fastest:.1f}x", f"{rate['median'] / readers['decord2']['median']:.1f}x"]
            for name, rate in readers.items()
        ]  # fmt: skip
    return grid(["file", "reader", "clips per second", "min - max", "to the fastest other", "to decord2"], rows)


def _spread(found: list[float], digits: int = 1) -> str:
    return f"{statistics.median(found):,.{digits}f} ({min(found):,.{digits}f} - {max(found):,.{digits}f})"


def _starting(values: Mapping[str, Any]) -> list[list[str]]:
    return [
        ["from the command to the first logged step (s)", _spread(values["first_step_seconds"])],
        ["peak memory of the training process (MB)", _spread(values["trainer_mb"], 0)],
        ["peak memory of a data worker (MB)", _spread(values["worker_mb"], 0)],
    ]


def large_folder(results: Results) -> str:
    """Return what scanning and starting on a large tree of videos takes."""
    values = results["scale: a tree of 13,320 videos", 0].values
    rows = [
        ["videos decoded per second", _spread(values["decoded_per_second"])],
        ["videos scanned per second", _spread(values["scanned_per_second"])],
        ["scanning to decoding, median of turns", f"{values['scan_to_decoding']:.2f}"],
        ["scanned before the training was killed", f"{values['scanned_before_kill']:,} of {values['videos']:,}"],
        ["scanning the others after that (s)", f"{values['scan_seconds_after_kill']:.0f}"],
        ["index (MB)", f"{values['index_mb']:.1f}"],
        ["scan of an unchanged tree (s)", _spread(values["second_scan_seconds"], 2)],
    ]
    return grid(["", "value"], rows + _starting(values))


def large_image_folder(results: Results) -> str:
    """Return what checking and starting on a large folder of images takes."""
    values = results["scale: a folder of 200,000 images", 0].values
    ratio = values.get("scan_to_decoding")  # rows of earlier versions have none
    rows = [] if ratio is None else [["scanning to decoding, median of turns", f"{ratio:.2f}"]]
    rows += [
        ["decoding all images once, nothing else (s)", f"{values['decoding_seconds']:.0f}"],
        ["first scan, dividing included (s)", f"{values['first_scan_seconds']:.0f}"],
        ["index (MB)", f"{values['index_mb']:.1f}"],
        ["a second start: finding, checking, dividing (s)", _spread(values["second_start_seconds"], 2)],
    ]
    return grid(["", "value"], rows + _starting(values))


def preparing(results: Results) -> str:
    """Return seconds of `vidpred prepare` by cores."""
    seconds = results["speed: preparing", 0].values["seconds_by_cores"]
    rows = [[cores, numbers([value], 1), f"{seconds['1'] / value:.2f}x"] for cores, value in seconds.items()]
    return grid(["cores", "seconds", "speed-up"], rows)


def motion_speed(results: Results) -> str:
    """Return the time of a forecast by size: median and 95th percentile."""
    by_size = results["motion, time of a forecast", 0].values["milliseconds"]
    rows = [
        [size, *(f"{times['median']:,.4g} ({times['p95']:,.4g})" for times in variants.values())]
        for size, variants in by_size.items()
    ]
    return grid(["milliseconds", *next(iter(by_size.values()))], rows)


def stream_speed(results: Results) -> str:
    """Return the time of a forecast with and without the flows of earlier pairs, and the counts of a stream."""
    values = results["motion, forecasts of a stream", 0].values
    rows = [
        [name, *(f"{times[f'{kind}_median']:.3f} ({times[f'{kind}_min']:.3f})" for kind in KINDS)]
        for name, times in values["seconds"].items()
    ]
    found, memory = values["stream"], values["stream"]["memory_mb_every_20_s"]
    latency = found["latency_ms"]
    counts = [
        ["frames, at 10 a second", f"{found['frames']:,}"],
        ["forecasts a second", f"{found['forecasts_per_second']:.2f}"],
        ["dropped frames, late forecasts", f"{found['dropped']:,}, {found['late']}"],
        ["latency (ms): median, 95th percentile, maximum", "{p50:.0f}, {p95:.0f}, {max:.0f}".format(**latency)],
        ["threads", str(found["threads"])],
        ["memory of the process after 20, 100 and 160 s (MB)", f"{memory[1]:,.0f}, {memory[5]:,.0f}, {memory[8]:,.0f}"],
    ]
    return grid(["seconds of a forecast", *KINDS], rows) + "\n" + grid(["stream of 3 minutes", ""], counts)


def processes(results: Results) -> str:
    """Return the difference of the weights between runs of one process and of two, from the start or on resume."""
    found = dict(results["one and two processes", 0].values["relative_difference_of_weights_after_steps"])
    if changed := results.get(("processes changed on resume", 0)):
        name = f"two processes from step {changed.values['resumed_at']}; steps after that"
        found[name] = changed.values["relative_difference_of_weights_after_further_steps"]
    rows = [[name, *(f"{value:.1g}" if value < 1e-3 else f"{value:.3f}" for value in steps.values())]
            for name, steps in found.items()]  # fmt: skip
    return grid(["against one process, one thread", "after 20 steps", "after 100", "after 300"], rows)


# README


def demo(results: Results) -> str:
    """Return the table that `vidpred demo` prints."""
    values = results["demo", 0].values
    rows = [
        [name, percent([model["near"]]), percent([model["sharp"]]), numbers([model["gradient energy"]]),
         numbers([model["PSNR"]]), "-" if model["left"] is None else percent([model["left"]])]
        for name, model in values["models"].items()
    ]  # fmt: skip
    return grid([f"{values['forks']} forks", "near", "sharp", "gradient energy", "PSNR (dB)", "to the left"], rows)


def parameters(preset: str) -> str:
    """Return the size of a preset's generator."""
    config = load_config(preset)
    count = sum(parameter.numel() for parameter in build_generator(config.model, config.data).parameters())
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"


def models(results: Results) -> str:
    """Return the models with their size, weights and a measured score."""
    gain = _scores(results, MOTION["**motion, the shipped weights (seed 0)**"])["psnr_gain"]
    first, last = ([f"{gain[other]['mean'][place]:+.2f}" for other in (COPY, FLOW)] for place in (0, 3))
    moving = statistics.fmean(run["gain_moving"][0] for run in over_seeds(results, "real video, release.yaml"))
    plays = [run["results"]["model"] for run in over_seeds(results, "block_push, planning with a trained model")]
    successes, episodes = (sum(play[key] for play in plays) for key in ("successes", "episodes"))
    tees = [run["results"]["model"] for run in over_seeds(results, "PushT, DINO-WM's protocol, trained model")]
    reached, goals = (sum(play[key] for play in tees) for key in ("successes", "episodes"))
    pushed = f"PushT, DINO-WM's protocol: {reached} of {goals} goals reached ({counted(len(tees), 'training seed')})"
    sharp = percent(run["models"]["with the adversary"]["sharp"] for run in over_seeds(results, "forks"))
    frechet = numbers(
        (run["numbers"]["dcgan"]["frechet"] for run in over_seeds(results, "clothes, five generators")), 1
    )
    modes = over_seeds(results, "points in the plane, four generators")
    covered = numbers((run["gaussians_r1"]["modes_covered"] for run in modes), 0)
    rows = {
        "motion": ("motion-aware generator", "shipped",
                   f"7 unseen clips at sharpness 0, PSNR over copy last / optical flow: "
                   f"{' / '.join(first)} dB at frame 1, {' / '.join(last)} dB at frame 8"),
        "release": ("multi-scale, released size", "train", f"3 clips, moving pixels: {moving:+.2f} dB over copy last"),
        "ucf101": ("multi-scale, paper size", "train",
                   "longer training on a GPU: docs/notes/gpu.md; UCF101 itself not trained here yet"),
        "forking_ball_adversarial": ("multi-scale, adversary", "`make demo`", f"forking ball: {sharp} sharp"),
        "block_push": ("action-conditioned U-Net", "shipped", f"block_push: {successes} of {episodes} goals reached"),
        "pusht": ("action-conditioned U-Net", "shipped", pushed),
        "dcgan_fashion": ("DCGAN", "train", f"Fashion-MNIST, half width: Fréchet distance {frechet}"),
        "gaussians_r1": ("MLP with R1", "train", f"{covered} of 25 Gaussians covered"),
    }  # fmt: skip
    lines = ([f"`{name}.yaml`", title, parameters(f"{name}.yaml"), *rest] for name, (title, *rest) in rows.items())
    return grid(["preset", "model", "parameters", "weights", "measured"], lines)


FEW_LABELS = {
    "discriminator of classes": "discriminator of classes",
    "classifier of the labeled alone": "classifier of the labeled images alone",
}
AUGMENTED = {
    "few": "1,000 images", "few, mirrored": "1,000 images, half of the time mirrored",
    "samples alone": "5,000 samples alone", "few and samples": "1,000 images and 5,000 samples",
}  # fmt: skip
TABLES: dict[str, Callable[[Results], str]] = {
    "predictors": predictors.table,
    "predictor sizes": lambda results: predictors.sizes(),
    "reliability scorecard": reliability_tables.scorecard,
    "fuzzing": reliability_tables.fuzzing,
    "soak": reliability_tables.soaking,
    "forks": forks,
    "samples": samples,
    "balance": balance,
    "ladder, real clips": lambda results: ladder(results, "ladder, real clips"),
    "ladder, forking ball": lambda results: ladder(results, "ladder, two-way world"),
    "three ways": three_ways,
    "balls": balls,
    "details": details,
    "motion": lambda results: by_frame(results, MOTION),
    "motion gains": gains,
    "motion by clip": by_clip,
    "motion parts": lambda results: by_frame(results, PARTS),
    "motion sharpness": lambda results: sharpness(results, {
        "motion, trained from scratch, seed 2": MOTION["motion, trained from scratch, seed 2"],
        COPY: ("trained from scratch", 2, COPY), FLOW: ("trained from scratch", 2, FLOW)}),
    "motion adversary": lambda results: sharpness(results, ADVERSARY),
    "motion ends": lambda results: both_ends(results, SHARP),
    "motion ends, errors": errors_of_ends,
    "motion ends by clip": ends_by_clip,
    "motion dial": lambda results: both_ends(results, DIAL),
    "motion futures": lambda results: several_futures(results, "test"),
    "motion futures, development": lambda results: several_futures(results, "development"),
    "motion speed": motion_speed,
    "stream speed": stream_speed,
    "release": release,
    "release gains": lambda results: release_gains(results, "real video, release.yaml"),
    "earlier release gains": lambda results: release_gains(results, "real video, residual last_frame"),
    "block_push": block_push,
    "block_push actions": lambda results: actions(results, "block_push, planning with a trained model", (1, 8)),
    "pusht": pusht,
    "pusht protocol": pusht_protocol,
    "pusht costs": pusht_costs,
    "pusht actions": lambda results: actions(results, "PushT, planning with a trained model", (1, 5)),
    "points": points,
    "clothes": clothes,
    "likelihood": likelihood,
    "few labels": lambda results: accuracies(results, "a hundred labels", FEW_LABELS),
    "augmented": lambda results: accuracies(results, "samples as training data", AUGMENTED),
    "training step": lambda results: milliseconds(results, "speed: training step"),
    "training step, AMX": lambda results: milliseconds(results, "speed: training step with a matrix unit (AMX)"),
    "reading": reading,
    "preparing": preparing,
    "start": lambda results: startup.table(results[startup.NAME, 0].values["times"]),
    "large folder": large_folder,
    "large image folder": large_image_folder,
    "plans": lambda results: milliseconds(results, "speed: predicting plans"),
    "decision": decision,
    "decision stages": decision_stages,
    "plans by size": lambda results: milliseconds(results, "speed: predicting plans", "milliseconds_by_size"),
    "dcgan step": lambda results: milliseconds(results, "speed: DCGAN step"),
    "processes": processes,
    "long training": lambda results: gpu_tables.long_training(results, "test"),
    "long training, development": lambda results: gpu_tables.long_training(results, "development"),
    "long training, clips": gpu_tables.long_training_clips,
    "long training, facts": gpu_tables.long_training_facts,
    "adversary, other scenes": lambda results: gpu_tables.adversaries(results, "scenes"),
    "adversary, later frames": lambda results: gpu_tables.adversaries(results, "later"),
    "GPU steps": gpu_tables.gpu_steps,
    "GPU rollouts": gpu_tables.gpu_rollouts,
    "GPU correctness": gpu_tables.gpu_correctness,
    "demo": demo,
    "models": models,
}  # fmt: skip


def with_tables(text: str, results: Results) -> str:
    """Return a page with its tables generated again.

    Raises:
        KeyError: A table is not in `TABLES`.
    """
    return MARKED.sub(lambda match: f"{match[1]}\n{TABLES[match[2]](results)}\n{match[3]}", text)


def main() -> None:
    """Rewrite the pages whose tables have changed."""
    results = read_results(CHECKOUT / RESULTS)
    for page in PAGES:
        text = page.read_text()
        if (new := with_tables(text, results)) != text:
            page.write_text(new)
            print(page)


if __name__ == "__main__":
    main()
