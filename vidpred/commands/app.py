"""The command line. Handlers import what they need when they run, so that `vidpred --help` is instant."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vidpred.commands.exit_status import end, leave_exit_code, runs_here
from vidpred.errors import ConfigError, DistributedError, VidpredError, one_line
from vidpred.version import __version__

app = typer.Typer(
    help="Predict the future frames of a video: train, predict, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # typer has no public name for it

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings by dotted key, as in data.root=clips.")
]
ConfigOption = Annotated[str | None, typer.Option("--config", "-c", help="A preset's name or a YAML file's path.")]
Runs = Annotated[list[Path], typer.Option("--run", "-r", help="A run folder or a checkpoint folder.")]
CheckpointOption = Annotated[str, typer.Option(help="best, last or step-N.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vidpred {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print it.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Predict the future frames of a video: train, predict, evaluate."""


@app.command()
def train(
    overrides: Overrides = None,
    config: ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
) -> None:
    """Train a predictor, or resume where the run's folder left off (the same command again)."""
    from vidpred.config import load_config

    settings = load_config(config, overrides or [])
    from vidpred.commands import launch

    processes = launch.requested_processes()
    if processes > 1 and settings.training.device != "cuda" and not dry_run:
        launch.start_processes(processes, sys.argv[1:])
    from vidpred import run

    if dry_run:
        typer.echo(run.plan(settings))
        return
    runs_here(Path(settings.run))
    result = run.train(settings)
    leave_exit_code(0, "trained")
    if os.environ.get("RANK", "0") == "0":
        pictures = f"look at {result.folder}/pictures; " if (result.folder / "pictures").is_dir() else ""
        done = "nothing left to do" if result.first_step == result.steps else f"trained to step {result.steps}"
        verb = "evaluate" if settings.data.context_frames else "sample"
        typer.echo(f"{done}: {result.folder} ({pictures}vidpred {verb} --run {result.folder})")


@app.command("config")
def show_config(config: Annotated[str | None, typer.Argument()] = None, overrides: Overrides = None) -> None:
    """Print the resolved settings with where each value came from."""
    from vidpred.config import describe, load_with_origins

    first = [config] if config and "=" in config else []
    preset = None if first else config
    typer.echo(describe(load_with_origins(preset, [*first, *(overrides or [])])))


