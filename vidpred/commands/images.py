"""`sample` and `complete`: runs that make images from noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.commands.options import CheckpointOption, Device
from vidpred.errors import ConfigError


def sample(
    run: Annotated[Path, typer.Option("--run", "-r", help="A run folder or a checkpoint folder.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder (one folder a class), an .npz, or a .png of many.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many images.")] = 64,
    grid: Annotated[bool, typer.Option("--grid", help="All in one image.")] = False,
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
    """Draw images from a run that makes them from noise."""
    from vidpred.inference.predictor import Predictor, choose_device
    from vidpred.inference.sample_images import SampleOptions, Sampler, parse_labels
    from vidpred.inference.sample_images import sample as draw

    choose_device(device, "--device ")
    if output is None and (statistic is None or grid or interpolate or mix or arithmetic or walk):
        raise ConfigError("[--output] say where the images go, or what of them to estimate with --statistic")
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


def complete(
    run: Annotated[Path, typer.Option("--run", "-r", help="A run folder or a checkpoint folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png: a row for each image.")],
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGE]...", help="Image files (default: some of the run's).")
    ] = None,
    hole: Annotated[
        str | None, typer.Option(help="Left, top, width and height in pixels, as 8,8,12,12 (default: the middle).")
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Instead of --hole, an image, white where one is.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Images of the run's data, where none is given.")] = 8,
    split: Annotated[str, typer.Option(help="test, validation or train: which of them.")] = "test",
    samples: Annotated[int, typer.Option(min=1, help="Completions of each image, the best first.")] = 1,
    restarts: Annotated[int, typer.Option(min=1, help="Starts of the search for each image.")] = 4,
    steps: Annotated[int, typer.Option(min=0, help="Of each search.")] = 300,
    prior: Annotated[float, typer.Option(min=0, help="Weight of what the discriminator says of it.")] = 0.003,
    blend: Annotated[bool, typer.Option(help="Let what is painted meet the known pixels smoothly.")] = True,
    label: Annotated[int | None, typer.Option(min=0, help="The images' class, for a run that is told it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the search's starts, or of the draws.")] = 0,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Fill a hole in images with a run that makes images: by a search in its latent space, exactly by a mixture."""
    from vidpred.files import check_output
    from vidpred.inference.inpaint import Completer, CompletionRequest, Search, complete_images
    from vidpred.inference.predictor import choose_device

    check_output(output, overwrite, "--output", (".png",))
    choose_device(device, "--device ")
    search = Search(steps, restarts, prior, blend)
    request = CompletionRequest(output, images or (), hole, mask, count, split, samples, label, seed, search)
    typer.echo(complete_images(Completer.load(run, checkpoint, device), request))
