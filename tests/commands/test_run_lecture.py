"""The lecture's numbers agree with theory, and the page is written from end to end with a few steps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from vidpred.commands import run_lecture
from vidpred.commands.run_lecture import (
    LINE,
    best_discriminator,
    closest_gaussian,
    data_density,
    gaussian,
    learn_on_the_line,
    loss_gradients,
    value,
    write_page,
)


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
    values = [value(data_density(LINE), run_lecture.smoothed(samples)) for _, samples, _ in found]
    assert [step for step, _, _ in found] == [0, 20, 80, 400]
    assert values[-1] < values[0] - 0.3


@pytest.mark.slow
def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = {name: run_lecture.REMEDIES[name] for name in ("R1", "minibatch discrimination")}
    monkeypatch.setattr(run_lecture, "REMEDIES", two)
    numbers = write_page(tmp_path, 20, 2)
    assert set(numbers["remedies"]) == set(two)
    page = (tmp_path / "lecture.html").read_text()
    assert page.count("<img") == 4
    assert "-1.386" in page
