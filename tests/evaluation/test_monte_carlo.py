"""Means over samples and their errors, on known distributions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.image_files import small_preset
from vidpred.commands import app
from vidpred.data.settings import DataSettings
from vidpred.evaluation.monte_carlo import STATISTICS, estimate, monte_carlo
from vidpred.inference.predictor import Predictor
from vidpred.inference.sample_images import Sampler
from vidpred.run import train


class Normal(nn.Module):
    """Every pixel is 0.5 + 0.1 z with independent z: brightness is N(0.5, 0.1^2 / 16)."""

    context_frames, pred_frames, step, channels, noise_channels, shape = 0, 1, 1, 1, 16, (1, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.tensor(0.1))

    def forward(self, context: Tensor, noise: Tensor) -> list[Tensor]:
        return [(0.5 + self.spread * noise).view(-1, 1, 1, 4, 4)]


def sampler(seed: int = 0) -> Sampler:
    return Sampler(Predictor(Normal(), DataSettings(context_frames=0, channels=1)), seed)


def test_by_hand() -> None:
    """1, 2, 3, 6 have mean 3, variance 14 / 3 and error sqrt(14 / 3 / 4), however they are split."""
    found = estimate([torch.tensor([1.0, 2]), torch.tensor([]), torch.tensor([3.0, 6])])
    assert found.mean == pytest.approx(3)
    assert found.error == pytest.approx((14 / 3 / 4) ** 0.5)
    assert found.count == 4


def test_of_a_known_distribution() -> None:
    """The samples are more than are in memory at a time; the error is the standard deviation of the mean."""
    found = monte_carlo(sampler(), STATISTICS["brightness"], 2000)
    assert found.error == pytest.approx(0.1 / 16**0.5 / 2000**0.5, rel=0.1)
    assert abs(found.mean - 0.5) < 4 * found.error
    lit = monte_carlo(sampler(), STATISTICS["lit"], 500)
    assert abs(lit.mean - 0.5) < 4 * lit.error


@pytest.mark.slow
def test_two_errors_contain_the_expectation_in_95_percent_of_runs() -> None:
    found = [monte_carlo(sampler(seed), STATISTICS["brightness"], 100) for seed in range(200)]
    inside = sum(abs(one.mean - 0.5) < 1.96 * one.error for one in found)
    assert 180 <= inside <= 198


def test_statistics_by_hand() -> None:
    image = torch.tensor([[0.0, 1], [1, 1]]).view(1, 1, 2, 2)
    wanted = {"brightness": 0.75, "contrast": 0.1875**0.5, "lit": 0.75, "roughness": 0.5}
    for name, value in wanted.items():
        assert float(STATISTICS[name](image)) == pytest.approx(value), name


def test_values_without_a_mean_raise() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        estimate([torch.tensor([1.0, float("nan")])])
    with pytest.raises(ValueError, match="two samples"):
        estimate([torch.tensor([1.0])])


@pytest.mark.slow
def test_the_command_prints_mean_and_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(small_preset("mixture", tmp_path))
    wanted = monte_carlo(Sampler(run.predictor(), 3), STATISTICS["brightness"], 70)
    for words, code, said in (
        (["--statistic", "brightness", "--count", "70", "--seed", "3"], 0, f"brightness {wanted}"),
        (["--statistic", "beauty"], 2, "choose from brightness"),
        (["--statistic", "lit", "--count", "1"], 2, "at least two samples"),
        ([], 2, "--output"),
        (["--statistic", "lit", "--grid"], 2, "--output"),
    ):
        arguments, sys.argv = sys.argv, ["vidpred", "sample", "--run", str(run.folder), *words]
        try:
            with pytest.raises(SystemExit) as end:
                app.main()
        finally:
            sys.argv = arguments
        assert end.value.code == code
        printed = capsys.readouterr()
        assert said in printed.out + printed.err
