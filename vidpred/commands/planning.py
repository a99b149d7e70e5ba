"""`record` and `plan`: act in environments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.commands.options import CheckpointOption, Device, JsonFile


def record(
    target: Annotated[Path, typer.Argument(help="Folder to write to; a prepared set.")],
    env: Annotated[str, typer.Option(help="block_push, gym_pusht/PushT-v0, or another of Gymnasium that renders.")],
    episodes: Annotated[int, typer.Option(min=1, help="Asked for more later, it records what is missing.")] = 100,
    policy: Annotated[str, typer.Option(help="random or scripted (where the world has a script).")] = "random",
    size: Annotated[int | None, typer.Option(min=8, help="Short side of frames (default: the world's own).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of starts and policy.")] = 0,
    steps: Annotated[int | None, typer.Option(min=1, help="Longest episode (default: the world's own).")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one a core).")] = None,
) -> None:
    """Record episodes of a world, frames with actions, as a prepared set to train on."""
    from vidpred.planning.record import Recording
    from vidpred.planning.record import record as record_episodes

    typer.echo(record_episodes(Recording(env, episodes, policy, size, seed, steps), target, workers).text())


def plan(
    run: Annotated[Path, typer.Option("--run", "-r", help="A run folder of a model that takes actions.")],
    env: Annotated[str, typer.Option(help="block_push, gym_pusht/PushT-v0, or another of Gymnasium.")] = "block_push",
    solver: Annotated[str, typer.Option(help="cem, mppi, random or gradient.")] = "cem",
    episodes: Annotated[int, typer.Option(min=1)] = 50,
    num_samples: Annotated[int, typer.Option(min=2, help="Plans that an iteration compares.")] = 32,
    iterations: Annotated[int, typer.Option(min=1)] = 3,
    horizon: Annotated[int, typer.Option(min=1, help="Steps that a plan looks ahead.")] = 6,
    receding_horizon: Annotated[
        int, typer.Option(min=1, help="Steps of a plan that are done before the next plan.")
    ] = 2,
    goal: Annotated[Path | None, typer.Option(help="An image of the goal, for worlds that have none.")] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Short side of frames (default: the run's).")] = None,
    beside: Annotated[
        bool, typer.Option("--beside", help="Play the same with copy-last, the true simulator, and random actions.")
    ] = False,
    json: JsonFile = None,
    video: Annotated[
        Path | None, typer.Option("--video", help="Saw, imagined and happened (.mp4, .gif); replaces a file.")
    ] = None,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
) -> None:
    """Act in a world by planning with a trained model; say how often the goal was reached."""
    from vidpred.evaluation.report import write_json
    from vidpred.files import check_output
    from vidpred.planning.closed_loop import summary
    from vidpred.planning.plan import PlanConfig, PlanRequest, play_request

    check_output(json, True, "--json")
    check_output(video, True, "--video", (".mp4", ".gif"))
    budget = PlanConfig(solver, num_samples, iterations, horizon, receding_horizon)
    request = PlanRequest(run, env, budget, episodes, goal, size, beside, video, precision, checkpoint, device)
    results = {}
    for name, result in play_request(request):
        results[name] = result.to_json()
        typer.echo(summary(name, result))
    if json:
        write_json(json, {**request.about(), "results": results})
