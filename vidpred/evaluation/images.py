"""Evaluate runs that generate images: on features of a network, against held-out and nearest training images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidpred.data.build import build_source
from vidpred.data.images.windows import images_of
from vidpred.data.recorded_splits import with_root
from vidpred.data.settings import AugmentSettings, DataSettings
from vidpred.data.sources import Source, evenly_spaced
from vidpred.data.worlds.points import POINTS
from vidpred.errors import ConfigError, warn
from vidpred.evaluation.classifier import features_of, load_network, train_classifier
from vidpred.evaluation.frechet import distance_of
from vidpred.evaluation.image_metrics import (
    classifier_score,
    kernel_distance,
    memorized_share,
    nearest_neighbors,
    precision_and_recall,
)
from vidpred.evaluation.modes import POINTS as POINTS_DRAWN
from vidpred.evaluation.modes import draw_points, measure_coverage
from vidpred.evaluation.monte_carlo import roughness
from vidpred.evaluation.report import write_json
from vidpred.inference.discriminator import load_discriminator
from vidpred.inference.load_models import by_name, check_same_data, refuse_trained, warn_without_splits
from vidpred.inference.predictor import Predictor
from vidpred.inference.sample_images import Sampler, write_grid
from vidpred.media.text_table import format_table

MOST_TRAINING = 20_000
SHOWN = 10
FEW_IMAGES = 500  # several times the 64 features of the small classifier, whose covariances the distance compares
NAMES = {
    "frechet": "squared Frechet distance of {features} between the samples and the {split} images; lower is better",
    "frechet_of_training": "the same between as many training images and the {split} images: the value to reach",
    "kernel_distance": "squared maximum mean discrepancy (cubic kernel, unbiased) of the same features, mean over 50 "
    "blocks of at most 1,000 images; lower is better, 0: the same distribution",
    "kernel_distance_std": "its standard deviation over the blocks",
    "precision": "share of samples within the distance of a {split} image's third nearest one from it, in the same "
    "features",
    "recall": "share of {split} images within the distance of a sample's third nearest sample from it",
    "classifier_score": "exp E KL(p(y|x) | p(y)) of the class probabilities of the same network, from 1 to the number "
    "of classes",
    "relative_roughness": "mean absolute difference of neighboring pixels (`roughness`) relative to the {split} "
    "images: below 1 is blurred, above 1 is noisy",
    "class_accuracy": "share of at most {most:,} {split} images that the run's discriminator classifies correctly",
    "memorized_share": "share of samples nearer (pixels, mean square) to one of at most {most:,} training images than "
    "half of the {split} images are; 0.5: as new as those, but blur counts as nearness",
    "modes_covered": "Gaussians with a sample within 3 standard deviations",
    "high_quality_share": "share of samples within 3 standard deviations of a Gaussian",
    "divergence": "KL of the shares of samples per Gaussian from equal shares",
}


@dataclass(frozen=True)
class ImageEvaluation:
    """The numbers of several runs.

    Attributes:
        numbers: Run -> metric -> value.
        definitions: Metric -> what it is.
        count: Number of samples.
        neighbors: Run -> a row of samples, then the nearest training image of each.
    """

    numbers: dict[str, dict[str, float]]
    definitions: dict[str, str]
    count: int
    neighbors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """The metrics that at least one run has."""
        return list(dict.fromkeys(name for values in self.numbers.values() for name in values))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the head and the rows of a table as cells: the run's name, then a cell for every metric."""
        rows = [
            [run, *(f"{values[name]:.4g}" if name in values else "-" for name in self.metrics)]
            for run, values in self.numbers.items()
        ]
        return ["", *self.metrics], rows

    def __str__(self) -> str:
        return self.text()

    def text(self) -> str:
        """Return a table of the numbers, with their definitions below it."""
        definitions = [f"{name}: {self.definitions[name]}" for name in self.metrics]
        return "\n".join([*format_table(*self.table(), 20), "", *definitions])


