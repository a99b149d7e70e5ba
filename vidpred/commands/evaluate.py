"""`evaluate` and `compare`: measure runs on held-out data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidpred.commands.options import (
    CheckpointOption,
    ContextFrames,
    Device,
    FeatureFile,
    FrameSize,
    Generators,
    ImageCount,
    ImageFeatures,
    JsonFile,
    Models,
    NumFrames,
    PlotFile,
    ProtocolName,
    Runs,
    SeveralFutures,
    SharpnessOption,
    Split,
    Windows,
    refuse_unused,
)

if TYPE_CHECKING:
    from vidpred.evaluation.images import ImageRequest
    from vidpred.inference.predictor import Predictor


def evaluate(
    ctx: typer.Context,
    run: Runs = None,
    model: Models = None,
    generator: Generators = None,
    context: ContextFrames = None,
    size: FrameSize = None,
    num_frames: NumFrames = 8,
    split: Split = "test",
    windows: Windows = 200,
    protocol: ProtocolName = "plain",
    data: Annotated[str | None, typer.Option(help="Videos or images to use instead of the run's data.")] = None,
    samples: SeveralFutures = None,
    seed: Annotated[int, typer.Option(min=0, help="Noise seed.")] = 0,
    lpips: Annotated[Path | None, typer.Option(help="Compute LPIPS with the network in this TorchScript file.")] = None,
    feature_distance: FeatureFile = None,
    fid: Annotated[Path | None, typer.Option(help="Compute FID of the frames with the network in this file.")] = None,
    fvd: Annotated[Path | None, typer.Option(help="Compute FVD of the videos with the network in this file.")] = None,
    json: JsonFile = None,
    plot: PlotFile = None,
    count: ImageCount = 2000,
    features: ImageFeatures = None,
    neighbors: Annotated[Path | None, typer.Option(help="Write samples with nearest training images (.png).")] = None,
    sharpness: SharpnessOption = None,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
) -> None:
    """Evaluate runs on held-out videos, next to copy-last and optical flow; or image generators by their samples."""
    from vidpred.evaluation import report
    from vidpred.evaluation.evaluate import EvaluationRequest, about_evaluation, evaluate_predictors
    from vidpred.evaluation.images import ImageRequest
    from vidpred.evaluation.metric_networks import feature_network
    from vidpred.evaluation.metric_table import find_protocol
    from vidpred.evaluation.network_metrics import load_learned
    from vidpred.inference.load_models import load_predictors, own_data

    _check_outputs(json, plot, neighbors)
    runs, own, models = run or [], generator or [], model or []
    own_settings = own_data([*runs, *models], own, data, size)
    predictors = load_predictors(runs, checkpoint, device, sharpness, own, context, own_settings, models)
    if _evaluate_images(ctx, predictors, ImageRequest(split, count, features, data, seed), json, neighbors):
        return
    request = EvaluationRequest(
        num_frames, windows or None, find_protocol(protocol), samples, seed, True, split=split, root=data, size=size,
        network=feature_network(feature_distance, predictors[0].device),
    )  # fmt: skip
    learned = load_learned({"lpips": lpips, "fid": fid, "fvd": fvd}, predictors[0].device)
    result = evaluate_predictors(predictors, request, learned)
    typer.echo(report.text(result, learned, about := about_evaluation(predictors, request)))
    report.write(result, about, learned, json, plot)


def _evaluate_images(
    ctx: typer.Context,
    predictors: Sequence[Predictor],
    request: ImageRequest,
    json: Path | None,
    neighbors: Path | None,
) -> bool:
    """Print the numbers of runs that generate images; return whether the runs do. Raises ConfigError."""
    from vidpred.evaluation.images import are_image_models, evaluate_runs

    if images := refuse_unused(ctx, are_image_models(predictors)):
        typer.echo(evaluate_runs(predictors, request, json, neighbors))
    return images


def _check_outputs(json: Path | None, plot: Path | None, neighbors: Path | None) -> None:
    """Check that outputs can be written, before any long work. Raises ConfigError or StorageError."""
    from vidpred.evaluation import report
    from vidpred.files import check_output

    check_output(json, True, "--json", stream=True)
    check_output(plot, True, "--plot", report.PLOT_SUFFIXES)
    check_output(neighbors, True, "--neighbors", (".png",))


PaperTable = Annotated[
    bool,
    typer.Option(
        "--paper", help="Print Table 2 of Mathieu et al. 2016, averaging runs that differ only in their seed."
    ),
]


def compare(
    ctx: typer.Context,
    runs: Annotated[list[Path] | None, typer.Argument(help="Run folders or checkpoint folders.")] = None,
    model: Models = None,
    generator: Generators = None,
    context: ContextFrames = None,
    size: FrameSize = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="HTML page to write; an existing file is replaced.")
    ] = Path("compare.html"),
    num_frames: NumFrames = 8,
    split: Split = "test",
    windows: Windows = 200,
    protocol: ProtocolName = "plain",
    data: Annotated[str | None, typer.Option(help="Videos or images to use instead of the first run's data.")] = None,
    feature_distance: FeatureFile = None,
    paper: PaperTable = False,
    count: ImageCount = 2000,
    features: ImageFeatures = None,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
) -> None:
    """Compare runs, of frames or of images, on one self-contained HTML page: metrics, curves, images."""
    from vidpred.evaluation import compare, report
    from vidpred.evaluation.compare_images import compare_images
    from vidpred.evaluation.evaluate import EvaluationRequest
    from vidpred.evaluation.images import ImageRequest, are_image_models
    from vidpred.evaluation.metric_networks import feature_network
    from vidpred.evaluation.metric_table import find_protocol
    from vidpred.evaluation.paper_table import paper_table
    from vidpred.files import check_output
    from vidpred.inference.load_models import load_predictors, own_data

    check_output(output, True, "--output", (".html",))
    folders, own, models = runs or [], generator or [], model or []
    own_settings = own_data([*folders, *models], own, data, size)
    predictors = load_predictors(folders, checkpoint, device, None, own, context, own_settings, models)
    if refuse_unused(ctx, are_image_models(predictors)):
        found = compare_images(predictors, output, ImageRequest(split, count, features, data))
        typer.echo(f"{found}\n\nopen {output}")
        return
    request = EvaluationRequest(
        num_frames, windows or None, find_protocol(protocol), progress=True, split=split, root=data, size=size,
        network=feature_network(feature_distance, predictors[0].device),
    )  # fmt: skip
    result = compare.compare_predictors(predictors, output, request, paper)
    typer.echo(f"{compare.describe_measurement(predictors, result, request)}\n")
    typer.echo(paper_table(result, compare.group_by_seed(predictors)) if paper else report.table(result))
    typer.echo(f"\nopen {output}")
