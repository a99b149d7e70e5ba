"""Best, mean and worst of N, and the spread, by hand; N is always named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vidpred.data.sources import Source
from vidpred.evaluation.protocols import Evaluation, Measurement, evaluate_models, with_baselines
from vidpred.evaluation.report import clip_table, table, to_json, write_plot
from vidpred.evaluation.samples import Spread, summarize
from vidpred.models.base import Generator
from vidpred.models.noise import seeded_noise

STEPS, SAMPLES, SEED = 2, 5, 3


class Still(Source):
    """Two windows of black frames."""

    name = "still"

    def __len__(self) -> int:
        return 2

    def window(self, index: int) -> np.ndarray:
        return np.zeros((4, 16, 16, 3), np.uint8)

    def clip_name(self, index: int) -> str:
        return f"clip {index}"


class Gray(Generator):
    """A gray frame with a brightness of 1/4 or 3/4, by the toss of a coin."""

    def __init__(self) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = 1, 1, 1, 3
        self.noise_channels, self.noise = 1, "binary"

    def forward(self, context: Tensor, noise: Tensor) -> list[Tensor]:
        return [torch.zeros_like(context[:, -1:]) + (0.5 + noise.view(-1, 1, 1, 1, 1) / 4)]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate_models(
        with_baselines({"mine": Gray()}, STEPS), Still(), Measurement(STEPS, num_samples=SAMPLES, seed=SEED)
    )


def test_best_mean_and_worst_by_hand(evaluation: Evaluation) -> None:
    """A brightness of 1/4 has 20 log10 4 dB, one of 3/4 has 20 log10 (4/3) dB."""
    dark, bright = 20 * math.log10(4), 20 * math.log10(4 / 3)
    coins = [[float(seeded_noise(Gray(), 1, SEED, window, sample)) for sample in range(SAMPLES)] for window in (0, 1)]
    assert all(len(set(coin)) == 2 for coin in coins), "both sides occur in both windows"
    means = [sum(bright if side > 0 else dark for side in coin) / SAMPLES for coin in coins]
    expected = {"best": dark, "mean": sum(means) / 2, "worst": bright}
    for step in range(STEPS):
        for kind, value in expected.items():
            assert evaluation.scores[f"mine, {kind} of 5"].overall["psnr"][step].mean == pytest.approx(value, abs=1e-4)
        deviations = [np.std([0.5 + side / 4 for side in coin], ddof=1) for coin in coins]
        assert evaluation.spread["mine"][step].mean == pytest.approx(np.mean(deviations), abs=1e-6)
    assert list(evaluation.spread) == ["mine"]
    assert list(evaluation.scores) == [
        "mine, best of 5", "mine, mean of 5", "mine, worst of 5", "copy last", "optical flow",
        "copy/flow average",
    ]  # fmt: skip


def test_lower_may_be_better_and_nan_is_skipped() -> None:
    assert summarize([3.0, 1.0, 2.0, math.nan], True) == {"best": 1.0, "mean": 2.0, "worst": 3.0}
    assert summarize([3.0, 1.0, 2.0], False) == {"best": 3.0, "mean": 2.0, "worst": 1.0}
    assert all(math.isnan(value) for value in summarize([math.nan], False).values())


def test_spread_equals_torch_std() -> None:
    images = torch.rand(7, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    spread = Spread()
    spread.add(images[0])
    assert math.isnan(spread.value)
    for image in images[1:]:
        spread.add(image)
    assert spread.value == pytest.approx(float(images.std(0).mean()), abs=1e-6)


@pytest.mark.slow
def test_n_is_next_to_every_number(evaluation: Evaluation, tmp_path: Path) -> None:
    text = table(evaluation)
    head = next(line for line in text.splitlines() if line.startswith("frame t+1"))
    assert head.endswith("spread of 5")
    for kind in ("best", "mean", "worst"):
        assert f"mine, {kind} of 5" in text
        assert f"mine, {kind} of 5" in clip_table(evaluation, metric="psnr")
    rows = {line.split("  ")[0]: line.split()[-1] for line in text.splitlines() if "  " in line}
    assert rows["copy last"] == rows["mine, best of 5"] == "-"
    assert rows["mine, mean of 5"].startswith("±")
    content = json.loads(json.dumps(to_json(evaluation, {}), allow_nan=False))
    assert content["samples"] == 5
    assert content["seed"] == SEED
    assert content["spread of 5"]["mine"]["n"] == [2, 2]
    assert {"best of 5", "mean of 5", "worst of 5", "spread of 5"} <= set(content["definitions"])
    assert "5 futures" in content["definitions"]["best of 5"]
    write_plot(tmp_path / "plot.svg", evaluation)
    assert (tmp_path / "plot.svg").stat().st_size > 0


def test_one_prediction_has_one_row_and_no_spread() -> None:
    """This holds also for a model with noise, whose one draw is the first of several."""
    models = with_baselines({"mine": Gray()}, STEPS)
    one = evaluate_models(models, Still(), Measurement(STEPS, seed=SEED))
    assert list(one.scores) == ["mine", "copy last", "optical flow", "copy/flow average"]
    assert "spread" not in table(one)
    assert "samples" not in to_json(one, {})
    expected = [20 * math.log10(2 / (1 + float(seeded_noise(Gray(), 1, SEED, window, 0)) / 2)) for window in (0, 1)]
    assert one.scores["mine"].overall["psnr"][0].mean == pytest.approx(sum(expected) / 2, abs=1e-4)
