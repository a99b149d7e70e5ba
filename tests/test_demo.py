"""The demo on a tiny setting, and its measures on pictures whose values are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vidpred.demo import Forks, decided_share, gradient_energy, run_demo


@pytest.fixture
def forks() -> Forks:
    left, right = torch.zeros(2, 3, 3, 8, 8)
    left[..., 2:4, 0:2] = 1
    right[..., 2:4, 6:8] = 1
    return Forks(torch.zeros(3, 4, 3, 8, 8), left, right)


def test_measures_of_the_ideal_predictions(forks: Forks) -> None:
    ghost = (forks.left + forks.right) / 2
    assert decided_share(ghost, forks) == 0
    assert decided_share(forks.left, forks) == decided_share(forks.right, forks) == 1
    mixed = torch.cat([forks.left[:1], ghost[1:]])
    assert decided_share(mixed, forks) == pytest.approx(1 / 3)
    assert gradient_energy(forks.left, forks) == gradient_energy(forks.right, forks) == 1
    assert gradient_energy(ghost, forks) == pytest.approx(0.5), "two halves: 2 x (1/2)^2 of the truth's energy"


def test_the_demo_runs_and_resumes(tmp_path: Path) -> None:
    text = run_demo(tmp_path, steps=2)
    for word in ("mean squared error", "adversarial", "decided", "122 forking"):
        assert word in text
    for name in ("comparison.png", "comparison.mp4"):
        assert (tmp_path / name).stat().st_size > 0
    assert run_demo(tmp_path, steps=2) == text
