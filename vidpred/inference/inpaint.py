"""Fill holes in images: exactly with a mixture of Gaussians, by a search in latent space with other generators."""

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
from vidpred.data.images.decode import read_image
from vidpred.data.images.files import center_square
from vidpred.data.images.windows import images_of
from vidpred.data.resize import with_channels
from vidpred.data.settings import AugmentSettings
from vidpred.data.sources import to_frames
from vidpred.errors import ConfigError, counted
from vidpred.inference.discriminator import load_discriminator
from vidpred.inference.predictor import Predictor
from vidpred.inference.sample_images import write_grid
from vidpred.losses.gan_losses import ADVERSARIAL_LOSSES, AdversarialName
from vidpred.models.base import Discriminator
from vidpred.models.conditions import Conditions
from vidpred.models.eager_optimizers import eager
from vidpred.models.noise import seeded_noise
from vidpred.models.pyramid import as_pyramid

RATE = 0.05  # Adam's learning rate in the search
HOLE_SHADE = 0.5


@dataclass(frozen=True)
class Search:
    """Settings of the search in latent space.

    Attributes:
        steps: Steps of Adam.
        restarts: Starts per image, of which the best are kept.
        prior_weight: Weight of the discriminator's loss (without a discriminator, of the noise's squared length).
        blend: Whether to shift the filled pixels so that they match the pixels around them.
    """

    steps: int = 300
    restarts: int = 4
    prior_weight: float = 0.003
    blend: bool = True


