"""Runs that make images, measured: on features of a network, against held-out images, with the nearest training
image beside each sample."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidpred.data.build import build_source
from vidpred.data.images.windows import images_of
from vidpred.data.settings import AugmentSettings, DataSettings
from vidpred.data.sources import Source, spread
from vidpred.data.worlds.points import POINTS
from vidpred.errors import ConfigError
from vidpred.evaluation.classifier import features_of, load_network, train_classifier
from vidpred.evaluation.evaluate import named
from vidpred.evaluation.frechet import distance_of
from vidpred.evaluation.image_metrics import classifier_score, memorized_share, nearest_neighbors
from vidpred.evaluation.modes import POINTS as POINTS_DRAWN
from vidpred.evaluation.modes import coverage, draw_points
from vidpred.evaluation.monte_carlo import roughness
from vidpred.files import write_file
from vidpred.inference.discriminator import load_discriminator
from vidpred.inference.predictor import Predictor
from vidpred.inference.sample_images import Sampler, write_grid
from vidpred.media.text_table import format_table

MOST_TRAINING = 20_000
SHOWN = 10
NAMES = {
    "frechet": "squared Frechet distance of {features} between the samples and the {split} images; lower is better",
    "frechet_of_training": "the same between as many training images and the {split} images: what to reach",
    "classifier_score": "exp E KL(p(y|x) | p(y)) of the classes that the same network sees, from 1 to their number",
    "sharpness": "mean absolute difference of neighbouring pixels (`roughness`), that of the {split} images being 1: "
    "below it they are blurred, above it noisy",
    "class_accuracy": "share of at most {most:,} {split} images whose class the run's discriminator names",
    "copied": "share of samples nearer (pixels, mean square) to one of at most {most:,} training images than half of "
    "the {split} images are; 0.5: as new, but blur counts as nearness",
    "covered": "Gaussians with a sample within 3 deviations",
    "good": "share of samples within 3 deviations of a Gaussian",
    "divergence": "KL of how often each Gaussian is hit against equally often",
}


@dataclass(frozen=True)
class ImageEvaluation:
    """numbers: run -> name -> value. definitions: of the names."""

    numbers: dict[str, dict[str, float]]
    definitions: dict[str, str]
    count: int
    neighbors: dict[str, Tensor] = field(default_factory=dict)  # run -> samples above their nearest training images

    def text(self) -> str:
        names = list(dict.fromkeys(name for values in self.numbers.values() for name in values))
        rows = [
            [run, *(f"{values[name]:.4g}" if name in values else "-" for name in names)]
            for run, values in self.numbers.items()
        ]
        return "\n".join(
            [*format_table(["", *names], rows, 20), "", *(f"{name}: {self.definitions[name]}" for name in names)]
        )


@dataclass(frozen=True)
class ImageRequest:
    """Which images to measure, and how.

    Attributes:
        split: Split of the first run's data: test, validation or train.
        count: Number of samples to draw from every run, and of the split's images to compare them with.
        features: A network (torch.export); None: a small classifier trained here on labelled training images.
        root: Other images than the run's.
        seed: Noise seed.
    """

    split: str = "test"
    count: int = 2000
    features: Path | None = None
    root: str | None = None
    seed: int = 0


def evaluate_images(predictors: dict[str, Predictor], request: ImageRequest = ImageRequest()) -> ImageEvaluation:
    """Compare samples of every run with images of a split of the first one's data.

    Raises ConfigError for runs of different images, DataError where there are none or no classes.
    """
    data = images_of_all(predictors.values(), request.root)
    if data.root is None:
        centres = POINTS[data.world_settings.name]
        covered = {
            name: asdict(coverage(draw_points(predictor.generator, seed=request.seed), centres))
            for name, predictor in predictors.items()
        }
        return ImageEvaluation(covered, NAMES, POINTS_DRAWN)
    plain = data.model_copy(update={"labelled": None, "augment": AugmentSettings(horizontal_flip=False)})
    train, held_out = (build_source(plain, part, [0]) for part in ("train", request.split))
    features = request.features
    network: Callable[[Tensor], Any] = load_network(features) if features else train_classifier(train)
    what = f"the features of {features}" if features else "64 features of a small classifier of the set's classes"
    true, known = images_of(held_out, request.count), images_of(train, MOST_TRAINING)
    numbers, beside = {}, {}
    for name, predictor in predictors.items():
        # Truncation hides what a generator cannot do: it is measured whole (Karras et al. 2019 do so, too).
        whole = 1.0 if predictor.generator.num_styles else None
        sampler = Sampler(predictor, request.seed, truncation=whole)
        samples = torch.stack([image for _, image, _ in sampler.samples(request.count)])
        numbers[name] = compare(network, samples, true, known) | class_accuracy(predictor, held_out)
        near = nearest_neighbors(samples[:SHOWN], known).numbers
        beside[name] = torch.cat([samples[:SHOWN], known[near]])
    definitions = {
        name: text.format(features=what, split=request.split, most=MOST_TRAINING) for name, text in NAMES.items()
    }
    return ImageEvaluation(numbers, definitions, request.count, beside)


def images_of_all(predictors: Iterable[Predictor], root: str | None) -> DataSettings:
    """Return the data settings of the images that all predictors are measured against. Raises ConfigError."""
    settings = [predictor.data for predictor in predictors]
    data = settings[0] if root is None else settings[0].model_copy(update={"root": root})
    same = ["channels", "crop_size", "size", "context_frames"]
    if root is None:  # each is measured against the first one's images
        same += ["root", "world.name"] if data.root is None else ["root"]
    for key in same:
        read = attrgetter(key.replace("world.", "world_settings."))
        found = sorted({str(read(one)) for one in settings})
        if len(found) > 1:
            raise ConfigError(f"the runs differ [data.{key}: {', '.join(found)}]; evaluate one by one")
    return data


def evaluate_runs(
    predictors: Sequence[Predictor], request: ImageRequest, numbers: Path | None = None, neighbors: Path | None = None
) -> str:
    """Return the table of `evaluate_images`; write it as JSON and the image of neighbours where asked for."""
    found = evaluate_images(dict(zip(named(predictors), predictors, strict=True)), request)
    if numbers:
        content = {
            "numbers": found.numbers,
            "definitions": found.definitions,
            "samples": found.count,
            "split": request.split,
        }
        write_file(numbers, json.dumps(content, indent=1))
    if neighbors:
        if not found.neighbors:
            raise ConfigError(f"[--neighbors {neighbors}] points in the plane have no images; leave it out")
        write_neighbors(neighbors, found)
    return found.text()


def compare(network: Callable[[Tensor], Any], samples: Tensor, held_out: Tensor, known: Tensor) -> dict[str, float]:
    """The numbers of one set of samples `(N, C, H, W)`."""
    drawn, logits = features_of(network, samples)
    true, _ = features_of(network, held_out)
    again, _ = features_of(network, known[spread(len(known), len(held_out), middle=False)])
    numbers = {"frechet": distance_of(drawn, true), "frechet_of_training": distance_of(again, true)}
    if logits is not None:
        numbers["classifier_score"] = classifier_score(logits)[0]
    numbers["sharpness"] = float(roughness(samples).mean() / roughness(held_out).mean())
    return numbers | {
        "copied": memorized_share(samples[:500], held_out[spread(len(held_out), 500, middle=False)], known)
    }


def class_accuracy(predictor: Predictor, held_out: Source) -> dict[str, float]:
    """How often the discriminator of a semi-supervised run is right; nothing for other runs, or without classes."""
    labels = held_out.labels
    judge = None if predictor.checkpoint is None else load_discriminator(predictor.checkpoint, predictor.device)
    if judge is None or not judge.classes or labels is None or not len(labels):
        return {}
    named = judge.class_logits(images_of(held_out, MOST_TRAINING)).argmax(1)
    right = named == torch.from_numpy(labels[spread(len(labels), MOST_TRAINING, middle=False)])
    return {"class_accuracy": float(right.double().mean())}


def write_neighbors(path: Path, evaluation: ImageEvaluation) -> None:
    """For every run a row of samples, above the training images that are nearest to them."""
    write_grid(path, torch.cat(list(evaluation.neighbors.values())), SHOWN)
