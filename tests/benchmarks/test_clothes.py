"""The comparison of generators of clothes runs from end to end on a few digits; its results are not checked."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import clothes, equal_time, image_tables
from benchmarks.clothes import GENERATORS, MIXTURE, SPEEDS, TRAINED, config_of, row_name
from benchmarks.results import append_result, read_results
from tests.image_files import write_clothes
from vidpred.errors import DataError
from vidpred.evaluation.classifier import Classifier, train_classifier
from vidpred.evaluation.frechet import distance_of

SMALL = {"model.width": 2, "discriminator.width": 2, "training.batch_size": 8}


def few_steps(source: Any) -> Classifier:
    return train_classifier(source, 30)


@pytest.mark.slow
def test_generators_are_compared_at_equal_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clothes(tmp_path)
    monkeypatch.setattr(clothes, "FASHION", tmp_path)
    monkeypatch.setattr(clothes, "train_classifier", few_steps)
    monkeypatch.setattr(clothes, "CALIBRATION_STEPS", (1, 2))
    monkeypatch.setattr(equal_time, "ROUNDS", 1)
    for name, (preset, settings) in GENERATORS.items():
        small = {"model.components": 3} if name == MIXTURE else SMALL
        own = {key: value for key, value in small.items() if name != "VAE" or not key.startswith("discriminator")}
        monkeypatch.setitem(GENERATORS, name, (preset, {**settings, **own}))
    results, plot = tmp_path / "rows.jsonl", tmp_path / "plot.png"
    monkeypatch.setattr(sys, "argv", [
        "clothes", "--minutes", "0.0001", "--seeds", "3", "--samples", "100", "--folder", str(tmp_path / "runs"),
        "--results", str(results), "--plot", str(plot),
    ])  # fmt: skip
    clothes.main()
    rows = read_results(results)
    names = [row_name(name, 1e-4, balanced) for name in GENERATORS for balanced in (False, True)]
    assert list(rows) == [(row_name(SPEEDS, 1e-4), 0), *((name, 3) for name in names)]
    speeds = rows[row_name(SPEEDS, 1e-4), 0].values["seconds"]
    assert list(speeds) == TRAINED
    for name in GENERATORS:
        values = rows[row_name(name, 1e-4), 3].values
        assert values["frechet"] > values["frechet_of_training"]
        assert rows[row_name(name, 1e-4, balanced=True), 3].values["samples"] <= 100
        assert ("nats" in values) is (name == MIXTURE)
        if name in speeds:
            assert values["steps"] == equal_time.fitting_steps(speeds[name], 1e-4)
            assert values["seconds"] == pytest.approx(values["steps"] * speeds[name], abs=0.06)
    assert plot.is_file()

    before = results.read_text()
    clothes.main()  # all rows are there
    assert results.read_text() == before
    lines = [json.loads(line) for line in before.splitlines()]
    results.write_text("\n".join(json.dumps(line) for line in lines if line["name"] != row_name("VAE", 1e-4)) + "\n")
    clothes.main()
    again = read_results(results)[row_name("VAE", 1e-4), 3].values
    assert again["frechet"] == rows[row_name("VAE", 1e-4), 3].values["frechet"]


def test_speeds_are_measured_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clothes, "FASHION", tmp_path)
    monkeypatch.setattr(clothes, "speeds_row", lambda root, folder: {"seconds": {"DCGAN": 0.1}})
    results, plot = tmp_path / "rows.jsonl", tmp_path / "plot.png"
    monkeypatch.setattr(sys, "argv", ["clothes", "--only", "NONE", "--folder", str(tmp_path / "runs"),
                                      "--results", str(results), "--plot", str(plot)])  # fmt: skip
    clothes.main()
    assert list(read_results(results)) == [(row_name(SPEEDS, 4), 0)]
    assert not plot.exists()


@pytest.mark.parametrize("name", TRAINED)
def test_trainings_differ_only_in_their_own_settings(name: str, tmp_path: Path) -> None:
    config = config_of(name, tmp_path, tmp_path / "run", 3, **{"training.steps": 7})
    assert (config.training.steps, config.seed, config.training.precision) == (7, 3, "float32")
    assert config.data.crop_size == 28
    assert config.data.num_workers == 0  # so that CPU seconds of the process include reading


def test_tables_of_recorded_rows(tmp_path: Path) -> None:
    values = {
        "steps": 2400, "seconds": 240.0, "classifier_score": 5.5, "memorized_share": 0.5, "relative_roughness": 1.0,
        "frechet_of_training": 1.5, "commit": "0", "machine": {},
    }  # fmt: skip
    for place, name in enumerate(GENERATORS):
        for seed in (0, 1, 2):
            own = {"nats": {"held-out": 560.0, "training": 570.0}} if name == MIXTURE else {}
            row = {"name": row_name(name, 4), "seed": seed, "frechet": 20.0 - place + seed, **own, **values}
            append_result(tmp_path / "rows.jsonl", row)
            balanced = {"name": row_name(name, 4, balanced=True), "seed": seed, "frechet": 9.0 - place + seed}
            append_result(tmp_path / "rows.jsonl", {**values, **balanced})
    results = read_results(tmp_path / "rows.jsonl")
    lines = image_tables.clothes(results).splitlines()[2:]
    assert lines[0] == "| as many training images | - | - | 1.5 | - | - | - | 1 |"
    assert [line.split(" | ")[0][2:] for line in lines[1:]] == list(reversed(GENERATORS))
    start = "| DCGAN | 2,400 | 240 | 20.0 / 21.0 / 22.0 | 9.0 / 10.0 / 11.0 | 5.5 / 5.5 / 5.5 | 0.50 / 0.50 / 0.50 |"
    assert lines[-1].startswith(start)
    assert image_tables.likelihood(results).splitlines()[-1] == "| training | 570.0 / 570.0 / 570.0 |"


def test_missing_data_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clothes, "FASHION", tmp_path / "nothing")
    monkeypatch.setattr(sys, "argv", ["clothes"])
    with pytest.raises(DataError, match="dataset-fashion-mnist"):
        clothes.main()


def test_samples_with_the_classes_of_test_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a generator that draws true images, but mostly of one class, only the distance of its samples is large."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(4)

    def images_of_classes(labels: torch.Tensor) -> torch.Tensor:  # the mean is the class
        return (labels.view(-1, 1, 1, 1) + torch.rand(len(labels), 1, 4, 4, generator=generator)) / 4

    largest = 3

    def mostly_first(count: int) -> torch.Tensor:
        return (torch.arange(count) % 8 - 4).clamp(0, largest)

    class Sampler:
        def __init__(self, model: Any, seed: int) -> None:
            pass

        def samples(self, count: int) -> list[tuple[int, torch.Tensor, None]]:
            return [(number, image, None) for number, image in enumerate(images_of_classes(mostly_first(count)))]

    def network(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = images.mean(dim=(1, 2, 3))
        return images.flatten(1), -(means[:, None] * 4 - kinds - 0.5).abs()

    test = images_of_classes(kinds.repeat(100))
    monkeypatch.setattr(clothes, "images", lambda root: (test, test))
    monkeypatch.setattr(clothes, "feature_network", lambda root, path: network)
    monkeypatch.setattr(clothes.Predictor, "load", lambda run, checkpoint: None)
    monkeypatch.setattr(clothes, "Sampler", Sampler)
    found = clothes.balanced_row(tmp_path, tmp_path, 0, argparse.Namespace(folder=tmp_path, samples=400))
    assert found["shares"] == [0.625, 0.125, 0.125, 0.125]
    assert found["shares_of_test_images"] == [0.25] * 4
    assert found["samples"] == 400
    assert found["frechet"] < 0.02 * distance_of(images_of_classes(mostly_first(400)).flatten(1), test.flatten(1))
    largest = 2
    without_last = clothes.balanced_row(tmp_path, tmp_path, 0, argparse.Namespace(folder=tmp_path, samples=400))
    assert without_last["shares"] == [0.625, 0.125, 0.25, 0.0]
    assert without_last["samples"] == 300
