"""The numbers of the long trainings, by hand-made predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import mathieu_long
from benchmarks.mathieu_long import (
    CONTEXT,
    FUTURE,
    KEPT,
    RUNGS,
    SEEDS,
    Numbers,
    clips_better,
    last_accuracy,
    measure_clip,
    over_clips,
    write_rows,
)
from vidpred.evaluation.feature_distance import FeatureDistance
from vidpred.evaluation.sharpness import blur


def pixels(images: Tensor) -> list[Tensor]:
    return [images]


def moving_texture() -> Tensor:
    """Return one window of a texture that moves a pixel to the right from frame to frame."""
    scene = np.random.default_rng(0).random((1, 3, 32, 48), dtype=np.float32)
    scene = blur(blur(torch.from_numpy(scene)))
    return torch.stack([scene.roll(step, 3) for step in range(CONTEXT + FUTURE)], 1)


def test_ground_truth_is_as_sharp_as_itself_and_a_blurred_one_is_not() -> None:
    windows = moving_texture()
    truth = windows[:, [CONTEXT + number - 1 for number in KEPT]]
    distance = FeatureDistance(pixels)
    exact = measure_clip(truth, windows, distance)
    assert exact["energy"] == exact["energy_moving"] == pytest.approx([1, 1, 1])
    assert exact["patch_distance"] == [0, 0, 0]
    assert exact["feature_distance"] == pytest.approx([0, 0, 0], abs=1e-6)
    blurred = measure_clip(blur(truth[0])[None], windows, distance)
    for name, values in blurred.items():
        assert len(values) == len(KEPT)
        assert all(value < 0.7 for value in values) if name.startswith("energy") else all(value > 0 for value in values)


def numbers(value: float) -> Numbers:
    return {"psnr_moving": [value] * 3, "energy": [value] * 3, "feature_distance": [value] * 3}


def test_clips_have_the_same_weight_and_better_depends_on_the_metric() -> None:
    """Energies of 0.9 and 1.2 are nearer to 1 than 0.8 and 1.3; a distance is better if smaller, PSNR if larger."""
    first = {"test/a": numbers(0.9), "test/b": numbers(1.2), "development/c": numbers(0.5)}
    second = {"test/a": numbers(0.8), "test/b": numbers(1.3), "development/c": numbers(0.5)}
    assert over_clips(first, "test")["energy"] == [1.05] * 3
    assert clips_better(first, second, "energy") == [2, 2, 2]
    assert clips_better(first, second, "psnr_moving") == [1, 1, 1]
    assert clips_better(first, second, "feature_distance") == [1, 1, 1]


def test_one_result_per_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathieu_long, "RESULTS", tmp_path / "rows.jsonl")
    rows = [{"name": "training: steps of each training", "value": 9}, {"name": "training: all trainings", "value": 2.5}]
    (tmp_path / "gpu.json").write_text(json.dumps({"rows": rows, "machine": {"device": "card"}, "commit": "abc"}))
    for seed in SEEDS:
        run = tmp_path / "runs" / f"ladder_adv_gdl-{seed}"
        run.mkdir(parents=True)
        lines = [{"step": 1, "discriminator/accuracy": accuracy} for accuracy in (0.9, 0.5, 0.7)] + [{"step": 2}]
        (run / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert last_accuracy(run) == 0.6  # of the second half
    models = [*(f"{rung}-{seed}" for rung in RUNGS for seed in SEEDS), "copy last"]
    write_rows({model: {"test/a": numbers(1.0), "development/c": numbers(2.0)} for model in models}, tmp_path)
    found = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["seed"] for row in found] == list(SEEDS)
    assert found[0]["test"]["copy last"]["energy"] == [1, 1, 1]
    assert found[0]["steps"] == 9
    assert found[0]["clips_better"]["ladder_adv_gdl against ladder_l2"]["energy"] == [0, 0, 0]