@app.command()
def predict(
    clip: Annotated[Path, typer.Argument(help="A video file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="An .mp4, .gif or .png (a strip) file.")],
    run: Annotated[
        list[Path] | None,
        typer.Option("--run", "-r", help="A run folder or a checkpoint folder; without it the weights of the package."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Frames to predict.")] = 8,
    start: Annotated[
        int | None,
        typer.Option(help="First frame to predict. Without it the clip's last frames are held out as truth."),
    ] = None,
    after_end: Annotated[bool, typer.Option("--after-end", help="Predict what comes after the clip.")] = False,
    size: Annotated[
        int | None, typer.Option(min=0, help="Short side to predict at; 0: the clip's. Without it the run's data.size.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Pictures a second of the output.")] = 5,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Futures to draw from each run, side by side; the runs must take noise.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    actions: Annotated[
        Path | None, typer.Option(help="An .npy file (frames, values) for runs that take actions: row i moves frame i.")
    ] = None,
    states: Annotated[
        Path | None, typer.Option(help="An .npy file (frames, values) for runs that take states: row i is frame i's.")
    ] = None,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")] = False,
) -> None:
    """Predict a clip's coming frames and render them; several --run stand side by side."""
    from vidpred.checkpoint import PRETRAINED
    from vidpred.files import check_output
    from vidpred.inference.predict_video import VideoPrediction, predict_video
    from vidpred.inference.predictor import Predictor, choose_device
    from vidpred.media.video_writer import SUFFIXES

    check_output(output, overwrite, "--output", SUFFIXES)
    choose_device(device, "--device ")
    predictors = [Predictor.load(folder, checkpoint, device) for folder in run or [Path(PRETRAINED)]]
    prediction = VideoPrediction(clip, predictors, steps, start, size, after_end, samples, seed, actions, states)
    typer.echo(prediction.describe())
    count = predict_video(prediction, output, rate, overwrite, progress=True)
    typer.echo(f"{output}: {count} pictures, blue known, green truth, orange predicted")


@app.command()
def sample(
    run: Annotated[Path, typer.Option("--run", "-r", help="A run folder or a checkpoint folder.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder (one folder a class), an .npz, or a .png of many.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 64,
    grid: Annotated[bool, typer.Option("--grid", help="All in one picture.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise: sample i is a function of (seed, i).")] = 0,
    labels: Annotated[str | None, typer.Option(help="Classes by number, in turn, as 0,1,2 (default: all).")] = None,
    interpolate: Annotated[bool, typer.Option("--interpolate", help="Rows from one sample to another.")] = False,
    mix: Annotated[bool, typer.Option("--mix", help="A table of mixed styles (StyleGAN).")] = False,
    arithmetic: Annotated[
        str | None, typer.Option(help="On the mean noise of samples by number, as 3,8,12-5,9,11+2,7,20.")
    ] = None,
    truncation: Annotated[
        float | None, typer.Option(min=0, max=1, help="How far styles may be from their mean (StyleGAN; 1: whole).")
    ] = None,
    walk: Annotated[Path | None, typer.Option(help="A video (.mp4, .gif) of a walk through latent space, too.")] = None,
    statistic: Annotated[
        str | None,
        typer.Option(help="Print its mean over the samples and the error: brightness, contrast, lit or roughness."),
    ] = None,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Draw pictures from a run that makes them from noise."""
    from vidpred.inference.predictor import Predictor, choose_device
    from vidpred.inference.sample_images import SampleOptions, Sampler, parse_labels
    from vidpred.inference.sample_images import sample as draw

    choose_device(device, "--device ")
    if output is None and (statistic is None or grid or interpolate or mix or arithmetic or walk):
        raise ConfigError("[--output] say where the pictures go, or what of them to estimate with --statistic")
    sampler = Sampler(Predictor.load(run, checkpoint, device), seed, parse_labels(labels), truncation)
    if statistic is not None:
        from vidpred.evaluation.monte_carlo import monte_carlo, named

        if count < 2:
            raise ConfigError(f"[--count {count}] an error needs two samples or more; raise it")
        typer.echo(f"{statistic} {monte_carlo(sampler, named(statistic), count)}")
    if output is None:
        return
    for line in draw(sampler, SampleOptions(count, output, grid, interpolate, mix, arithmetic, walk, overwrite)):
        typer.echo(line)


@app.command()
def complete(
    run: Annotated[Path, typer.Option("--run", "-r", help="A run folder or a checkpoint folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png: a row for each picture.")],
    pictures: Annotated[
        list[Path] | None, typer.Argument(metavar="[PICTURE]...", help="Picture files (default: some of the run's).")
    ] = None,
    hole: Annotated[
        str | None, typer.Option(help="Left, top, width and height in pixels, as 8,8,12,12 (default: the middle).")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Instead of --hole, a picture, white where one is.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures of the run's data, where none is given.")] = 8,
    split: Annotated[str, typer.Option(help="test, validation or train: which of them.")] = "test",
    samples: Annotated[int, typer.Option(min=1, help="Completions of each picture, the best first.")] = 1,
    restarts: Annotated[int, typer.Option(min=1, help="Starts of the search for each picture.")] = 4,
    steps: Annotated[int, typer.Option(min=0, help="Of each search.")] = 300,
    prior: Annotated[float, typer.Option(min=0, help="Weight of what the discriminator says of it.")] = 0.003,
    blend: Annotated[bool, typer.Option(help="Let what is painted meet the known pixels smoothly.")] = True,
    label: Annotated[int | None, typer.Option(min=0, help="The pictures' class, for a run that is told it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search's starts, or of the draws.")] = 0,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Fill a hole in pictures with a run that makes pictures: by a search in its latent space, exactly by a mixture."""
    from vidpred.files import check_output
    from vidpred.inference.inpaint import (
        Completer,
        Search,
        parse_hole,
        pictures_to_complete,
        read_mask,
        write_completions,
    )
    from vidpred.inference.predictor import choose_device

    check_output(output, overwrite, "--output", (".png",))
    choose_device(device, "--device ")
    if hole and mask:
        raise ConfigError("[--hole, --mask] give one of them; both say what is missing")
    completer = Completer.load(run, checkpoint, device)
    known = read_mask(mask, completer.side) if mask else parse_hole(hole, completer.side)
    whole = pictures_to_complete(completer.predictor, pictures or [], count, split)
    completed = completer.complete(whole, known, samples, seed, Search(steps, restarts, prior, blend), label)
    typer.echo(write_completions(output, whole, known, completed))


@app.command()
def evaluate(
    run: Runs,
    steps: Annotated[int, typer.Option(min=1, help="Frames ahead.")] = 8,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    windows: Annotated[int, typer.Option(min=0, help="At most so many windows, evenly spread; 0: all.")] = 200,
    protocol: Annotated[str, typer.Option(help="plain, mathieu2016 or openstl: which numbers.")] = "plain",
    data: Annotated[str | None, typer.Option(help="Other videos than the run's.")] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=2, help="Futures to draw in each window from runs that take noise: best, mean and worst."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise.")] = 0,
    lpips: Annotated[Path | None, typer.Option(help="LPIPS, by the network in this TorchScript file.")] = None,
    fid: Annotated[Path | None, typer.Option(help="FID of the frames, by the network in this file.")] = None,
    fvd: Annotated[Path | None, typer.Option(help="FVD of the coming frames, by the network in this file.")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write all numbers here; replaces a file.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw quality against steps ahead here (.png, .pdf, .svg); replaces a file."),
    ] = None,
    count: Annotated[int, typer.Option(min=20, help="Pictures to draw from runs that make pictures.")] = 2000,
    features: Annotated[
        Path | None, typer.Option(help="A network (torch.export) whose features pictures are compared by.")
    ] = None,
    neighbours: Annotated[
        Path | None, typer.Option(help="Write samples above their nearest training pictures here (.png).")
    ] = None,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
) -> None:
    """Measure runs on held-out video, frame by frame ahead, with copy-last and optical flow beside them; or runs that
    make pictures, by the features of a network."""
    from vidpred.evaluation import report
    from vidpred.evaluation.evaluate import about_evaluation, evaluate_predictors
    from vidpred.evaluation.learned import Learned
    from vidpred.files import check_output
    from vidpred.inference.predictor import Predictor, choose_device

    outputs = (("--json", json, None), ("--plot", plot, report.PLOT_SUFFIXES), ("--neighbours", neighbours, (".png",)))
    for option, file, suffixes in outputs:
        if file:
            check_output(file, True, option, suffixes)
    files = {name: file for name, file in (("lpips", lpips), ("fid", fid), ("fvd", fvd)) if file}
    place = choose_device(device, "--device ")
    learned = Learned(files, place) if files else None
    predictors = [Predictor.load(folder, checkpoint, device) for folder in run]
    if not any(predictor.history_frames for predictor in predictors):
        from vidpred.evaluation.images import evaluate_runs

        typer.echo(evaluate_runs(predictors, split, count, features, data, seed, json, neighbours))
        return
    result = evaluate_predictors(
        predictors, steps, split, windows or None, data, True, protocol, samples, seed, learned
    )
    typer.echo(report.table(result))
    typer.echo("\n" + report.clip_table(result))
    if learned:
        typer.echo("\n" + learned.table())
    if json:
        numbers = report.to_json(result, about_evaluation(predictors, split, data))
        report.write_json(json, {**numbers, **(learned.to_json() if learned else {})})
    if plot:
        report.write_plot(plot, result)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders or checkpoint folders.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page; replaces a file.")] = Path("compare.html"),
    steps: Annotated[int, typer.Option(min=1, help="Frames ahead.")] = 8,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    windows: Annotated[int, typer.Option(min=0, help="At most so many windows, evenly spread; 0: all.")] = 200,
    protocol: Annotated[str, typer.Option(help="plain, mathieu2016 or openstl: which numbers.")] = "plain",
    data: Annotated[str | None, typer.Option(help="Other videos than the first run's.")] = None,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="Print Table 2 of Mathieu et al. 2016; runs that differ in their seed are a row."),
    ] = False,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
) -> None:
    """Put runs side by side on one self-contained HTML page: numbers, curves, pictures."""
    from vidpred.evaluation import compare, report
    from vidpred.evaluation.paper_table import paper_table
    from vidpred.files import check_output
    from vidpred.inference.predictor import Predictor, choose_device

    check_output(output, True, "--output", (".html",))
    choose_device(device, "--device ")
    predictors = [Predictor.load(folder, checkpoint, device) for folder in runs]
    result = compare.compare(predictors, runs, output, steps, split, windows or None, data, protocol, True, paper)
    typer.echo(paper_table(result, compare.methods(predictors, runs)) if paper else report.table(result))
    typer.echo(f"\nlook at {output}")


@app.command()
def doctor(
    target: Annotated[str, typer.Argument(help="A run folder, a preset's name or a YAML file's path.")],
    overrides: Overrides = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots here; replaces a file.")] = None,
    steps: Annotated[int, typer.Option(min=2, help="Of the trial of a config.")] = 40,
) -> None:
    """Say what is wrong with a run, or with a config by a short trial: what was seen, why it matters, what to try."""
    from vidpred.commands import diagnose
    from vidpred.files import check_output

    if html:
        check_output(html, True, "--html", (".html",))
    with diagnose.examine(target, overrides or [], steps) as diagnosis:
        typer.echo(diagnose.describe(diagnosis))
        if html:
            diagnose.write_page(html, diagnosis)
            typer.echo(f"\nlook at {html}")


@app.command(add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def prepare(words: typer.Context) -> None:
    """Prepare a data set: check its files, write its splits, and its frames so that they load fast."""
    from data_prep.command import run

    typer.echo(run("vidpred prepare", words.args))


@app.command()
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


@app.command()
def plan(
    run: Annotated[Path, typer.Option("--run", "-r", help="A run folder of a model that takes actions.")],
    env: Annotated[str, typer.Option(help="block_push, gym_pusht/PushT-v0, or another of Gymnasium.")] = "block_push",
    solver: Annotated[str, typer.Option(help="cem, mppi, random or gradient.")] = "cem",
    episodes: Annotated[int, typer.Option(min=1)] = 50,
    candidates: Annotated[int, typer.Option(min=2, help="Plans that an iteration compares.")] = 32,
    iterations: Annotated[int, typer.Option(min=1)] = 3,
    horizon: Annotated[int, typer.Option(min=1, help="Steps that a plan looks ahead.")] = 6,
    execute: Annotated[int, typer.Option(min=1, help="Steps of a plan that are done before the next plan.")] = 2,
    goal: Annotated[Path | None, typer.Option(help="A picture of the goal, for worlds that have none.")] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Short side of frames (default: the run's).")] = None,
    beside: Annotated[
        bool, typer.Option("--beside", help="Play the same with copy-last, the true simulator, and random actions.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write all numbers here; replaces a file.")] = None,
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
    from vidpred.inference.predictor import choose_device
    from vidpred.planning import plan as planning
    from vidpred.planning.closed_loop import summary

    for option, file, suffixes in (("--json", json, None), ("--video", video, (".mp4", ".gif"))):
        if file:
            check_output(file, True, option, suffixes)
    choose_device(device, "--device ")
    model, trained = planning.load_model(run, checkpoint, device, precision)
    world = planning.fitting_world(env, size or trained, model)
    budget = planning.Budget(solver, candidates, iterations, horizon, execute)
    picture = planning.read_goal(goal, size or trained)
    results = {run.name: planning.play_model(model, world, budget, episodes, picture, video)}
    typer.echo(summary(run.name, results[run.name]))
    for name, play in planning.references(world, budget, episodes, picture).items() if beside else ():
        results[name] = play()
        typer.echo(summary(name, results[name]))
    if json:
        about = {"env": env, "budget": vars(budget), "precision": precision}
        write_json(json, {**about, "results": {name: result.to_json() for name, result in results.items()}})


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the runs, pictures and the report.")] = Path("runs/demo"),
    seconds: Annotated[int, typer.Option(min=1, help="About how long it may take on 2 CPU cores.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and samples.")] = 0,
    clip: Annotated[Path | None, typer.Option(help="A video to try both losses on as well.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each training, instead of --seconds.")] = None,
) -> None:
    """Train on the two-way world with and without an adversary, and report blurry against sharp."""
    from vidpred.commands.run_demo import run_demo

    typer.echo(run_demo(output, seconds, seed, clip, steps))


def main() -> None:
    """Run the command line. Failures that the user can mend are one line on stderr and the documented exit code."""
    runs_here(None)  # this line's, not that of one run before in the same process
    debug = "--debug" in sys.argv
    if debug:  # accepted anywhere on the line
        sys.argv.remove("--debug")
    try:
        code = app(standalone_mode=False, prog_name="vidpred")
    except VidpredError as error:
        end(error, debug)
    except USAGE_ERROR as error:
        end(_usage_error(error), debug)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        lost = "torch.distributed" in sys.modules and type(error).__name__.startswith(("Dist", "Connection"))
        if lost or "Connection closed by peer" in str(error):
            end(DistributedError(f"another process of the run was lost [{one_line(error)[:120]}]"), debug)
        leave_exit_code(1, f"{type(error).__name__}: {one_line(error)}")
        raise
    sys.exit(code if isinstance(code, int) else 0)


def _usage_error(error: Any) -> ConfigError:
    """Typer's complaint about the words on the line, as one line. Without any word the help is shown instead."""
    message = error.format_message()
    if "\n" in message:
        error.show()
        sys.exit(ConfigError.exit_code)
    verbs = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    verb = next((f" {word}" for word in sys.argv[1:2] if word in verbs), "")
    return ConfigError(f"{message[:1].lower()}{message[1:].rstrip('.')}; see vidpred{verb} --help")
