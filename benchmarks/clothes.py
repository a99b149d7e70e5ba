"""Compare image generators on Fashion-MNIST at equal CPU time. Run: python -m benchmarks.clothes.

The first row has the CPU seconds of a training step of every generator, measured in turns on one thread. Every other
row trains one generator with one seed for as many steps as fit into the minutes by that row, so that other work on the
machine changes no result, and measures its samples on features of a small classifier, which no generator is trained
with; a second row measures samples of which as many are taken of every class as the test images have. The mixture of
Gaussians has no steps; it is fitted once. A row is one line of docs/results.jsonl. Finished rows
are skipped; an interrupted one resumes its training. The last step draws docs/assets/clothes.png; `python -m
benchmarks.tables` writes the tables.

    FASHION_MNIST=FOLDER_OF_IDX_FILES python -m benchmarks.clothes
    chrt -f 5 python -m benchmarks.clothes --only NONE    # the first row alone, undisturbed by other work
    python -m benchmarks.clothes --minutes 0.1 --seeds 3 --results trial.jsonl --plot trial.png
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.equal_time import fitting_steps, measure_speeds, row_folder
from benchmarks.experiments.base import RUNS
from benchmarks.experiments.images import FALLING, FASHION, HALF, hurried
from benchmarks.harness import commit, machine
from benchmarks.results import RESULTS, append_result, read_results
from vidpred.config import Config, load_config
from vidpred.data.build import build_source
from vidpred.data.images.windows import images_of
from vidpred.errors import DataError
from vidpred.evaluation.classifier import Classifier, features_of, train_classifier
from vidpred.evaluation.frechet import distance_of
from vidpred.evaluation.images import MOST_TRAINING, compare_samples
from vidpred.inference.predictor import Predictor
from vidpred.inference.sample_images import Sampler, write_grid
from vidpred.models.build import count_parameters
from vidpred.run import train
from vidpred.training.direct_fit import mean_log_likelihood

MINUTES, SEEDS, SAMPLES, SHOWN = 4.0, (0, 1, 2), 2000, 12
SPEEDS = "seconds per step"
MIXTURE = "mixture of Gaussians"
BALANCED = "classes as in the test images"
# Half the presets' width. The learning rates of DCGAN and WGAN-GP are above the papers', which are too low for short
# trainings, and decay. Those of the DCGAN and R3GAN's loss come from trials (docs/notes/index.md).
SHORT = {**hurried(2e-3, 4e-4), "training.batch_size": 32}
PAIRS = {
    **hurried(2e-3, 2e-3),
    "training.batch_size": 32,
    "training.generator.betas": [0.0, 0.99],
    "training.discriminator.betas": [0.0, 0.99],
    "discriminator.batch_norm": False,
    "discriminator.initialization": "he",
    "objective.adversarial.loss": "relativistic",
    "objective.adversarial.r1_weight": 0.4,
    "objective.adversarial.r2_weight": 0.4,
    "objective.adversarial.r1_every": 16,
}
GENERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "DCGAN": ("dcgan_fashion.yaml", SHORT),
    "R3GAN's loss": ("dcgan_fashion.yaml", PAIRS),
    "DCGAN, with classes": ("dcgan_conditional.yaml", SHORT),
    "R3GAN's loss, with classes": ("dcgan_conditional.yaml", PAIRS),
    "VAE": ("vae_dcgan.yaml", {"model.width": 32, **FALLING}),
    "LAPGAN": (
        "lapgan.yaml",
        {
            **HALF,
            "data.crop_size": 28,
            "model.noise_channels": 1080,
            "discriminator.dropout": 0.0,
            "objective.adversarial.r1_weight": 1.0,
            "objective.adversarial.r1_every": 1,
        },
    ),
    "WGAN-GP": ("wgan_gp.yaml", hurried(1e-3, 1e-3)),
    MIXTURE: ("mixture.yaml", {}),
}
TRAINED = [name for name in GENERATORS if name != MIXTURE]
QUIET = {
    "training.device": "cpu", "training.precision": "float32", "training.image_every": 0, "training.monitor_every": 0,
}  # fmt: skip
# Between them, penalties of every 16th step happen as often as in a long training, and WGAN-GP's updates of the
# generator (every fifth step) nearly as often.
CALIBRATION_STEPS = (16, 48)


def row_name(name: str, minutes: float, balanced: bool = False) -> str:
    """Return the name of a row in the results."""
    return f"clothes, {minutes:g} minutes, {name}" + (f", {BALANCED}" if balanced else "")


def config_of(name: str, root: Path, run: Path, seed: int, **training: int) -> Config:
    """Return the settings of a training."""
    preset, own = GENERATORS[name]
    steps = {} if name == MIXTURE else {**QUIET, **training}
    return load_config(preset, {**own, "data.root": str(root), "run": str(run), "seed": seed, **steps})


def speeds_row(root: Path, folder: Path) -> dict[str, Any]:
    """Measure the CPU seconds of a training step of every generator that trains in steps."""
    trainings = {
        name: lambda run, steps, name=name: config_of(name, root, run, 0, **{"training.steps": steps})
        for name in TRAINED
    }
    return measure_speeds(trainings, folder / "calibration", CALIBRATION_STEPS)


def images(root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return test and training images, `(N, C, H, W)` in [0, 1]."""
    data = config_of("DCGAN", root, Path("unused"), 0).data
    test, training = (build_source(data, split, [0]) for split in ("test", "train"))
    return images_of(test, SAMPLES), images_of(training, MOST_TRAINING)


