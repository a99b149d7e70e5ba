"""The lecture's numbers agree with theory, and the page is written from end to end with a few steps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import run_vidpred
from vidpred.commands import run_lecture
from vidpred.commands.lecture_line import (
    LINE,
    LineTraining,
    best_discriminator,
    closest_gaussian,
    data_density,
    gaussian,
    learn_on_the_line,
    value,
)
from vidpred.commands.lecture_text import explain_divergence, explain_modes, explain_values
from vidpred.commands.run_lecture import Variant, loss_gradients


def test_the_value_is_minus_log_4_at_the_equilibrium_and_0_for_disjoint_densities() -> None:
    p = data_density(LINE)
    assert np.trapezoid(p, LINE) == pytest.approx(1, abs=1e-4)
    assert value(p, p) == pytest.approx(-math.log(4), abs=1e-3)
    assert value(gaussian(LINE, -2, 0.1), gaussian(LINE, 2, 0.1)) == pytest.approx(0, abs=1e-3)
    assert best_discriminator(p, p) == pytest.approx(np.full(len(LINE), 0.5))


def test_only_the_minimax_gradient_vanishes() -> None:
    """|d/dlogit| is D for log(1 - D) and 1 - D for -log D."""
    found = loss_gradients()
    scores, minimax = found["minimax: log(1 - D)"]
    np.testing.assert_allclose(minimax, scores, rtol=1e-4, atol=1e-6)
    scores, saturating = found["non-saturating: -log D"]
    np.testing.assert_allclose(saturating, 1 - scores, rtol=1e-4, atol=1e-6)


def test_one_divergence_covers_the_other_picks() -> None:
    """The forward one matches the mean and the variance of the data; the reverse one lies on the larger mode."""
    mean, std, _ = closest_gaussian(reverse=False)
    variance = 0.6 * 0.25 + 0.4 * 0.16 + 0.24 * 2.7**2
    assert mean == pytest.approx(0.6 * -1.2 + 0.4 * 1.5, abs=0.051)
    assert std == pytest.approx(math.sqrt(variance), abs=0.051)
    mean, std, _ = closest_gaussian(reverse=True)
    assert mean == pytest.approx(-1.2, abs=0.11)
    assert std == pytest.approx(0.5, abs=0.11)


@pytest.mark.slow
def test_learning_on_the_line_lowers_the_value() -> None:
    found = learn_on_the_line(400)
    assert [step for step, _, _ in found.shown] == [0, 20, 80, 400]
    assert found.trace[400] < found.trace[0] - 0.3
    assert -math.log(4) < found.of_data < -1.35


@pytest.mark.slow
def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    three = {name: run_lecture.REMEDIES[name] for name in ("minimax loss", "R1", "WGAN-GP")}
    monkeypatch.setattr(run_lecture, "REMEDIES", three)
    assert run_vidpred("lecture", "-o", tmp_path, "--steps", "20", "--point-steps", "50") == 0
    numbers = json.loads((tmp_path / "lecture.json").read_text())
    assert set(numbers["remedies"]) == set(three)
    assert 0 <= numbers["remedies"]["R1"]["accuracy"] <= 1
    assert numbers["remedies"]["WGAN-GP"]["accuracy"] is None
    page = (tmp_path / "lecture.html").read_text()
    assert page.count("<img") == 5
    assert "-1.386" in page
    assert f"The minimax loss covers {numbers['remedies']['minimax loss']['covered']}: " in page
    said = capsys.readouterr().out
    assert f"here by {numbers['values']['20'] + math.log(4):.3f} after the last step" in said


def test_sentences_follow_from_the_numbers() -> None:
    """Opposite numbers lead to opposite sentences."""
    trace = dict.fromkeys(range(20), -1.2) | dict.fromkeys(range(20, 30), -1.37)
    assert "hardly moves, from -1.370 to -1.370" in explain_values(LineTraining([], trace, -1.38))
    assert "up and down between -1.370 and -1.200" in explain_values(LineTraining([], {**trace, 25: -1.2}, -1.38))
    assert "still falls, from -1.300 to -1.370" in explain_values(LineTraining([], {**trace, 20: -1.3}, -1.38))
    assert "covers both modes" in explain_divergence("KL(p | q)", *closest_gaussian(reverse=False)[:2])
    assert "covers one mode" in explain_divergence("KL(q | p)", *closest_gaussian(reverse=True)[:2])
    assert "covers neither mode" in explain_divergence("KL(q | p)", 0.2, 0.3)
    points = np.zeros((1, 2))
    fine, lost = Variant(8, 0.9, points, 0.6, (0.4, 0.2)), Variant(2, 0.5, points, 0.99, (0.02, 0.0))
    text = explain_modes({"minimax loss": fine, "R1": lost})
    assert "8 of 8 Gaussians are covered by minimax loss; fewer are covered by R1 (2)." in text
    assert "so the generator always had a gradient" in text
    assert "never below 0.00, where its gradient vanishes" in explain_modes({"minimax loss": lost})
