"""Write the tables of the README, docs/results/*.md and docs/notes/gpu.md from docs/results.jsonl.

Run: python -m benchmarks.tables. A table stands between `<!-- table: NAME -->` and `<!-- end -->`; NAME is a key of
`TABLES`. A test finds stale ones. Numbers over several seeds are separated by " / ", in the order of the seeds.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import (
    gpu_tables,
    image_tables,
    motion_tables,
    planning_tables,
    predictors,
    reliability_tables,
    scale_tables,
    sharpness_tables,
    speed_tables,
    startup,
)
from benchmarks.clothes import MINUTES, row_name
from benchmarks.experiments import growth, loop, presets
from benchmarks.markdown import COPY, FLOW, Results, grid, numbers, over_seeds, percent
from benchmarks.results import RESULTS, read_results
from vidpred.config import load_config
from vidpred.errors import counted
from vidpred.files import write_file
from vidpred.models.build import build_generator

CHECKOUT = Path(__file__).parent.parent
PAGES = (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs/results").glob("*.md")), CHECKOUT / "docs/notes/gpu.md",
         CHECKOUT / "docs/guide/reliability.md")  # fmt: skip
MARKED = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def demo(results: Results) -> str:
    """Return the table that `vidpred demo` prints."""
    values = results["demo", 0].values
    rows = [
        [name, percent([model["near"]]), percent([model["sharp"]]), numbers([model["gradient energy"]]),
         numbers([model["PSNR"]]), "-" if model["left"] is None else percent([model["left"]])]
        for name, model in values["models"].items()
    ]  # fmt: skip
    return grid([f"{values['forks']} forks", "near", "sharp", "gradient energy", "PSNR (dB)", "to the left"], rows)


def parameters(preset: str, settings: Sequence[str] = ()) -> str:
    """Return the size of a preset's generator, with settings of a variant."""
    config = load_config(preset, settings)
    count = sum(parameter.numel() for parameter in build_generator(config.model, config.data).parameters())
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"


def models(results: Results) -> str:
    """Return the models with their size, weights and a measured score."""
    gain = motion_tables.scores_of(results, motion_tables.MOTION["**motion, the shipped weights (seed 0)**"])[
        "psnr_gain"
    ]
    first, last = ([f"{gain[other]['mean'][place]:+.2f}" for other in (COPY, FLOW)] for place in (0, 3))
    moving = " / ".join(f"{run['gain_moving'][0]:+.2f}" for run in over_seeds(results, "real video, release.yaml"))
    plays = [run["results"]["model"] for run in over_seeds(results, "block_push, planning with a trained model")]
    successes, episodes = (sum(play[key] for play in plays) for key in ("successes", "episodes"))
    tees = [run["results"]["model"] for run in over_seeds(results, "PushT, DINO-WM's protocol, trained model")]
    reached, goals = (sum(play[key] for play in tees) for key in ("successes", "episodes"))
    pushed = f"PushT, DINO-WM's protocol: {reached} of {goals} goals reached ({counted(len(tees), 'training seed')})"
    sharp = percent(run["models"]["with the adversary"]["sharp"] for run in over_seeds(results, "forks"))
    frechet = numbers((run["frechet"] for run in over_seeds(results, row_name("DCGAN", MINUTES))), 1)
    modes = over_seeds(results, "points in the plane, four generators")
    covered = numbers((run["gaussians_r1"]["modes_covered"] for run in modes), 0)
    rows = {
        "motion": ("motion-aware generator", "shipped",
                   f"7 unseen clips at sharpness 0, PSNR over copy last / optical flow: "
                   f"{' / '.join(first)} dB at frame 1, {' / '.join(last)} dB at frame 8"),
        "release": ("multi-scale, released size", "train", f"3 clips, moving pixels: {moving} dB over copy last"),
        "ucf101": ("multi-scale, paper size", "train",
                   "trained for longer on a GPU; UCF101 itself not trained here yet"),
        "forking_ball_adversarial": ("multi-scale, adversary", "`make demo`", f"forking ball: {sharp} sharp"),
        "block_push": ("action-conditioned U-Net", "shipped", f"block_push: {successes} of {episodes} goals reached"),
        "pusht": ("action-conditioned U-Net", "shipped", pushed),
        "dcgan_fashion": ("DCGAN", "train", f"Fashion-MNIST, half width: Fréchet distance {frechet}"),
        "gaussians_r1": ("MLP with R1", "train", f"{covered} of 25 Gaussians covered"),
    }  # fmt: skip
    lines = [[f"`{name}.yaml`", title, parameters(f"{name}.yaml"), *rest] for name, (title, *rest) in rows.items()]
    return grid(["preset", "model", "parameters", "weights", "measured"], [*lines, *frame_predictors(results)])