def feature_network(root: Path, path: Path) -> Classifier:
    """Return the classifier whose features are compared, trained unless the file has it."""
    source = build_source(config_of("DCGAN", root, Path("unused"), 0).data, "train", [0])
    if not path.is_file():
        torch.save(train_classifier(source).state_dict(), path)
    network = Classifier(1, len(source.classes))
    network.load_state_dict(torch.load(path))
    return network.eval()


def generator_row(name: str, root: Path, folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train a generator and measure its samples."""
    steps, each = 1, None
    if name != MIXTURE:
        speeds = read_results(options.results)[row_name(SPEEDS, options.minutes), 0]
        each = speeds.values["seconds"][name]
        steps = fitting_steps(each, options.minutes)
    every = max(1, steps // 10)
    changes = {"training.steps": steps, "training.log_every": every, "checkpoint.every": every, "checkpoint.keep": 1}
    began = time.process_time()
    done = train(config_of(name, root, folder / "run", seed, **changes))
    seconds = (time.process_time() - began) / max(1, done.steps - done.first_step)
    model = done.predictor("last")
    samples = torch.stack([image for _, image, _ in Sampler(model, seed).samples(options.samples)])
    write_grid(folder / "samples.png", samples[:64])
    held_out, training = images(root)
    network = feature_network(root, options.folder / "classifier.pt")
    values: dict[str, Any] = dict(compare_samples(network, samples, held_out[: options.samples], training))
    if name == MIXTURE:
        sets = {"held-out": held_out, "training": training}
        values["nats"] = {split: mean_log_likelihood(model.generator, of) for split, of in sets.items()}
    return {
        "parameters": count_parameters(model.generator), "samples": options.samples, "steps": steps,
        "seconds": round(seconds if each is None else steps * each, 1),
        "seconds_per_step_this_time": round(seconds, 4), **values,
    }  # fmt: skip


def balanced_row(root: Path, folder: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure samples of which as many are taken of every class, by the classifier, as the test images have.

    The difference from the other distance is what shares of classes, rather than their images, contribute. Of a class
    with too few samples among twice as many as are needed, some are taken several times; one without any is missing.
    """
    network, held_out = feature_network(root, options.folder / "classifier.pt"), images(root)[0][: options.samples]
    model = Predictor.load(folder / "run", "last")
    samples = torch.stack([image for _, image, _ in Sampler(model, seed).samples(2 * options.samples)])
    (sampled, logits), (true, true_logits) = (features_of(network, each) for each in (samples, held_out))
    assert logits is not None
    assert true_logits is not None
    classes, wanted = logits.argmax(1), true_logits.argmax(1).bincount(minlength=logits.shape[1])
    chosen = [(classes == one).nonzero()[:, 0] for one in range(len(wanted))]
    pairs = zip(chosen, wanted, strict=True)
    taken = torch.cat([found[torch.arange(count) % len(found)] for found, count in pairs if len(found)])
    return {
        "samples": len(taken), "frechet": distance_of(sampled[taken], true),
        "shares": [round(len(found) / len(samples), 4) for found in chosen],
        "shares_of_test_images": [round(float(count) / len(held_out), 4) for count in wanted],
    }  # fmt: skip


def write_rows(root: Path, options: argparse.Namespace) -> None:
    """Measure the rows that are missing."""
    options.results.touch()
    chosen = [name for name in GENERATORS if options.only in name]
    rows = [(name, seed, balanced) for name in chosen for seed in options.seeds for balanced in (False, True)]
    for name, seed, balanced in [(SPEEDS, 0, False), *rows]:
        row = row_name(name, options.minutes, balanced)
        if (row, seed) in read_results(options.results):
            continue
        folder = row_folder(options.folder, row_name(name, options.minutes), seed)
        folder.mkdir(parents=True, exist_ok=True)
        began, started_at = time.monotonic(), commit()
        if balanced:
            values = balanced_row(root, folder, seed, options)
        else:
            values = speeds_row(root, folder) if name == SPEEDS else generator_row(name, root, folder, seed, options)
        about = {"name": row, "seed": seed, "commit": started_at,
                 "seconds_this_sitting": round(time.monotonic() - began, 1)}  # fmt: skip
        append_result(options.results, {**about, **values, "machine": machine()})


def draw(options: argparse.Namespace) -> None:
    """Draw samples of every generator whose runs are there, a row each."""
    runs = [
        row_folder(options.folder, row_name(name, options.minutes), options.seeds[0]) / "run" for name in GENERATORS
    ]
    predictors = [Predictor.load(run, "last") for run in runs if run.is_dir()]
    shown = [image for model in predictors for _, image, _ in Sampler(model, options.seeds[0]).samples(SHOWN)]
    if shown:
        write_grid(options.plot, torch.stack(shown), SHOWN)


def main() -> None:
    """Measure the rows that are missing, and draw the samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="Minutes of one core for each training.")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="Seeds of trainings and samples.")
    parser.add_argument("--only", default="", help="Measure the generators whose name contains this.")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="Number of samples, and of test images.")
    parser.add_argument("--folder", type=Path, default=RUNS, help="Folder of the trainings.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="File that rows are appended to.")
    parser.add_argument("--plot", type=Path, default=Path("docs/assets/clothes.png"), help="Image to draw.")
    options = parser.parse_args()
    if not FASHION.is_dir():
        raise DataError(
            f"no Fashion-MNIST [{FASHION}]; install the Debian package dataset-fashion-mnist, or set FASHION_MNIST to "
            "a folder of its IDX files"
        )
    torch.set_num_threads(1)
    write_rows(FASHION, options)
    draw(options)


if __name__ == "__main__":
    main()
