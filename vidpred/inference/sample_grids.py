"""What `vidpred sample` writes: grids, a row per class, interpolations, arithmetic on noise, sets of images."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidpred.errors import ConfigError, counted
from vidpred.files import check_output
from vidpred.inference.class_labels import class_names
from vidpred.inference.sample_images import (
    STEPS,
    WALK_RATE,
    Sampler,
    enlarged,
    interpolations,
    mixed_styles,
    walk,
    write_grid,
    write_samples,
)
from vidpred.inference.sample_points import write_points
from vidpred.media.render import Kind, Panel, compose, image_grid, stack, titled_rows, write_png
from vidpred.media.video_writer import SUFFIXES, write_video

COUNT, PER_CLASS = 64, 8  # default numbers of samples: of a grid, and of each class
MOST_IN_ROWS = 640  # by default, in a grid with a row per class
MOST_CLASSES = 20  # with an interpolation each, by default
NO_FOLDER = (".npy", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".mp4", ".gif", ".avi", ".zip", ".pdf")
PANEL_HEIGHT = 96  # pixels, at least, of the images of arithmetic
Term = tuple[int, list[int]]  # sign, numbers of samples


@dataclass(frozen=True)
class SampleOptions:
    """Options of `vidpred sample`.

    Attributes:
        count: Number of samples; None: 64, or 8 of each class in a grid with a row per class.
        output: The file or folder to write.
        grid: Whether to write a grid of samples; a .png file is one without it.
        interpolate: Whether to write interpolations.
        mix: Whether to write a table of mixed styles.
        arithmetic: Terms of arithmetic on noise, see `parse_arithmetic`.
        walk: File for a video of a walk through samples.
        overwrite: Whether to replace existing files.
    """

    count: int | None
    output: Path
    grid: bool = False
    interpolate: bool = False
    mix: bool = False
    arithmetic: str | None = None
    walk: Path | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Check the options that exclude each other, and the files. Raises ConfigError or StorageError."""
        chosen = [name for name in ("grid", "interpolate", "mix", "arithmetic") if getattr(self, name)]
        if len(chosen) > 1:
            raise ConfigError(f"[--{chosen[0]}, --{chosen[1]}] exclude each other; give one of them")
        if self.arithmetic and self.count is not None:
            raise ConfigError(f"[--count {self.count}] --arithmetic names its samples; leave --count out")
        suffix = self.output.suffix.lower()
        if chosen or suffix == ".png":
            check_output(self.output, self.overwrite, "--output", (".png",))
        elif suffix in NO_FOLDER:
            raise ConfigError(f"[--output {self.output}] unsupported suffix; give a FOLDER, an .npz or a .png")
        if self.walk:
            check_output(self.walk, self.overwrite, "--walk", SUFFIXES)

    def check_points(self) -> None:
        """Check that no option is given that points of the plane do not have. Raises ConfigError."""
        given = [name for name in ("interpolate", "mix", "arithmetic", "walk") if getattr(self, name)]
        if given:
            raise ConfigError(f"[--{given[0]}] is for images, and the run generates points of the plane; leave it out")


def sample(sampler: Sampler, options: SampleOptions) -> list[str]:
    """Write the requested outputs; return a line for each. Raises vidpred's errors, before any work if possible."""
    options.check()
    if sampler.predictor.data.has_points:
        options.check_points()
        return [write_points(sampler, options.count, options.output, options.overwrite)]
    output, count = options.output, options.count or COUNT
    if options.interpolate:
        lines = [f"{output}: {write_interpolations(output, sampler, options.count)}"]
    elif options.mix:
        rows = min(count, PER_CLASS)
        write_grid(output, mixed_styles(sampler, rows), rows + 1)
        lines = [f"{output}: coarse styles by row, fine ones by column"]
    elif options.arithmetic:
        terms = parse_arithmetic(options.arithmetic)
        write_png(output, draw_arithmetic(terms, arithmetic(sampler, terms)))
        lines = [f"{output}: a row per term, first the image of its mean noise; the last row is the sum and variations"]
    elif options.grid or output.suffix.lower() == ".png":
        image, drawn = draw_samples(sampler, options.count)
        write_png(output, image)
        lines = [f"{output}: {drawn}"]
    else:
        lines = [write_samples(sampler, count, output, options.overwrite)]
    if options.walk:
        stops = min(count, 12)
        images_written = write_video(options.walk, walk(sampler, stops), WALK_RATE, options.overwrite)
        lines.append(f"{options.walk}: {counted(images_written, 'image')} of a walk through {stops} samples")
    return lines


