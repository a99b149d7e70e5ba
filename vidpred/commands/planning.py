"""`record` and `plan`: act in environments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.bounds import MOST_FRAMES, MOST_PROCESSES, MOST_SAMPLES, MOST_SIDE
from vidpred.commands.options import CheckpointOption, Device, JsonFile

VideoFile = Annotated[
    Path | None,
    typer.Option(
        "--video", help="Video to write of observed, predicted and actual frames (.mp4, .gif); replaces a file."
    ),
]
StateKey = Annotated[
    str | None,
    typer.Option("--state", help="Key of the state, where an environment's observations are a dictionary."),
]
Cameras = Annotated[
    list[str] | None,
    typer.Option(
        "--camera",
        help="Key of images in observations that are a dictionary (default: what the environment renders); given "
        "several times: cameras of one model.",
    ),
]
Goals = Annotated[
    list[Path] | None, typer.Option(help="Image of the goal, for environments without one; one for each --camera.")
]
Precision = Annotated[
    str, typer.Option(help="Precision: float32, bfloat16, or auto (bfloat16 where the hardware supports it).")
]


def record(
    target: Annotated[Path, typer.Argument(help="Folder for the data set; an existing one is extended.")],
    env: Annotated[
        str,
        typer.Option(
            help="Environment: block_push, gym_pusht/PushT-v0, or another Gymnasium environment that renders."
        ),
    ],
    episodes: Annotated[
        int, typer.Option(min=1, help="Total number of episodes; only missing ones are recorded.")
    ] = 100,
    policy: Annotated[
        str, typer.Option(help="Policy: random, or scripted (if the environment has a script).")
    ] = "random",
    size: Annotated[
        int | None,
        typer.Option(min=8, max=MOST_SIDE, help="Short side of the frames in pixels (default: the environment's)."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of starting states and policy.")] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of steps per episode (default: the environment's).")
    ] = None,
    state: StateKey = None,
    camera: Cameras = None,
    format: Annotated[
        str, typer.Option(help="Format: prepared, to train on, or lerobot (version 3: videos and Parquet files).")
    ] = "prepared",
    workers: Annotated[
        int | None, typer.Option(min=1, max=MOST_PROCESSES, help="Number of processes (default: one per core).")
    ] = None,
) -> None:
    """Record episodes of an environment, frames with actions, as a data set to train on."""
    from vidpred.errors import ConfigError
    from vidpred.planning.record import Recording, record_lerobot
    from vidpred.planning.record import record as record_episodes

    if format not in ("prepared", "lerobot"):
        raise ConfigError(f"no such format [--format {format}]; choose prepared or lerobot")
    recording = Recording(env, episodes, policy, size, seed, steps, state, tuple(camera or ()))
    if format == "lerobot":
        typer.echo(record_lerobot(recording, target, workers))
    else:
        typer.echo(record_episodes(recording, target, workers).text())


def plan(
    run: Annotated[Path, typer.Option("--run", "-r", help="Run of a model that takes actions, or pretrained:NAME.")],
    env: Annotated[
        str, typer.Option(help="Environment: block_push, gym_pusht/PushT-v0, or another Gymnasium environment.")
    ] = "block_push",
    solver: Annotated[str, typer.Option(help="Solver: cem, mppi, random or gradient.")] = "cem",
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 50,
    num_samples: Annotated[int, typer.Option(min=2, max=MOST_SAMPLES, help="Number of plans per iteration.")] = 32,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of the solver per plan.")] = 3,
    horizon: Annotated[int, typer.Option(min=1, max=MOST_FRAMES, help="Number of steps in a plan.")] = 6,
    receding_horizon: Annotated[int, typer.Option(min=1, help="Steps to execute before planning again.")] = 2,
    cost: Annotated[
        str | None, typer.Option(help="Cost: image, push (block_push), pose, objects (PushT); default: environment's.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Time budget of a decision in seconds (default: none).")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Evaluation protocol: dino-wm (PushT; default: the environment's own).")
    ] = None,
    goal: Goals = None,
    size: Annotated[
        int | None, typer.Option(min=8, max=MOST_SIDE, help="Short side of the frames in pixels (default: the run's).")
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also play with copy-last, the true simulator and random actions.")
    ] = False,
    json: JsonFile = None,
    video: VideoFile = None,
    state: StateKey = None,
    camera: Cameras = None,
    precision: Precision = "auto",
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
) -> None:
    """Act in an environment by planning with a trained model, and report how often the goal was reached."""
    from vidpred.evaluation.report import write_json
    from vidpred.files import check_output
    from vidpred.planning.closed_loop import summary_line
    from vidpred.planning.plan import PlanConfig, PlanRequest, play_request

    check_output(json, True, "--json", stream=True)
    check_output(video, True, "--video", (".mp4", ".gif"))
    budget = PlanConfig(solver, num_samples, iterations, horizon, receding_horizon, cost, seconds)
    given = (run, env, budget, episodes, goal or (), size, baselines, video, precision, checkpoint, device, state)
    request, results = PlanRequest(*given, protocol, tuple(camera or ())), {}
    for name, result in play_request(request):
        results[name] = result.to_json()
        typer.echo(summary_line(name, result))
    if json:
        write_json(json, {**request.about(), "results": results})
