"""Holes in images, filled: exactly by a mixture of Gaussians, by a search in latent space for other generators."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from vidpred.checkpoint import find_checkpoint
from vidpred.data.build import build_source
from vidpred.data.images.files import read_image, squared
from vidpred.data.images.windows import images_of
from vidpred.data.resize import with_channels
from vidpred.data.settings import AugmentSettings
from vidpred.errors import ConfigError
from vidpred.inference.discriminator import load_discriminator
from vidpred.inference.predictor import Predictor
from vidpred.inference.sample_images import write_grid
from vidpred.losses.gan_losses import ADVERSARIAL_LOSSES, AdversarialName
from vidpred.models.base import Discriminator
from vidpred.models.conditions import Conditions
from vidpred.models.noise import seeded_noise
from vidpred.models.pyramid import as_pyramid

RATE = 0.05  # Adam's, of the search
HOLE_SHADE = 0.5


@dataclass(frozen=True)
class Search:
    """A search in latent space. steps: of Adam. restarts: starts for each image, of which the best are kept.
    prior_weight: of what the discriminator says (or, without one, of the code's length). blend: shift what is painted
    so that it meets the known pixels."""

    steps: int = 300
    restarts: int = 4
    prior_weight: float = 0.003
    blend: bool = True


@dataclass(frozen=True)
class Completer:
    """A run that makes images, with the discriminator that it was trained against (None: it had none)."""

    predictor: Predictor
    discriminator: Discriminator | None = None
    adversarial: AdversarialName = "bce"

    @classmethod
    def load(cls, run: str | Path, checkpoint: str = "best", device: str = "auto") -> Completer:
        """Raises StorageError, and ConfigError for a run that predicts frames or has no images."""
        predictor = Predictor.load(run, checkpoint, device)
        if predictor.history_len or predictor.data.has_points:
            raise ConfigError(f"{predictor.name} makes no images from noise; use a run of dcgan_mnist.yaml, say")
        discriminator = load_discriminator(find_checkpoint(run, checkpoint), predictor.device)
        return (
            cls(predictor)
            if discriminator is None
            else cls(predictor, discriminator.network, cast(AdversarialName, discriminator.adversarial))
        )

    @property
    def side(self) -> int:
        """Of its images, in pixels."""
        return self.predictor.generator.shape.height

    def complete(
        self, images: Tensor, known: Tensor, count: int = 1, seed: int = 0, search: Search = Search(),
        label: int | None = None,
    ) -> Tensor:  # fmt: skip
        """`count` completions of each image, `(N, count, C, H, W)` in [0, 1], the known pixels as they were.

        images: `(N, C, H, W)` in [0, 1]; known: `(H, W)` of bool. The mixture's first is the mean of all that are
        possible, the others are drawn from them. Of a search the first is the one with the least cost.
        label: the class of all, for a generator that is told one. Raises ConfigError where it is missing.
        """
        generator = self.predictor.generator
        known = known.expand(images.shape[1:])
        if generator.has_density:
            expected = generator.cpu().expected(images, known)[:, None]
            if count == 1:
                return expected
            return torch.cat([expected, generator.completions(images, known, count - 1, seed)], 1)
        classes = generator.num_labels
        if classes and not (label is not None and 0 <= label < classes):
            raise ConfigError(f"[--label] the run is told the class of its images; give one from 0 to {classes - 1}")
        if not classes and label is not None:
            raise ConfigError("[--label] the run's generator knows no classes; leave it out")
        if search.restarts < count:
            raise ConfigError(f"[--restarts {search.restarts}] gives no {count} completions; raise it to {count}")
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            painted, costs = self._search(images, known, seed, search, label)
        best = costs.argsort(1)[:, :count]
        chosen = torch.stack([own[places] for own, places in zip(painted, best, strict=True)])
        whole = images[:, None].expand_as(chosen)
        chosen = blended(chosen, whole, known) if search.blend else chosen
        return torch.where(known, whole, chosen)

    def _search(
        self, images: Tensor, known: Tensor, seed: int, search: Search, label: int | None
    ) -> tuple[Tensor, Tensor]:
        """Minimise, over the noise z, |G(z) - image| on the known pixels plus prior_weight times log(1 - D(G(z)))
        (Yeh et al. 2017, "Semantic image inpainting with deep generative models", without the weights around the hole).
        Returns images `(N, restarts, C, H, W)` and what they cost `(N, restarts)`, on the CPU."""
        generator, device = self.predictor.generator, self.predictor.device
        count = len(images) * search.restarts
        noise = seeded_noise(generator, count, seed, 0).to(device).requires_grad_()
        wanted = images.repeat_interleave(search.restarts, 0).to(device)
        seen = known.to(device).float()
        labels = None if label is None else torch.full((count,), label, device=device)
        bounded = generator.noise != "gaussian"
        optimizer = torch.optim.Adam([noise], RATE)
        for step in range(search.steps + 1):
            with torch.random.fork_rng(range(torch.cuda.device_count())):  # a StyleGAN's noise is always the same
                scales = self._paint(noise, labels)
            painted = scales[-1][:, 0]
            apart = ((painted - wanted).abs() * seen).flatten(1).sum(1) / seen.sum()
            costs = apart + search.prior_weight * self._prior(scales, noise, labels)
            if step < search.steps:
                (noise.grad,) = torch.autograd.grad(costs.sum(), noise)
                optimizer.step()
                if bounded:
                    noise.data.clamp_(-1, 1)
        shape = (len(images), search.restarts)
        return painted.detach().clamp(0, 1).cpu().unflatten(0, shape), costs.detach().cpu().unflatten(0, shape)

    def _paint(self, noise: Tensor, labels: Tensor | None) -> list[Tensor]:
        generator = self.predictor.generator
        context = generator.empty_context(len(noise), noise.device)
        return as_pyramid(generator(context, **Conditions(noise, labels=labels).generator_kwargs(generator, 0, 0)))

    def _prior(self, scales: list[Tensor], noise: Tensor, labels: Tensor | None) -> Tensor:
        """How unlikely each image is, `(B,)`: by the discriminator, or by the density of Gaussian noise."""
        if self.discriminator is None:
            return noise.square().mean(1) / 2
        conditions = Conditions(labels=labels).discriminator_kwargs(self.discriminator)
        logits = self.discriminator(scales[-1][:, :0], scales, **conditions)
        kind = "minimax" if self.adversarial == "bce" else self.adversarial  # log(1 - D), as the paper has it
        return torch.stack([ADVERSARIAL_LOSSES[kind].generator(own) for own in logits])


def blended(painted: Tensor, images: Tensor, known: Tensor, rounds: int = 1000) -> Tensor:
    """What is painted in a hole, with its gradients, raised or lowered smoothly so that it meets the known pixels
    (Perez, Gangnet & Blake 2003, "Poisson image editing": the difference obeys Laplace's equation in the hole).

    `(..., C, H, W)` in [0, 1] twice, known `(C, H, W)` of bool; solved by so many rounds of Jacobi's method.
    """
    apart = ((images - painted) * known).flatten(0, -4)
    filled = apart
    for _ in range(rounds):
        padded = functional.pad(filled, (1, 1, 1, 1), mode="replicate")
        around = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
        filled = torch.where(known, apart, around / 4)
    return (painted + filled.view_as(painted)).clamp(0, 1)


def parse_hole(text: str | None, side: int) -> Tensor:
    """ "8,8,12,10" -> `(side, side)` of bool, False in the 12 columns from column 8 on and 10 rows from row 8 on; None:
    the middle half. Raises ConfigError."""
    text = text or f"{side // 4},{side // 4},{side // 2},{side // 2}"
    if not re.fullmatch(r"\d+,\d+,\d+,\d+", text):
        raise ConfigError(f"[--hole {text}] give left, top, width and height in pixels, as in 8,8,12,12")
    left, top, width, height = map(int, text.split(","))
    if not (width and height and left + width <= side and top + height <= side) or width * height == side**2:
        raise ConfigError(f"[--hole {text}] is no part of the run's images of {side}x{side} pixels; change it")
    known = torch.ones(side, side, dtype=torch.bool)
    known[top : top + height, left : left + width] = False
    return known


def read_mask(path: Path, side: int) -> Tensor:
    """An image that is bright where something is missing -> `(side, side)` of bool, False there. Raises DataError, and
    ConfigError where nothing or everything is missing."""
    mask = squared(with_channels(read_image(path), 1), side)[..., 0]
    known = torch.from_numpy(mask < 128)
    if bool(known.all()) or not bool(known.any()):
        raise ConfigError(f"[--mask {path}] is {'dark' if known.all() else 'bright'} everywhere; paint the hole white")
    return known


def images_to_complete(predictor: Predictor, files: Sequence[Path], count: int, split: str) -> Tensor:
    """The middle squares of image files, or `count` images of the run's own data, `(N, C, H, W)` in [0, 1]."""
    shape = predictor.generator.shape
    if not files:
        data = predictor.data.model_copy(update={"augment": AugmentSettings(horizontal_flip=False)})
        return images_of(build_source(data, split, [0]), count)
    read = [squared(with_channels(read_image(file), shape.channels), shape.height) for file in files]
    return torch.from_numpy(np.stack(read)).permute(0, 3, 1, 2).float() / 255


def write_completions(path: Path, images: Tensor, known: Tensor, completed: Tensor) -> str:
    """A row for each image: as it was, with its hole, completed; returns a line about it."""
    holed = torch.where(known, images, torch.full_like(images, HOLE_SHADE))
    columns = torch.cat([images[:, None], holed[:, None], completed], 1)
    write_grid(path, columns.flatten(0, 1), columns.shape[1])
    hole = (~known).float()
    apart = ((completed[:, 0] - images).abs() * hole).sum() / (hole.sum() * images.shape[0] * images.shape[1])
    return (
        f"{path}: {len(images)} rows, as it was, with its hole, completed; within the hole the first completion is "
        f"{float(apart):.4f} off on average (values in [0, 1])"
    )


@dataclass(frozen=True)
class CompletionRequest:
    """Which images to complete, and how.

    Attributes:
        output: A .png file: a row for each image.
        files: Image files; empty: images of the run's data.
        hole: Left, top, width and height in pixels, see `parse_hole`; None: the middle half.
        mask: Instead of a hole, an image that is bright where something is missing.
        count: Number of images of the run's data.
        split: Their split: test, validation or train.
        samples: Completions of each image.
        label: Class of all images, for a run that takes labels.
        seed: Seed of the search's starts, or of the draws.
        search: Settings of the search.
    """

    output: Path
    files: Sequence[Path] = ()
    hole: str | None = None
    mask: Path | None = None
    count: int = 8
    split: str = "test"
    samples: int = 1
    label: int | None = None
    seed: int = 0
    search: Search = Search()

    def __post_init__(self) -> None:
        """Raises ConfigError for a hole and a mask."""
        if self.hole and self.mask:
            raise ConfigError("[--hole, --mask] give one of them; both say what is missing")


def complete_images(completer: Completer, request: CompletionRequest) -> str:
    """Complete the images, write them and return a line about it. Raises ConfigError, DataError and StorageError."""
    side = completer.side
    known = read_mask(request.mask, side) if request.mask else parse_hole(request.hole, side)
    whole = images_to_complete(completer.predictor, request.files, request.count, request.split)
    completed = completer.complete(whole, known, request.samples, request.seed, request.search, request.label)
    return write_completions(request.output, whole, known, completed)
