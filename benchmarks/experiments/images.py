"""Experiments with image generators: points in the plane, Fashion-MNIST, growth and styles."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.experiments.base import Experiment
from vidpred.config import load_config
from vidpred.data.build import build_source
from vidpred.data.images.windows import images_of
from vidpred.data.partial_labels import choose_evenly
from vidpred.data.recorded_splits import with_root
from vidpred.data.settings import AugmentSettings, DataSettings
from vidpred.data.sources import evenly_spaced, to_frames
from vidpred.data.worlds.points import POINTS
from vidpred.evaluation.classifier import features_of, train_classifier
from vidpred.evaluation.details import detail_clips, painted_share
from vidpred.evaluation.images import MOST_TRAINING, class_accuracy
from vidpred.evaluation.modes import draw_points, measure_coverage
from vidpred.inference.predictor import Predictor
from vidpred.inference.sample_images import Sampler, enlarged, mixed_styles, write_grid, write_samples
from vidpred.media.render import image_grid, write_png
from vidpred.run import train

# The folder of the four IDX files, by default that of Debian's package dataset-fashion-mnist.
FASHION = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
POINT_PRESETS = ("gaussians_gan", "gaussians_minibatch", "gaussians_r1", "gaussians_wgan_gp")
SAMPLES = 10_000
# For short trainings: half the presets' width, and a learning rate that decays.
HALF = {"model.width": 32, "discriminator.width": 32}
FALLING = {"training.schedule.shape": "linear", "training.schedule.hold": 0.5, "training.schedule.final": 0.05}


def hurried(generator: float, discriminator: float) -> dict[str, Any]:
    """Return the settings of a short training with these learning rates."""
    rates = {"training.generator.learning_rate": generator, "training.discriminator.learning_rate": discriminator}
    return {**HALF, **FALLING, **rates, "training.batch_size": 64, "training.ema_decay": 0.995}


def points(
    folder: Path, seed: int, changes: dict[str, Any] | None = None, presets: Sequence[str] = POINT_PRESETS
) -> dict[str, Any]:
    """Measure covered Gaussians of 25 and the share of good samples for each preset, with the averaged weights."""
    found = {}
    for name in presets:
        run = train(load_config(f"{name}.yaml", {"run": str(folder / name), "seed": seed, **(changes or {})}))
        covered = measure_coverage(
            draw_points(run.predictor("last").generator, SAMPLES, seed), POINTS["twenty_five_gaussians"]
        )
        found[name] = {**vars(covered), "samples": SAMPLES}
    return found


def growth(
    folder: Path, seed: int, preset: str = "stylegan", root: Path = FASHION, steps: int = 3000, width: int = 64
) -> dict[str, Any]:
    """Train a StyleGAN or progressive GAN of 32 pixels on clothes.

    Writes a grid with samples of every stage of growth, and for StyleGAN a table of mixed styles.
    """
    every = max(1, steps // 14)
    settings = {
        "data.root": str(root), "data.size": 32, "data.crop_size": 32, "data.channels": 1, "data.num_workers": 0,
        "model.width": width, "discriminator.width": width, "model.noise_channels": width, "training.steps": steps,
        "checkpoint.every": every, "checkpoint.keep": 20, "run": str(folder / preset), "seed": seed,
        "training.ema_decay": 0.995,
    }  # fmt: skip
    run = train(load_config(f"{preset}.yaml", settings))
    rows, stages = [], {}
    for step in sorted(int(path.name[5:]) for path in (run.folder / "checkpoints").glob("step-*")):
        predictor = Predictor.load(run.folder, f"step-{step}")
        stages[str(step)] = round(float(predictor.generator.progress), 3)
        rows += [image for _, image, _ in Sampler(predictor, seed).samples(12)]
    write_png(folder / "growth.png", enlarged(image_grid(torch.stack(rows), 12)))
    if preset == "stylegan":
        write_grid(folder / "mixed.png", mixed_styles(Sampler(run.predictor("last"), seed), 6), 7)
    return {"scales_by_step": stages}


def lotter(folder: Path, seed: int, steps: int, world: str) -> dict[str, Predictor]:
    """Train with squared error, then the same number of steps with squared error or with an adversary."""
    shared = {"seed": seed, "training.steps": steps, "data.world.name": world}
    start = train(load_config("lotter_mse.yaml", {**shared, "run": str(folder / "start")}))
    found = {}
    for name in ("lotter_mse", "lotter_adversarial"):
        own = {**shared, "run": str(folder / name), "training.init_from": str(start.folder)}
        found[name] = train(load_config(f"{name}.yaml", own)).predictor("last")
    return found


def psnr(frames: Tensor, true: Tensor) -> float:
    """Return the mean PSNR over frames `(N, C, H, W)`, in dB."""
    return round(float(-10 * (frames - true).square().mean((1, 2, 3)).log10().mean()), 3)


def solids(folder: Path, seed: int, steps: int = 5000, count: int = 500) -> dict[str, Any]:
    """Measure the share of a rotating head's ears and rod in the next frame, without and with an adversary."""
    context, true, bare = detail_clips(count, 5, seed=99, side=32)
    found, shown = {}, [context[:8, -1], true[:8]]
    for name, predictor in lotter(folder, seed, steps, "rotating_solids").items():
        frames = predictor.predict(context, num_frames=1)[:, 0]
        shares = painted_share(frames, true, bare)
        found[name] = {
            "painted_share": round(float(shares.mean()), 4),
            "standard_error": round(float(shares.std() / len(shares) ** 0.5), 4),
            "psnr": psnr(frames, true),
        }
        shown.append(frames[:8])
    write_grid(folder / "solids.png", torch.cat(shown), 8)  # last context frame, true, squared error, adversary
    return found


