"""`sample` and `complete`: image generators."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidpred.bounds import MOST_SAMPLES
from vidpred.commands.options import CheckpointOption, Device
from vidpred.errors import ConfigError

if TYPE_CHECKING:
    from vidpred.inference.predictor import Predictor
    from vidpred.inference.sample_images import Sampler


OneRun = Annotated[Path | None, typer.Option("--run", "-r", help="A run folder or a checkpoint folder.")]
OneModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Instead of --run, a model's folder or repository of the Hugging Face Hub."),
]
Images = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder (with a folder per class), .npz file, or .png file with a grid."),
]
Count = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_SAMPLES,
        help="Number of images (default: 64; 8 of each class in a grid with a row per class; 2500 points).",
    ),
]
Grid = Annotated[
    bool, typer.Option("--grid", help="Write all samples as one image, with a row per class if there are several.")
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", "--labels", help="Classes to draw in turn, by name or number, for example cat,dog (default: all)."
    ),
]
Arithmetic = Annotated[
    str | None,
    typer.Option(help="Add and subtract mean noises of samples by number, for example 3,8,12-5,9,11+2,7,20."),
]
Truncation = Annotated[
    float | None, typer.Option(min=0, max=1, help="Truncation of styles toward their mean (StyleGAN; 1: none).")
]
StatisticName = Annotated[
    str | None, typer.Option(help="Print the mean, with its error, of brightness, contrast, lit or roughness.")
]


def sample(
    run: OneRun = None,
    model: OneModel = None,
    output: Images = None,
    count: Count = None,
    grid: Grid = False,
    seed: Annotated[int, typer.Option(min=0, help="Noise seed; sample i is a function of (seed, i).")] = 0,
    labels: Labels = None,
    interpolate: Annotated[bool, typer.Option("--interpolate", help="Interpolate between pairs of samples.")] = False,
    mix: Annotated[bool, typer.Option("--mix", help="Draw a table of mixed styles (StyleGAN).")] = False,
    arithmetic: Arithmetic = None,
    truncation: Truncation = None,
    walk: Annotated[Path | None, typer.Option(help="Also write a video of a latent walk (.mp4, .gif).")] = None,
    statistic: StatisticName = None,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Draw images from an image generator."""
    from vidpred.inference.load_models import load_predictors
    from vidpred.inference.sample_grids import SampleOptions
    from vidpred.inference.sample_grids import sample as draw

    if (run is None) == (model is None):
        raise ConfigError("give one model: --run RUN or --model NAME")
    if output is None and (statistic is None or grid or interpolate or mix or arithmetic or walk):
        raise ConfigError("[--output] missing; give an output for the images, or a --statistic to estimate")
    options = SampleOptions(count, output or Path(), grid, interpolate, mix, arithmetic, walk, overwrite)
    if output is not None:
        options.check()
    (predictor,) = load_predictors([run] if run else [], checkpoint, device, models=[model] if model else [])
    sampler = _sampler(predictor, seed, labels, truncation)
    if statistic is not None:
        typer.echo(_estimate(sampler, statistic, count))
    if output is not None:
        typer.echo("\n".join(draw(sampler, options)))


def _estimate(sampler: Sampler, statistic: str, count: int | None) -> str:
    """Return the mean of a statistic with its error. Raises ConfigError."""
    from vidpred.evaluation.monte_carlo import monte_carlo, named
    from vidpred.inference.sample_grids import COUNT

    if count is not None and count < 2:
        raise ConfigError(f"[--count {count}] the error of a mean needs at least two samples; raise it")
    return f"{statistic} {monte_carlo(sampler, named(statistic), count or COUNT)}"


def _sampler(predictor: Predictor, seed: int, labels: list[str] | None, truncation: float | None) -> Sampler:
    """Return the samples of a run. Raises ConfigError for a run of frames, and for unknown labels."""
    from vidpred.inference.class_labels import class_names, parse_labels
    from vidpred.inference.sample_images import Sampler

    plain = Sampler(predictor, seed, None, truncation)  # checks the run before its classes
    return replace(plain, labels=parse_labels(labels, class_names(predictor))) if labels else plain


def complete(
    run: Annotated[Path, typer.Option("--run", "-r", help="A run folder or a checkpoint folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png file to write, with a row per image.")],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE]...", help="Image files (default: images of the run's data).")
    ] = None,
    hole: Annotated[
        str | None,
        typer.Option(help="Left, top, width and height in pixels, for example 8,8,12,12 (default: the middle)."),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Image file, white in the holes; instead of --hole.")] = None,
    count: Annotated[
        int, typer.Option(min=1, max=MOST_SAMPLES, help="Number of images of the run's data, if none are given.")
    ] = 8,
    split: Annotated[str, typer.Option(help="Their split: test, validation or train.")] = "test",
    samples: Annotated[
        int, typer.Option(min=1, max=MOST_SAMPLES, help="Completions of each image, the best first.")
    ] = 1,
    restarts: Annotated[
        int, typer.Option(min=1, max=MOST_SAMPLES, help="Random starts of the search for each image.")
    ] = 4,
    steps: Annotated[int, typer.Option(min=0, help="Steps of each search.")] = 300,
    prior: Annotated[float, typer.Option(min=0, help="Weight of the discriminator's loss in the search.")] = 0.003,
    blend: Annotated[bool, typer.Option(help="Blend the filled pixels smoothly into the given ones.")] = True,
    label: Annotated[
        str | None, typer.Option(help="Class of the images by name or number, for runs that are conditioned on it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search or of the samples.")] = 0,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Fill holes in images by a search in the latent space of an image generator (exactly for a Gaussian mixture)."""
    from vidpred.files import check_output
    from vidpred.inference.class_labels import class_names, parse_label
    from vidpred.inference.inpaint import Completer, CompletionRequest, Search, complete_images
    from vidpred.inference.predictor import choose_device

    check_output(output, overwrite, "--output", (".png",))
    choose_device(device, "--device ")
    search = Search(steps, restarts, prior, blend)
    completer = Completer.load(run, checkpoint, device)
    number = None if label is None else parse_label(label, class_names(completer.predictor), "--label")
    request = CompletionRequest(output, images or (), hole, mask, count, split, samples, number, seed, search)
    typer.echo(complete_images(completer, request))