@dataclass(frozen=True)
class ImageRequest:
    """A request to measure images.

    Attributes:
        split: Split of the first run's data: test, validation or train.
        count: Number of samples to draw from every run, and of the split's images to compare them with.
        features: A network (torch.export); None: train a small classifier on the labeled training images.
        root: Images to use instead of the run's.
        seed: Noise seed.
    """

    split: str = "test"
    count: int = 2000
    features: Path | None = None
    root: str | None = None
    seed: int = 0


def evaluate_images(predictors: dict[str, Predictor], request: ImageRequest = ImageRequest()) -> ImageEvaluation:
    """Compare samples of every run with images of a split of the first run's data.

    Raises:
        ConfigError: The runs are of different images.
        DataError: There are no images, or no classes to train a classifier on.
    """
    data = common_image_settings(list(predictors.values()), request.root)
    if request.split != "train":
        refuse_trained(list(predictors.values()), data, request.split)
    if data.root is None:
        world = POINTS[data.world_settings.name]
        numbers = {
            name: asdict(measure_coverage(draw_points(predictor.generator, seed=request.seed), world))
            for name, predictor in predictors.items()
        }
        return ImageEvaluation(numbers, NAMES, POINTS_DRAWN)
    plain = data.model_copy(update={"labeled": None, "augment": AugmentSettings(horizontal_flip=False)})
    if request.root is None:
        for predictor in predictors.values():
            warn_without_splits(predictor)
    train, held_out = build_source(plain, "train", [0]), build_source(plain, request.split, [0], progress=True)
    features = request.features
    network: Callable[[Tensor], Any] | None = load_network(features) if features else None
    if network is None and len(train.classes) > 1:
        network = train_classifier(train)
    if network is None:
        warn(
            f"no Frechet distance, because the images have no classes to learn features from "
            f"[{train.name}]; give --features NETWORK.pt, or sort them into one folder a class"
        )
    what = f"the features of {features}" if features else "64 features of a small classifier of the set's classes"
    true, training = images_of(held_out, request.count), images_of(train, MOST_TRAINING)
    _warn_of_few(len(true), request.split)
    numbers, neighbors = {}, {}
    for name, predictor in predictors.items():
        # Truncation hides the weaknesses of a generator, so it is off here (as in Karras et al. 2019).
        truncation = 1.0 if predictor.generator.num_styles else None
        sampler = Sampler(predictor, request.seed, truncation=truncation)
        samples = torch.stack([image for _, image, _ in sampler.samples(request.count)])
        numbers[name] = compare_samples(network, samples, true, training) | class_accuracy(predictor, held_out)
        nearest = nearest_neighbors(samples[:SHOWN], training).numbers
        neighbors[name] = torch.cat([samples[:SHOWN], training[nearest]])
    definitions = {
        name: text.format(features=what, split=request.split, most=MOST_TRAINING) for name, text in NAMES.items()
    }
    return ImageEvaluation(numbers, definitions, request.count, neighbors)


def are_image_models(predictors: Iterable[Predictor]) -> bool:
    """Return whether all runs generate images, or points, and none predicts frames.

    Raises:
        ConfigError: There are runs of both kinds.
    """
    names: dict[bool, str] = {bool(predictor.history_len): predictor.name for predictor in predictors}
    if len(names) > 1:
        raise ConfigError(
            f"{names[True]} predicts frames and {names[False]} generates images; evaluate runs of one kind at a time"
        )
    return False in names


def common_image_settings(predictors: Sequence[Predictor], root: str | None) -> DataSettings:
    """Return the data settings of the images to measure all predictors against. Raises ConfigError."""
    data = with_root(predictors[0].data, root)
    same = ["channels", "crop_size", "size", "context_frames"]
    if root is None:  # each is measured against the first one's images
        same += ["root", "world_settings.name"] if data.root is None else ["root"]
    check_same_data(predictors, "evaluate them one by one", same)
    return data