def balls(folder: Path, seed: int, steps: int = 5000, count: int = 500) -> dict[str, Any]:
    """Measure PSNR and gray pixels of the sixth frame of bouncing balls."""
    predictors = lotter(folder, seed, steps, "bouncing_balls")
    source = build_source(predictors["lotter_mse"].data, "test", range(6))
    frames = torch.stack([to_frames(source.window(index)) for index in range(min(count, len(source)))])
    context, true = frames[:, :5], frames[:, 5]
    predicted = {name: predictor.predict(context, num_frames=1)[:, 0] for name, predictor in predictors.items()}
    predicted = {"true": true, "copy_last": context[:, -1], **predicted}
    write_grid(folder / "balls.png", torch.cat([frames[:8] for frames in predicted.values()]), 8)
    found: dict[str, Any] = {name: {"gray_share": gray_share(frames)} for name, frames in predicted.items()}
    for name in list(predicted)[1:]:
        found[name]["psnr"] = psnr(predicted[name], true)
    return found


def gray_share(frames: Tensor) -> float:
    """Return the share of lit pixels with values between 0.1 and 0.9; blur increases it."""
    gray = ((frames > 0.1) & (frames < 0.9)).sum() / (frames > 0.1).sum()
    return round(float(gray), 4)


def augmentation(
    folder: Path, seed: int, root: Path = FASHION, real: int = 1000, drawn: int = 5000, steps: int = 4000,
    learning: int = 1500, changes: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure the accuracy on the test images of classifiers with samples as training data.

    They are trained for the same number of steps on few images of clothes; on these, mirrored half of the time; on
    samples of a conditional DCGAN trained on these; and on the few images and the samples.
    """
    data = {"context_frames": 0, "channels": 1, "crop_size": 28, "augment": AugmentSettings(horizontal_flip=False)}
    every = build_source(DataSettings(root=str(root), **data), "train", [0])
    few = choose_evenly(np.asarray(every.labels), real)
    batch = every.draw(few.tolist(), range(real), 0)
    images, labels = batch.future[:, 0, 0].numpy(), batch.labels
    assert labels is not None
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "few.npz", images=images, labels=labels.numpy())
    config = load_config(
        "dcgan_conditional.yaml",
        {
            **hurried(1e-3, 2e-4), "data.root": str(folder / "few.npz"), "data.split_fractions": [1.0, 0.0, 0.0],
            "training.steps": steps, "run": str(folder / "dcgan"), "seed": seed, **(changes or {}),
        },
    )  # fmt: skip
    sampler = Sampler(train(config).predictor("last"), seed)
    write_grid(folder / "samples.png", torch.stack([image for _, image, _ in sampler.samples(100)]), 10)
    write_samples(sampler, drawn, folder / "drawn.npz", overwrite=True)
    samples = np.load(folder / "drawn.npz")
    both = np.concatenate([images, samples["images"]]), np.concatenate([labels.numpy(), samples["labels"]])
    np.savez(folder / "both.npz", images=both[0], labels=both[1])
    test = build_source(DataSettings(root=str(root), **data), "test", [0])
    held_out = test.draw(range(len(test)), range(len(test)), 0).to(torch.device("cpu"))
    assert held_out.labels is not None
    found: dict[str, float] = {}
    for name, file, flip in (
        ("few", "few", False), ("few, mirrored", "few", True), ("samples alone", "drawn", False),
        ("few and samples", "both", False),
    ):  # fmt: skip
        changes = {"augment": AugmentSettings(horizontal_flip=flip), "split_fractions": (1.0, 0.0, 0.0)}
        own = DataSettings(root=str(folder / f"{file}.npz"), **{**data, **changes})
        classifier = train_classifier(build_source(own, "train", [0]), learning, seed)
        _, logits = features_of(classifier, held_out.future[:, 0])
        assert logits is not None
        found[name] = round(float((logits.argmax(1) == held_out.labels).float().mean()), 4)
        print(f"{name:<20} {found[name]:.4f}")
    return {"accuracy": found, "known": real, "drawn": drawn, "test_images": len(test)}


def semi_supervised(
    folder: Path, seed: int, root: Path = FASHION, labeled: int = 100, steps: int = 3000,
    changes: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure the accuracy on the test images of a GAN's discriminator of classes trained with a hundred labels.

    The small classifier is trained only on these hundred images, for comparison.
    """
    own = {
        "data.root": str(root),
        "data.labeled": labeled,
        "training.steps": steps,
        "run": str(folder / "run"),
        "seed": seed,
    }
    predictor = train(load_config("improved_gan.yaml", {**own, **(changes or {})})).predictor("last")
    write_grid(folder / "samples.png", torch.stack([image for _, image, _ in Sampler(predictor, seed).samples(64)]), 8)
    plain = predictor.data.model_copy(update={"labeled": None, "labeled_share": 0.0})
    every, test = (build_source(plain, split, [0]) for split in ("train", "test"))
    few = every.draw(choose_evenly(np.asarray(every.labels), labeled).tolist(), range(labeled), 0)
    assert few.labels is not None
    np.savez(folder / "few.npz", images=few.future[:, 0, 0].numpy(), labels=few.labels.numpy())
    alone = with_root(plain, str(folder / "few.npz")).model_copy(update={"split_fractions": (1.0, 0.0, 0.0)})
    classifier = train_classifier(build_source(alone, "train", [0]), 500, seed)
    _, logits = features_of(classifier, images_of(test, MOST_TRAINING))
    assert logits is not None
    labels = torch.from_numpy(np.asarray(test.labels)[evenly_spaced(len(test), MOST_TRAINING, middle=False)])
    found = {
        "discriminator of classes": class_accuracy(predictor, test)["class_accuracy"],
        "classifier of the labeled alone": float((logits.argmax(1) == labels).double().mean()),
    }
    return {"accuracy": {name: round(value, 4) for name, value in found.items()}, "labeled": labeled, "steps": steps}


IMAGE_EXPERIMENTS = [
    *(Experiment("points in the plane, four generators", seed, points) for seed in (0, 1, 2)),
    *(
        Experiment(
            "points in the plane, relativistic pairs", seed, lambda f, s: points(f, s, presets=["gaussians_r3gan"])
        )
        for seed in (0, 1, 2)
    ),
    Experiment("a StyleGAN that grows", 0, growth),
    Experiment("a progressive GAN that grows", 0, lambda folder, seed: growth(folder, seed, "progressive")),
    *(Experiment("samples as training data", seed, augmentation) for seed in (0, 1, 2)),
    *(Experiment("a hundred labels", seed, semi_supervised) for seed in (0, 1, 2)),
    *(Experiment("rotating solids, details", seed, solids) for seed in (0, 1, 2)),
    *(
        Experiment("faint details after a short training", seed, lambda f, s: solids(f, s, steps=1000))
        for seed in (0, 1, 2)
    ),
    *(Experiment("bouncing balls, the sixth frame", seed, balls) for seed in (0, 1, 2)),
]
