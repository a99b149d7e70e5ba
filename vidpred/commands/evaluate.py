"""`evaluate` and `compare`: measure runs on held-out data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.commands.options import CheckpointOption, Device, Runs


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