def frame_predictors(results: Results) -> list[list[str]]:
    """Return the lines of the field's predictors, with what their small variants reach."""
    curves = {data_set: predictors.curves(results, predictors.MINUTES, data_set) for data_set in predictors.DATA_SETS}
    lines = []
    for name in predictors.PREDICTORS:
        file = predictors.preset_of(name)
        if file == "motion.yaml" or not any(name in found for found in curves.values()):
            continue
        settings = predictors.small_settings(file)
        small = f", small variant ({parameters(file, settings)})" if settings else ""
        reached = ", ".join(
            f"{title} {statistics.fmean(statistics.fmean(run[-1]['psnr']) for run in curves[data_set][name]):.1f} dB"
            for data_set, title in (("moving_mnist", "Moving MNIST"), ("bouncing_balls", "bouncing balls"))
            if name in curves[data_set]
        )
        measured = f"{predictors.MINUTES:.0f} CPU minutes{small}: {reached}"
        lines.append([f"`{file}`", name, parameters(file), "train", measured])
    return lines


TABLES: dict[str, Callable[[Results], str]] = {
    "predictors by steps": predictors.table,
    "predictors by steps, bouncing balls": partial(predictors.table, data_set="bouncing_balls"),
    "preset steps": presets.table,
    "predictor sizes": lambda results: predictors.sizes(),
    "reliability scorecard": reliability_tables.scorecard,
    "fuzzing": reliability_tables.fuzzing,
    "soak": reliability_tables.soaking,
    "forks": sharpness_tables.forks,
    "samples": sharpness_tables.samples,
    "balance": sharpness_tables.balance,
    "objectives": sharpness_tables.objectives,
    "ladder, real clips": lambda results: sharpness_tables.ladder(results, "ladder, real clips"),
    "ladder, forking ball": lambda results: sharpness_tables.ladder(results, "ladder, two-way world"),
    "three ways": sharpness_tables.three_ways,
    "balls": sharpness_tables.balls,
    "details": sharpness_tables.details,
    "motion": lambda results: motion_tables.by_frame(results, motion_tables.MOTION),
    "motion gains": motion_tables.gains,
    "motion by clip": motion_tables.by_clip,
    "motion parts": lambda results: motion_tables.by_frame(results, motion_tables.PARTS),
    "motion sharpness": lambda results: motion_tables.sharpness(results, {
        "motion, trained from scratch, seed 2": motion_tables.MOTION["motion, trained from scratch, seed 2"],
        COPY: ("trained from scratch", 2, COPY), FLOW: ("trained from scratch", 2, FLOW)}),
    "motion adversary": lambda results: motion_tables.sharpness(results, motion_tables.ADVERSARY),
    "motion ends": lambda results: motion_tables.both_ends(results, motion_tables.SHARP),
    "motion ends, errors": motion_tables.errors_of_ends,
    "motion ends by clip": motion_tables.ends_by_clip,
    "motion by sharpness": lambda results: motion_tables.both_ends(results, motion_tables.SEVERAL_VALUES),
    "motion futures": lambda results: motion_tables.several_futures(results, "test"),
    "motion futures, development": lambda results: motion_tables.several_futures(results, "development"),
    "loop shares": loop.shares_table,
    "busy": loop.busy_table,
    "motion speed": speed_tables.motion_speed,
    "stream speed": speed_tables.stream_speed,
    "release": motion_tables.release,
    "release gains": lambda results: motion_tables.release_gains(results, "real video, release.yaml"),
    "earlier release gains": lambda results: motion_tables.release_gains(results, "real video, residual last_frame"),
    "block_push": planning_tables.block_push,
    "block_push actions": lambda results: planning_tables.actions(
        results, "block_push, planning with a trained model", (1, 8)),
    "pusht": planning_tables.pusht,
    "pusht protocol": planning_tables.pusht_protocol,
    "pusht few plans": planning_tables.pusht_few_plans,
    "pusht costs": planning_tables.pusht_costs,
    "pusht actions": lambda results: planning_tables.actions(results, "PushT, planning with a trained model", (1, 5)),
    "points": image_tables.points,
    "clothes": image_tables.clothes,
    "likelihood": image_tables.likelihood,
    "few labels": lambda results: image_tables.accuracies(results, "a hundred labels", image_tables.FEW_LABELS),
    "augmented": lambda results: image_tables.accuracies(results, "samples as training data", image_tables.AUGMENTED),
    "training step": lambda results: speed_tables.milliseconds(results, "speed: training step"),
    "training step, AMX": lambda results: speed_tables.milliseconds(
        results, "speed: training step with a matrix unit (AMX)"),
    "ceilings": speed_tables.ceilings,
    "step shares": speed_tables.step_shares,
    "reading": speed_tables.reading,
    "preparing": speed_tables.preparing,
    "start": lambda results: startup.table(results[startup.NAME, 0].values["times"]),
    "large folder": speed_tables.large_folder,
    "large image folder": speed_tables.large_image_folder,
    "plans": lambda results: speed_tables.milliseconds(results, "speed: predicting plans"),
    "decision": speed_tables.decision,
    "decision stages": speed_tables.decision_stages,
    "plans by size": lambda results: speed_tables.milliseconds(
        results, "speed: predicting plans", "milliseconds_by_size"),
    "dcgan step": lambda results: speed_tables.milliseconds(results, "speed: DCGAN step"),
    "processes": speed_tables.processes,
    "growth": growth.table,
    "scale plan": scale_tables.table,
    "cache sizes": lambda results: scale_tables.cache_sizes(),
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
        if write_file(page, with_tables(page.read_text(), results)):
            print(page)


if __name__ == "__main__":
    main()