@dataclass(frozen=True)
class Completer:
    """A run that generates images, with the discriminator that it was trained against, if there was one."""

    predictor: Predictor
    discriminator: Discriminator | None = None
    adversarial: AdversarialName = "bce"

    @classmethod
    def load(cls, run: str | Path, checkpoint: str = "best", device: str = "auto") -> Completer:
        """Load a run. Raises StorageError, and ConfigError for a run that predicts frames or generates points."""
        predictor = Predictor.load(run, checkpoint, device)
        if predictor.history_len or predictor.data.has_points:
            raise ConfigError(
                f"{predictor.name} generates no images from noise; use a run of, for example, dcgan_mnist.yaml"
            )
        discriminator = load_discriminator(find_checkpoint(run, checkpoint), predictor.device)
        return (
            cls(predictor)
            if discriminator is None
            else cls(predictor, discriminator.network, cast(AdversarialName, discriminator.adversarial))
        )

    @property
    def side(self) -> int:
        """The side of the images in pixels."""
        return self.predictor.generator.shape.height

    def complete(
        self, images: Tensor, known: Tensor, count: int = 1, seed: int = 0, search: Search = Search(),
        label: int | None = None,
    ) -> Tensor:  # fmt: skip
        """Complete images; known pixels stay unchanged.

        Args:
            images: `(N, C, H, W)` in [0, 1].
            known: The known pixels, `(H, W)` bool.
            count: Number of completions of each image.
            seed: Seed of the search's starts, or of the mixture's samples.
            search: Settings of the search.
            label: Class of all images, for a generator that takes labels.

        Returns:
            `(N, count, C, H, W)` in [0, 1]. A mixture's first completion is the conditional mean, the others are
            samples. Completions from a search are sorted by cost, lowest first.

        Raises:
            ConfigError: The label is missing, unexpected or unknown, or there are fewer restarts than completions.
        """
        generator = self.predictor.generator
        known = known.expand(images.shape[1:])
        if generator.has_density:
            with self.predictor.on_cpu():
                expected = generator.expected(images, known)[:, None]
                if count == 1:
                    return expected
                return torch.cat([expected, generator.completions(images, known, count - 1, seed)], 1)
        classes = generator.num_labels
        if classes and not (label is not None and 0 <= label < classes):
            raise ConfigError(f"[--label] the run's generator takes classes; give one from 0 to {classes - 1}")
        if not classes and label is not None:
            raise ConfigError("[--label] the run's generator takes no classes; leave it out")
        if search.restarts < count:
            raise ConfigError(f"[--restarts {search.restarts}] is too few for {count} completions; raise it to {count}")
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            generated, costs = self._search(images, known, seed, search, label)
        best = costs.argsort(1)[:, :count]
        chosen = torch.stack([own[places] for own, places in zip(generated, best, strict=True)])
        whole = images[:, None].expand_as(chosen)
        chosen = blended(chosen, whole, known) if search.blend else chosen
        return torch.where(known, whole, chosen)

    def _search(
        self, images: Tensor, known: Tensor, seed: int, search: Search, label: int | None
    ) -> tuple[Tensor, Tensor]:
        """Minimize, over the noise z, |G(z) - image| on the known pixels plus prior_weight times log(1 - D(G(z))).

        Yeh et al. 2017, "Semantic image inpainting with deep generative models", without the weights around the hole.

        Returns:
            Images `(N, restarts, C, H, W)` and their costs `(N, restarts)`, on the CPU.
        """
        generator, device = self.predictor.generator, self.predictor.device
        count = len(images) * search.restarts
        noise = seeded_noise(generator, count, seed, 0).to(device).requires_grad_()
        target = images.repeat_interleave(search.restarts, 0).to(device)
        weights = known.to(device).float()
        labels = None if label is None else torch.full((count,), label, device=device)
        bounded = generator.noise != "gaussian"
        optimizer = eager(torch.optim.Adam)([noise], RATE)
        for step in range(search.steps + 1):
            with torch.random.fork_rng(range(torch.cuda.device_count())):  # keeps a StyleGAN's noise constant
                scales = self._generate(noise, labels)
            generated = scales[-1][:, 0]
            apart = ((generated - target).abs() * weights).flatten(1).sum(1) / weights.sum()
            costs = apart + search.prior_weight * self._prior(scales, noise, labels)
            if step < search.steps:
                (noise.grad,) = torch.autograd.grad(costs.sum(), noise)
                optimizer.step()
                if bounded:
                    noise.data.clamp_(-1, 1)
        shape = (len(images), search.restarts)
        return generated.detach().clamp(0, 1).cpu().unflatten(0, shape), costs.detach().cpu().unflatten(0, shape)

    def _generate(self, noise: Tensor, labels: Tensor | None) -> list[Tensor]:
        generator = self.predictor.generator
        context = generator.empty_context(len(noise), noise.device)
        return as_pyramid(generator(context, **Conditions(noise, labels=labels).generator_kwargs(generator, 0, 0)))

    def _prior(self, scales: list[Tensor], noise: Tensor, labels: Tensor | None) -> Tensor:
        """Compute the prior's loss of each image, `(B,)`: by the discriminator, or by the density of Gaussian noise."""
        if self.discriminator is None:
            return noise.square().mean(1) / 2
        conditions = Conditions(labels=labels).discriminator_kwargs(self.discriminator)
        logits = self.discriminator(scales[-1][:, :0], scales, **conditions)
        kind = "minimax" if self.adversarial == "bce" else self.adversarial  # log(1 - D), as in the paper
        return torch.stack([ADVERSARIAL_LOSSES[kind].generator(own) for own in logits])


def blended(generated: Tensor, images: Tensor, known: Tensor, rounds: int = 1000) -> Tensor:
    """Shift the generated pixels of a hole smoothly, so that they match the known pixels and keep their gradients.

    Perez, Gangnet & Blake 2003, "Poisson image editing": the shift satisfies Laplace's equation in the hole.

    Args:
        generated: `(..., C, H, W)` in [0, 1].
        images: Images with the known pixels, of the same shape.
        known: The known pixels, `(C, H, W)` bool.
        rounds: Iterations of Jacobi's method.

    Returns:
        `(..., C, H, W)` in [0, 1].
    """
    apart = ((images - generated) * known).flatten(0, -4)
    filled = apart
    for _ in range(rounds):
        padded = functional.pad(filled, (1, 1, 1, 1), mode="replicate")
        around = padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
        filled = torch.where(known, apart, around / 4)
    return (generated + filled.view_as(generated)).clamp(0, 1)