def _warn_of_few(count: int, split: str) -> None:
    """Warn on stderr about too few images for the Fréchet distance, whose covariances they determine."""
    if count < FEW_IMAGES:
        warn(
            f"{count} images of the {split} split are measured; below {FEW_IMAGES} the Frechet "
            "distance is mostly noise; use a larger split (data.split_fractions, --split) or --count"
        )


def evaluate_runs(
    predictors: Sequence[Predictor], request: ImageRequest, numbers: Path | None = None, neighbors: Path | None = None
) -> str:
    """Measure image generators, see `evaluate_images`; return the table for the terminal.

    Args:
        predictors: The runs.
        request: What to measure.
        numbers: JSON file to write; None: none.
        neighbors: Image of samples and their nearest training images to write; None: none.
    """
    found = evaluate_images(by_name(predictors), request)
    if numbers:
        content = {
            "numbers": {
                run: {name: value if math.isfinite(value) else None for name, value in values.items()}
                for run, values in found.numbers.items()
            },
            "definitions": found.definitions,
            "samples": found.count,
            "split": request.split,
        }
        write_json(numbers, content)
    if neighbors:
        if not found.neighbors:
            raise ConfigError(f"[--neighbors {neighbors}] the run generates points, not images; leave it out")
        write_neighbors(neighbors, found)
    return found.text()


def compare_samples(
    network: Callable[[Tensor], Any] | None, samples: Tensor, held_out: Tensor, training: Tensor
) -> dict[str, float]:
    """Measure samples against held-out and training images, all `(N, C, H, W)` in [0, 1].

    Args:
        network: Images -> features, and optionally logits; None: only measures of the pixels.
        samples: Generated images.
        held_out: True images that were not trained on.
        training: Training images, to find copies of.

    Returns:
        Values by metric name, see `NAMES`.
    """
    numbers: dict[str, float] = {}
    if network is not None:
        sampled, logits = features_of(network, samples)
        true, _ = features_of(network, held_out)
        trained, _ = features_of(network, training[evenly_spaced(len(training), len(samples), middle=False)])
        numbers = {"frechet": distance_of(sampled, true), "frechet_of_training": distance_of(trained, true)}
        numbers |= feature_distances(sampled, true)
        if logits is not None:
            numbers["classifier_score"] = classifier_score(logits)[0]
    numbers["relative_roughness"] = float(roughness(samples).mean() / roughness(held_out).mean())
    some_held_out = held_out[evenly_spaced(len(held_out), 500, middle=False)]
    return numbers | {"memorized_share": memorized_share(samples[:500], some_held_out, training)}


def feature_distances(sampled: Tensor, true: Tensor) -> dict[str, float]:
    """Measure kernel distance, precision and recall of features `(N, F)` by name; none if N is below four."""
    if min(len(sampled), len(true)) < 4:
        return {}
    kernel = kernel_distance(sampled, true)
    precision, recall = precision_and_recall(sampled, true)
    return {
        "kernel_distance": kernel.mean,
        "kernel_distance_std": kernel.std,
        "precision": precision,
        "recall": recall,
    }


def class_accuracy(predictor: Predictor, held_out: Source) -> dict[str, float]:
    """Compute the class accuracy of a semi-supervised run's discriminator; empty for other runs, or without classes."""
    labels, checkpoint = held_out.labels, predictor.checkpoint
    discriminator = None if checkpoint is None else load_discriminator(checkpoint, predictor.device)
    if discriminator is None or not discriminator.classes or labels is None or not len(labels):
        return {}
    predicted = discriminator.class_logits(images_of(held_out, MOST_TRAINING)).argmax(1)
    correct = predicted == torch.from_numpy(labels[evenly_spaced(len(labels), MOST_TRAINING, middle=False)])
    return {"class_accuracy": float(correct.double().mean())}


def write_neighbors(path: Path, evaluation: ImageEvaluation) -> None:
    """Draw a row of samples for every run, with the nearest training image below each."""
    write_grid(path, torch.cat(list(evaluation.neighbors.values())), SHOWN)
