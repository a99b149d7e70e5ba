"""The tables of docs/results/planning.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.markdown import COPY, SEEDS, Results, grid, numbers, over_seeds


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


def pusht_few_plans(results: Results) -> str:
    """Return what a shipped model reaches in PushT with few plans, and the seconds of a decision."""
    row = results["PushT, DINO-WM's protocol, few plans", 0].values
    usual, few = (row["seconds"][name] for name in ("usual", "few"))

    def seconds(one: Mapping[str, float]) -> str:
        return f"{one['wall_median']:.2f} ({one['wall_min']:.2f} - {one['wall_max']:.2f})"

    strict = f"{row['results']['strict_successes']} of {row['results']['episodes']}"
    rows = [
        ["64 candidates x 5 iterations", "see above", "", "", seconds(usual)],
        ["32 candidates x 3 iterations", *_success(row["results"])[:2], strict, seconds(few)],
    ]
    head = ["", "successes", "95 % interval", "within both tolerances at the end", "seconds of a decision"]
    return grid(head, rows)


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
    """Return the PSNR with a window's true actions and with those of other windows, and the cost of training."""
    rows = []
    for seed, run in enumerate(over_seeds(results, name)):
        true, other = run["psnr_moving"]["true actions"], run["psnr_moving"]["other windows' actions"]
        cells = (
            f"{true[frame - 1]:.1f} / {other[frame - 1]:.1f} / {true[frame - 1] - other[frame - 1]:.1f}"
            for frame in frames
        )
        training = run["training"]
        rows.append([str(seed), *cells, f"{training['processor_seconds']:.0f}", f"{training['wall_seconds']:.0f}"])
    head = [f"PSNR moving, frame {frame}: true actions / shuffled actions / drop (dB)" for frame in frames]
    return grid(["seed", *head, "training, CPU seconds", "wall-clock seconds"], rows)