def rows_by_class(sampler: Sampler, count: int | None = None) -> dict[str, Tensor]:
    """Draw samples and group them by class; a single group has no title.

    Args:
        sampler: The run, and the classes to draw.
        count: Number of samples; None: 64, or 8 of each class, but at most 640 of more than one each.

    Returns:
        Title -> images `(N, C, H, W)` in [0, 1], in the order in which the classes are drawn.
    """
    names = class_names(sampler.predictor)
    classes = len(set(sampler.labels or range(len(names))))
    if classes < 2:
        return {"": torch.stack([image for _, image, _ in sampler.samples(count or COUNT)])}
    count = count or classes * max(1, min(PER_CLASS, MOST_IN_ROWS // classes))
    groups: dict[str, list[Tensor]] = {}
    for _, image, label in sampler.samples(count):
        groups.setdefault("" if label is None else names[label], []).append(image)
    return {name: torch.stack(images) for name, images in groups.items()}


def draw_samples(sampler: Sampler, count: int | None) -> tuple[np.ndarray, str]:
    """Draw `count` samples (None: a default) as one image, with a titled row per class if there are several.

    Returns:
        The image `(H, W, 3)` uint8, and words about it for the terminal.
    """
    rows = rows_by_class(sampler, count)
    total = sum(map(len, rows.values()))
    if len(rows) > 1:
        return titled_rows(rows), f"{total} samples, a row per class: {', '.join(rows)}"
    columns = math.ceil(math.sqrt(total))
    return enlarged(image_grid(rows[""], columns)), f"{total} samples, numbered row by row from 0, {columns} to a row"


def write_interpolations(path: Path, sampler: Sampler, count: int | None) -> str:
    """Write titled rows from one sample to another, by default as many as fit into 64 images, or one per class."""
    names = class_names(sampler.predictor)
    classes = len(set(sampler.labels or range(len(names))))
    rows = max(1, count // STEPS) if count else max(COUNT // STEPS, min(classes, MOST_CLASSES))
    labels = sampler.label_of(range(rows))
    drawn: dict[str, Tensor] = {}
    for row, images in enumerate(interpolations(sampler, rows).split(STEPS)):
        of = "" if labels is None else f"{names[int(labels[row])]}: "
        drawn[f"{of}{2 * row} to {2 * row + 1}"] = images
    write_png(path, titled_rows(drawn))
    return f"{counted(rows, 'row')}, each from one sample to another in {STEPS} steps"


def parse_arithmetic(text: str) -> list[Term]:
    """Parse terms: "3,8,12-5,9+2,7" -> [(1, [3, 8, 12]), (-1, [5, 9]), (1, [2, 7])]. Raises ConfigError."""
    if not re.fullmatch(r"\d+(,\d+)*([+-]\d+(,\d+)*)+", text):
        raise ConfigError(
            f"[--arithmetic {text}] give numbers of samples, as in 3,8,12-5,9,11+2,7,20: three of each concept"
        )
    terms = re.findall(r"([+-]?)(\d+(?:,\d+)*)", text)
    return [(-1 if sign == "-" else 1, [int(word) for word in numbers.split(",")]) for sign, numbers in terms]


def arithmetic(sampler: Sampler, terms: Sequence[Term]) -> list[Tensor]:
    """Generate the images of arithmetic on noise (figure 7 of the DCGAN paper), all of the first class.

    Args:
        sampler: The run.
        terms: See `parse_arithmetic`.

    Returns:
        For each term the image of its mean noise, then its samples; last the image of the signed sum of the means, then
        variations of it with uniform noise in [-0.25, 0.25]: rows `(N, C, H, W)` in [0, 1].
    """
    rows, total = [], torch.zeros(sampler.predictor.generator.noise_channels)
    for sign, numbers in terms:
        noise = sampler.noise(numbers)
        total = total + sign * noise.mean(0)
        rows.append(torch.cat([noise.mean(0, keepdim=True), noise]))
    variations = max(len(numbers) for _, numbers in terms)
    around = np.random.default_rng((sampler.seed, 7)).uniform(-0.25, 0.25, (variations, len(total)))
    rows.append(torch.cat([total[None], total + torch.from_numpy(around).float()]))
    labels = sampler.label_of([0])
    return [sampler.images(row, None if labels is None else labels.repeat(len(row))) for row in rows]


def draw_arithmetic(terms: Sequence[Term], rows: Sequence[Tensor]) -> np.ndarray:
    """Draw the rows of `arithmetic`: `(H, W, 3)` uint8. Means and the sum have colored borders."""

    def row(images: Tensor, labels: Sequence[str], kind: Kind) -> np.ndarray:
        panels = [Panel(label, image, "error") for label, image in zip(labels, images, strict=True)]
        return compose([replace(panels[0], kind=kind), *panels[1:]], PANEL_HEIGHT)

    drawn = []
    for place, ((sign, numbers), images) in enumerate(zip(terms, rows, strict=False)):
        head = ("- " if sign < 0 else "+ " if place else "") + "mean"
        drawn.append(row(images, [head, *map(str, numbers)], "prediction"))
    variations = [f"variation {number}" for number in range(1, len(rows[-1]))]
    return stack([*drawn, row(rows[-1], ["= sum", *variations], "truth")])