def parse_hole(text: str | None, side: int) -> Tensor:
    """Parse a hole into a mask of the known pixels.

    Args:
        text: Left, top, width and height in pixels: "8,8,12,10" is the 12 columns from 8 on and 10 rows from 8 on;
            None: the middle half.
        side: Side of the images in pixels.

    Returns:
        `(side, side)` bool, False in the hole.

    Raises:
        ConfigError: The text has another form, or the hole is empty, the whole image or outside of it.
    """
    text = text or f"{side // 4},{side // 4},{side // 2},{side // 2}"
    if not re.fullmatch(r"\d+,\d+,\d+,\d+", text):
        raise ConfigError(f"[--hole {text}] give left, top, width and height in pixels, as in 8,8,12,12")
    left, top, width, height = map(int, text.split(","))
    if not (width and height and left + width <= side and top + height <= side) or width * height == side**2:
        raise ConfigError(f"[--hole {text}] is not a part of the run's {side}x{side} images; change it")
    known = torch.ones(side, side, dtype=torch.bool)
    known[top : top + height, left : left + width] = False
    return known


def read_mask(path: Path, side: int) -> Tensor:
    """Read a mask image, which is bright in the hole: `(side, side)` bool, False in the hole.

    Raises:
        DataError: The file cannot be read.
        ConfigError: The hole is empty or the whole image.
    """
    mask = center_square(with_channels(read_image(path), 1), side)[..., 0]
    known = torch.from_numpy(mask < 128)
    if bool(known.all()) or not bool(known.any()):
        raise ConfigError(f"[--mask {path}] is {'dark' if known.all() else 'bright'} everywhere; paint the hole white")
    return known


def images_to_complete(predictor: Predictor, files: Sequence[Path], count: int, split: str) -> Tensor:
    """Return the center squares of image files, or `count` images of the run's data, `(N, C, H, W)` in [0, 1]."""
    shape = predictor.generator.shape
    if not files:
        data = predictor.data.model_copy(update={"augment": AugmentSettings(horizontal_flip=False)})
        return images_of(build_source(data, split, [0]), count)
    read = [center_square(with_channels(read_image(file), shape.channels), shape.height) for file in files]
    return to_frames(np.stack(read))


def write_completions(path: Path, images: Tensor, known: Tensor, completed: Tensor) -> str:
    """Write a row for each image: the original, with its hole, completed; return a line about it."""
    holed = torch.where(known, images, torch.full_like(images, HOLE_SHADE))
    columns = torch.cat([images[:, None], holed[:, None], completed], 1)
    write_grid(path, columns.flatten(0, 1), columns.shape[1])
    hole = (~known).float()
    apart = ((completed[:, 0] - images).abs() * hole).sum() / (hole.sum() * images.shape[0] * images.shape[1])
    return (
        f"{path}: {counted(len(images), 'row')}: original, with its hole, completed; mean absolute error of the "
        f"first completion in the hole: {float(apart):.4f} (values in [0, 1])"
    )


@dataclass(frozen=True)
class CompletionRequest:
    """A request to complete images.

    Attributes:
        output: A .png file, with a row for each image.
        files: Image files; empty: images of the run's data.
        hole: Left, top, width and height in pixels, see `parse_hole`; None: the middle half.
        mask: Instead of `hole`, an image that is bright in the hole.
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
        """Check that there is a hole or a mask, not both. Raises ConfigError."""
        if self.hole and self.mask:
            raise ConfigError("[--hole, --mask] exclude each other; give one of them")


def complete_images(completer: Completer, request: CompletionRequest) -> str:
    """Complete the images, write them and return a line about it. Raises ConfigError, DataError and StorageError."""
    side = completer.side
    known = read_mask(request.mask, side) if request.mask else parse_hole(request.hole, side)
    whole = images_to_complete(completer.predictor, request.files, request.count, request.split)
    completed = completer.complete(whole, known, request.samples, request.seed, request.search, request.label)
    return write_completions(request.output, whole, known, completed)
