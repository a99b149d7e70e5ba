"""Images from a generator without context: samples, interpolations, walks, mixed styles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vidpred.errors import ConfigError, StorageError
from vidpred.files import atomic_write, check_output, must_be_new
from vidpred.inference.class_labels import class_names
from vidpred.inference.predictor import Predictor
from vidpred.media.render import image_grid, to_uint8, write_png
from vidpred.models.build import names_with
from vidpred.models.noise import seeded_noise

AT_ONCE = 64  # images per batch of the network
STEPS = 9  # of an interpolation, including its ends, as in the paper's figure
LEAST_GRID = 512  # pixels; smaller grids are enlarged by a whole factor
WALK_IMAGES, WALK_RATE = 24, 24  # images from one sample to the next, images per second


@dataclass(frozen=True)
class Sampler:
    """Samples of a run; sample i is a function of (seed, i), independent of their number.

    Attributes:
        predictor: The run.
        seed: Noise seed.
        labels: Classes to cycle through; None: all.
        truncation: Truncation of a StyleGAN; None: the run's.
    """

    predictor: Predictor
    seed: int = 0
    labels: Sequence[int] | None = None
    truncation: float | None = None

    def __post_init__(self) -> None:
        """Check the run. Raises ConfigError for a run that predicts frames, and for unknown labels."""
        generator, classes = self.predictor.generator, self.predictor.generator.num_labels
        if self.predictor.history_len or not generator.noise_channels:
            raise ConfigError(
                f"{self.predictor.name} predicts frames from frames; use vidpred predict CLIP --run RUN, or sample "
                "a run with data.context_frames=0 (dcgan_mnist.yaml)"
            )
        if self.truncation is not None and not generator.num_styles:
            raise lacks_styles("--truncation", self.predictor)
        if self.labels is not None and not classes:
            raise ConfigError("[--labels] the run's generator takes no classes; train it with model.num_labels")
        wrong = [label for label in self.labels or () if not 0 <= label < classes]
        if wrong:
            raise ConfigError(f"[--labels {wrong[0]}] the run's classes are numbered from 0 to {classes - 1}")

    def noise(self, numbers: Sequence[int]) -> Tensor:
        """Return the noise `(N, noise_channels)` of the samples with these numbers."""
        return torch.cat([seeded_noise(self.predictor.generator, 1, self.seed, number) for number in numbers])

    def label_of(self, numbers: Sequence[int]) -> Tensor | None:
        """Return the classes `(N,)` int64 of the samples with these numbers; None for a generator without classes."""
        classes = self.predictor.generator.num_labels
        chosen = list(self.labels or range(classes))
        return torch.tensor([chosen[number % len(chosen)] for number in numbers]) if classes else None

    def images(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Generate images `(N, C, H, W)` in [0, 1], on the CPU."""
        drawn = []
        with self.predictor.generator.truncated(self.truncation):
            for first in range(0, len(noise), AT_ONCE):
                part = noise[first : first + AT_ONCE]
                drawn.append(self.predictor.draw(part, None if labels is None else labels[first : first + AT_ONCE]))
        return torch.cat(drawn)

    def samples(self, count: int) -> Iterator[tuple[int, Tensor, int | None]]:
        """Yield number, image `(C, H, W)` and label of the samples 0, 1, ..., count - 1."""
        for first in range(0, count, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, count))
            labels = self.label_of(numbers)
            images = self.images(self.noise(numbers), labels)
            for place, number in enumerate(numbers):
                yield number, images[place], None if labels is None else int(labels[place])


def between(start: Tensor, end: Tensor, steps: int, spherical: bool) -> Tensor:
    """Interpolate from `start` to `end` `(Z,)`, both included, on a straight line or on the great circle.

    On the great circle, lengths are interpolated too, so that the points are as long as Gaussian noise.

    Returns:
        `(steps, Z)`.
    """
    shares = torch.linspace(0, 1, steps)[:, None]
    if not spherical:
        return torch.lerp(start, end, shares)
    directions = torch.nn.functional.normalize(torch.stack([start, end]), dim=1)
    angle = torch.arccos((directions[0] @ directions[1]).clamp(-1, 1))
    if angle.sin() < 1e-6:
        return torch.lerp(start, end, shares)
    weights = torch.cat([torch.sin((1 - shares) * angle), torch.sin(shares * angle)], 1) / angle.sin()
    return weights @ directions * torch.lerp(start.norm(), end.norm(), shares)


