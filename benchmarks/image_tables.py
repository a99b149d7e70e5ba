"""The tables of docs/results/images.md."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from benchmarks.clothes import GENERATORS, MINUTES, MIXTURE, row_name
from benchmarks.markdown import Results, grid, numbers, over_seeds, percent


def points(results: Results) -> str:
    """Return covered Gaussians and good samples, by seed."""
    experiments = ("points in the plane, four generators", "points in the plane, relativistic pairs")
    rows = [
        [f"`{name}`", *(f"{run[name]['modes_covered']}, {100 * run[name]['high_quality_share']:.0f} %" for run in runs)]
        for runs in (over_seeds(results, experiment) for experiment in experiments)
        for name in runs[0]
    ]
    return grid(["Gaussians covered of 25, good samples", "seed 0", "seed 1", "seed 2"], rows)


def clothes(results: Results) -> str:
    """Return image metrics of the generators on Fashion-MNIST, by seed, the best mean distance first."""
    runs = {name: over_seeds(results, row_name(name, MINUTES)) for name in GENERATORS}
    first = next(iter(runs.values()))[0]
    rows = [["as many training images", "-", "-", numbers([first["frechet_of_training"]], 1), *"---", "1"]]
    for name, of in sorted(runs.items(), key=lambda pair: statistics.fmean(run["frechet"] for run in pair[1])):
        rows.append([
            name,
            "-" if name == MIXTURE else f"{of[0]['steps']:,}",
            numbers((run["seconds"] for run in of[: None if name == MIXTURE else 1]), 0),
            numbers((run["frechet"] for run in of), 1),
            numbers((run["frechet"] for run in over_seeds(results, row_name(name, MINUTES, balanced=True))), 1),
            numbers((run["classifier_score"] for run in of), 1),
            numbers(run["memorized_share"] for run in of),
            numbers(run["relative_roughness"] for run in of),
        ])  # fmt: skip
    return grid(["seeds 0 / 1 / 2", "steps", "CPU seconds", "Fréchet distance (lower is better)",
                 "distance with the test images' classes", "classifier score (of 10)",
                 "memorized share (0.5: as new images)", "relative roughness"], rows)  # fmt: skip


def likelihood(results: Results) -> str:
    """Return the mixture's likelihood in nats per image."""
    nats = [run["nats"] for run in over_seeds(results, row_name(MIXTURE, MINUTES))]
    return grid(
        ["seeds 0 / 1 / 2", "nats per image"], [[split, numbers((run[split] for run in nats), 1)] for split in nats[0]]
    )


def accuracies(results: Results, name: str, titles: Mapping[str, str]) -> str:
    """Return accuracies in percent, by seed."""
    runs = [run["accuracy"] for run in over_seeds(results, name)]
    rows = [[title, *(percent([run[key]]) for run in runs)] for key, title in titles.items()]
    return grid(["accuracy", "seed 0", "seed 1", "seed 2"], rows)


FEW_LABELS = {
    "discriminator of classes": "discriminator of classes",
    "classifier of the labeled alone": "classifier of the labeled images alone",
}
AUGMENTED = {
    "few": "1,000 images", "few, mirrored": "1,000 images, half of the time mirrored",
    "samples alone": "5,000 samples alone", "few and samples": "1,000 images and 5,000 samples",
}  # fmt: skip
