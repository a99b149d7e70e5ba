"""`sample` and `complete`: image generators."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidpred.commands.options import CheckpointOption, Device
from vidpred.errors import ConfigError


def sample(
    run: Annotated[Path, typer.Option("--run", "-r", help="A run folder or a checkpoint folder.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder (with a folder per class), .npz file or .png file to write."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 64,
    grid: Annotated[bool, typer.Option("--grid", help="Write all samples as one image.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Noise seed; sample i is a function of (seed, i).")] = 0,
    labels: Annotated[
        str | None, typer.Option(help="Classes to draw in turn, for example 0,1,2 (default: all).")
    ] = None,
    interpolate: Annotated[bool, typer.Option("--interpolate", help="Interpolate between pairs of samples.")] = False,
    mix: Annotated[bool, typer.Option("--mix", help="Draw a table of mixed styles (StyleGAN).")] = False,
    arithmetic: Annotated[
        str | None,
        typer.Option(help="Add and subtract mean noises of samples by number, for example 3,8,12-5,9,11+2,7,20."),
    ] = None,
    truncation: Annotated[
        float | None, typer.Option(min=0, max=1, help="Truncation of styles toward their mean (StyleGAN; 1: none).")
    ] = None,
    walk: Annotated[Path | None, typer.Option(help="Also write a video of a latent walk (.mp4, .gif).")] = None,
    statistic: Annotated[
        str | None,
        typer.Option(help="Print the mean, with its error, of brightness, contrast, lit or roughness."),
    ] = None,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Draw images from an image generator."""
    from vidpred.inference.predictor import Predictor, choose_device
    from vidpred.inference.sample_images import SampleOptions, Sampler, parse_labels
    from vidpred.inference.sample_images import sample as draw

    choose_device(device, "--device ")
    if output is None and (statistic is None or grid or interpolate or mix or arithmetic or walk):
        raise ConfigError("[--output] missing; give an output for the images, or a --statistic to estimate")
    sampler = Sampler(Predictor.load(run, checkpoint, device), seed, parse_labels(labels), truncation)
    if statistic is not None:
        from vidpred.evaluation.monte_carlo import monte_carlo, named

        if count < 2:
            raise ConfigError(f"[--count {count}] the error of a mean needs at least two samples; raise it")
        typer.echo(f"{statistic} {monte_carlo(sampler, named(statistic), count)}")
    if output is None:
        return
    for line in draw(sampler, SampleOptions(count, output, grid, interpolate, mix, arithmetic, walk, overwrite)):
        typer.echo(line)


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
    count: Annotated[int, typer.Option(min=1, help="Number of images of the run's data, if none are given.")] = 8,
    split: Annotated[str, typer.Option(help="Their split: test, validation or train.")] = "test",
    samples: Annotated[int, typer.Option(min=1, help="Completions of each image, the best first.")] = 1,
    restarts: Annotated[int, typer.Option(min=1, help="Random starts of the search for each image.")] = 4,
    steps: Annotated[int, typer.Option(min=0, help="Steps of each search.")] = 300,
    prior: Annotated[float, typer.Option(min=0, help="Weight of the discriminator's loss in the search.")] = 0.003,
    blend: Annotated[bool, typer.Option(help="Blend the filled pixels smoothly into the given ones.")] = True,
    label: Annotated[
        int | None, typer.Option(min=0, help="Class of the images, for runs that are conditioned on it.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the search or of the samples.")] = 0,
    checkpoint: CheckpointOption = "best",
    device: Device = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output.")] = False,
) -> None:
    """Fill holes in images by a search in the latent space of an image generator (exactly for a Gaussian mixture)."""
    from vidpred.files import check_output
    from vidpred.inference.inpaint import Completer, CompletionRequest, Search, complete_images
    from vidpred.inference.predictor import choose_device

    check_output(output, overwrite, "--output", (".png",))
    choose_device(device, "--device ")
    search = Search(steps, restarts, prior, blend)
    request = CompletionRequest(output, images or (), hole, mask, count, split, samples, label, seed, search)
    typer.echo(complete_images(Completer.load(run, checkpoint, device), request))