def interpolations(sampler: Sampler, rows: int) -> Tensor:
    """Generate rows of interpolations: row r leads from sample 2r to sample 2r+1, both of the class of the first.

    Returns:
        `(rows * STEPS, C, H, W)` in [0, 1].
    """
    spherical = sampler.predictor.generator.noise == "gaussian"
    noise = sampler.noise(range(2 * rows))
    path = torch.cat([between(noise[2 * row], noise[2 * row + 1], STEPS, spherical) for row in range(rows)])
    labels = sampler.label_of(range(rows))
    return sampler.images(path, None if labels is None else labels.repeat_interleave(STEPS))


def walk(sampler: Sampler, stops: int) -> Iterator[np.ndarray]:
    """Yield images `(H, W, 3)` uint8 of a walk through the samples 0, 1, ..., stops - 1 and back to the first."""
    spherical = sampler.predictor.generator.noise == "gaussian"
    noise, labels = sampler.noise(range(stops)), sampler.label_of([0])
    for start, end in pairwise([*noise, noise[0]]):
        part = between(start, end, WALK_IMAGES + 1, spherical)[:-1]
        for image in sampler.images(part, None if labels is None else labels.repeat(len(part))):
            yield enlarged(to_uint8(image), LEAST_GRID // 2)


def lacks_styles(option: str, predictor: Predictor) -> ConfigError:
    """Return the error for an option that a generator without styles does not have."""
    return ConfigError(
        f"[{option}] {predictor.name} has no styles; use a run with model.name={names_with('has_styles')}"
    )


def mixed_styles(sampler: Sampler, count: int) -> Tensor:
    """Generate a table that mixes the styles of two sets of samples.

    A cell has the styles of its row's first image in the coarser half of the layers, and those of its column's first
    image in the finer half.

    Returns:
        `((count + 1) ** 2, C, H, W)` in [0, 1], row by row.

    Raises:
        ConfigError: The generator has no styles.
    """
    generator = sampler.predictor.generator
    if not generator.num_styles:
        raise lacks_styles("--mix", sampler.predictor)
    numbers, device = range(2 * count), sampler.predictor.device
    labels = sampler.label_of(numbers)
    noise = sampler.noise(numbers).to(device)
    with torch.inference_mode(), generator.truncated(sampler.truncation):
        styles = generator.styles(noise, None if labels is None else labels.to(device))
        rows, columns, half = styles[:count], styles[count:], generator.num_styles // 2
        table = [rows[:, None].repeat(1, count, 1, 1)[row] for row in range(count)]
        for mixed in table:
            mixed[:, half:] = columns[:, half:]
        heads, sides, *cells = [generator.images_of_styles(part).cpu() for part in (columns, rows, *table)]
    lines = [torch.ones_like(heads[:1]), heads]
    for row, cell in enumerate(cells):
        lines += [sides[row : row + 1], cell]
    return torch.cat(lines)


def enlarged(image: np.ndarray, least: int = LEAST_GRID) -> np.ndarray:
    """Enlarge an image `(H, W, 3)` by the smallest whole factor that makes it `least` pixels tall, at most 16."""
    factor = min(16, max(1, -(-least // image.shape[0])))
    return image.repeat(factor, 0).repeat(factor, 1)


def write_grid(path: Path, images: Tensor, columns: int | None = None) -> None:
    """Write images `(N, C, H, W)` in [0, 1] as a grid. Raises StorageError."""
    write_png(path, enlarged(image_grid(images, columns)))


def write_samples(sampler: Sampler, count: int, output: Path, overwrite: bool = False) -> str:
    """Write samples to an .npz (images, labels), or as PNG files to a folder, with a subfolder per class.

    Returns:
        A line about it.

    Raises:
        StorageError: The output exists, or cannot be written.
    """
    if output.suffix.lower() == ".npz":
        check_output(output, overwrite, "--output", (".npz",))
        drawn = list(sampler.samples(count))
        images = np.stack([_pixels(image) for _, image, _ in drawn])
        arrays = {"images": images}
        if drawn[0][2] is not None:
            arrays["labels"] = np.array([label for _, _, label in drawn])
        with atomic_write(output) as temporary:
            np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
        return f"{output}: {count} samples as {' and '.join(arrays)}"
    if output.exists() and not output.is_dir():
        raise StorageError(f"the output is a file [{output}]; give a folder, an .npz or a .png")
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise StorageError(f"the output folder is not empty [{output}]; add --overwrite or choose another --output")
    names = class_names(sampler.predictor)
    for number, image, label in sampler.samples(count):
        file = (output if label is None else output / names[label]) / f"{number:06}.png"
        if not overwrite:
            must_be_new(file)
        write_png(file, to_uint8(image))
    return f"{output}: {count} samples, one image each"


def _pixels(image: Tensor) -> np.ndarray:
    """Convert an image to `(H, W)` or `(H, W, 3)` uint8."""
    pixels = to_uint8(image)
    return pixels[..., 0] if image.shape[0] == 1 else pixels
