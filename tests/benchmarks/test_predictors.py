"""The comparison of predictors: its small variants, its table and plot, and which rows it measures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import predictors
from benchmarks.equal_time import row_folder
from benchmarks.predictors import (
    BASELINES,
    DATA_SETS,
    MOTION,
    PREDICTORS,
    SPEEDS,
    config_of,
    curves,
    draw,
    draw_frames,
    predictor_row,
    preset_of,
    row_name,
    small_settings,
    table,
)
from benchmarks.results import append_result, read_results
from vidpred.config import Config, load_config
from vidpred.data.build import build_source
from vidpred.data.sources import evaluation_offsets
from vidpred.media.render import to_uint8
from vidpred.models.base import Generator
from vidpred.models.build import build_generator
from vidpred.run import plan, train


def write_rows(path: Path) -> None:
    """Write rows of one predictor with two seeds, and of the baselines."""
    about = {"commit": "0", "machine": {}}
    for seed, psnr in ((0, 18.0), (1, 20.0)):
        curve = [
            {"step": 6 * n, "seconds": 80.0 * n, "psnr": [psnr + n] * 10, "ssim": [0.8] * 10, "energy": [0.5, 0.7] * 5}
            for n in range(1, 7)
        ]
        append_result(path, {"name": row_name("SimVP", 8), "seed": seed, "curve": curve, **about})
    scores = {"psnr": [15.5] * 10, "ssim": [0.7] * 10, "energy": [1.0] * 10}
    append_result(path, {"name": row_name(BASELINES, 8), "seed": 0, "models": {"copy last": scores}, **about})


@pytest.mark.slow
def test_table_and_plot_of_recorded_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl")
    results = read_results(tmp_path / "rows.jsonl")
    assert table(results).splitlines()[2:] == [
        "| copy last | - | - | - | 15.500 | 0.700 | 1.000 |",
        "| SimVP | 2 | 36 | 480 | 25.000 ±1.414 | 0.800 ±0.000 | 0.600 ±0.000 |",
    ]
    assert len(curves(results, 8)["SimVP"]) == 2
    assert not curves(results, 1)
    assert not curves(results, 8, "bouncing_balls")
    draw(results, 8, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.slow
def test_frames_that_the_runs_predict_are_drawn(tmp_path: Path) -> None:
    options = argparse.Namespace(minutes=8.0, seeds=[5, 6], folder=tmp_path, results=tmp_path / "rows.jsonl")
    row = {"name": row_name("voxel flow", 8, "bouncing_balls"), "commit": "0", "machine": {}}
    append_result(options.results, {**row, "seed": 6})
    run = row_folder(tmp_path, row["name"], 6) / "run"
    train(config_of("voxel flow", None, run, 6, **{"training.steps": 1}))
    draw_frames(options, "bouncing_balls", tmp_path / "balls.webp")
    draw_frames(options, "moving_mnist", tmp_path / "digits.webp")
    assert not (tmp_path / "digits.webp").exists()  # there is no run
    drawn = np.asarray(Image.open(tmp_path / "balls.webp").convert("RGB"))[:, -2 * (11 * 33 + 1) :]  # without titles
    truth, predicted = ([row[2:66, 2 + 66 * n : 66 + 66 * n] for n in range(11)] for row in np.split(drawn, 2))
    config = config_of("voxel flow", None, run, 6)
    clip = build_source(config.data, "test", evaluation_offsets(config.data, 10)).window(0)
    frames = to_uint8(torch.from_numpy(clip[-11:]).movedim(-1, 1) / 255)
    np.testing.assert_array_equal(truth, frames.repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(predicted[0], truth[0])
    assert all((one != other).any() for one, other in zip(predicted[1:], truth[1:], strict=True))


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_small_variants_are_settings_of_the_presets(predictor: str) -> None:
    small = small_settings(preset_of(predictor))
    config = load_config(preset_of(predictor), small)
    assert config.data.channels == 1
    assert bool(small) is (predictor != "multi-scale")
    assert small == MOTION or all(one.split(".")[0] in ("model", "training", "data") for one in small)


@pytest.mark.slow
@pytest.mark.parametrize("predictor", PREDICTORS)
def test_predictors_take_bouncing_balls(predictor: str, tmp_path: Path) -> None:
    config = config_of(predictor, None, tmp_path, 3)
    assert config.data.root is None
    assert config.data.world is not None
    assert (config.data.world.name, config.data.crop_size, config.data.channels) == ("bouncing_balls", 32, 1)
    assert (config.seed, config.training.batch_size) == (3, 16)
    plan(config)  # refuses settings that the run does not use


def test_only_missing_rows_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, measured = tmp_path / "rows.jsonl", list[tuple[Any, ...]]()
    write_rows(rows)

    def row(predictor: str, *rest: Any) -> dict[str, Any]:
        measured.append((predictor, rest[2]))
        return {"curve": 6 * [{"step": 1, "seconds": 1.0, "psnr": [1.0], "ssim": [1.0], "energy": [1.0]}]}

    monkeypatch.setattr(predictors, "clips", lambda folder: folder)
    monkeypatch.setattr(predictors, "predictor_row", row)
    monkeypatch.setattr(predictors, "speeds_row", lambda *_: {"seconds": {}})
    monkeypatch.setattr(predictors, "baseline_row", lambda *_: {"models": {}})
    monkeypatch.setattr(predictors, "draw", lambda *_: None)
    options = ["--results", str(rows), "--folder", str(tmp_path), "--plot", str(tmp_path / "p.png"), "--only", "SimVP"]
    monkeypatch.setattr(sys, "argv", ["predictors", *options, "--seeds", "0", "1", "2"])
    predictors.main()
    predictors.main()
    both = ["SimVP", "SimVP v2 (gSTA)"]
    on_mnist = [(both[1], 0), (both[1], 1), ("SimVP", 2), (both[1], 2)]
    assert measured == [*on_mnist, *((one, seed) for seed in (0, 1, 2) for one in both)]
    names = [json.loads(line)["name"] for line in rows.read_text().splitlines()]
    assert [name for name in names if SPEEDS in name] == [row_name(SPEEDS, 8, data) for data in DATA_SETS]
    assert len(names) == 3 + 1 + 4 + 2 + 6


@pytest.mark.slow
def test_another_implementation_is_trained_with_the_settings_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six steps of a network that the run does not build; our SimVP stands for OpenSTL's."""
    built = []

    def other(folder: Path, config: Config) -> Generator:
        built.append((folder, config.seed))
        return build_generator(config.model, config.data)

    monkeypatch.setattr(predictors, "openstl_simvp", other)
    rows = tmp_path / "rows.jsonl"
    speeds = {"name": row_name(SPEEDS, 0.1, "bouncing_balls"), "seed": 0, "commit": "0", "machine": {}}
    append_result(rows, {**speeds, "seconds": {"SimVP": 1.0}})
    options = argparse.Namespace(results=rows, minutes=0.1, data="bouncing_balls", openstl=tmp_path, windows=1)
    row = predictor_row("SimVP (OpenSTL's code)", None, tmp_path, 5, options)
    assert [point["step"] for point in row["curve"]] == [1, 2, 3, 4, 5, 6]
    assert built == [(tmp_path, 5)] * 7  # one is trained, and every checkpoint is loaded into one
