"""Counter-based random numbers: the published generator, dependent only on (seed, position)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidpred.data.counter_random import GOLDEN, mix, uniform


def test_splitmix64_as_published() -> None:
    """Compare with the first outputs of the reference implementation for seed 1234567."""
    with np.errstate(over="ignore"):
        states = np.uint64(1234567) + np.arange(1, 6, dtype=np.uint64) * GOLDEN
    assert mix(states).tolist() == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip


@pytest.mark.slow
@given(st.integers(0, 2**63), st.lists(st.integers(0, 2**40), min_size=1, max_size=8), st.integers(1, 6))
def test_a_row_depends_on_seed_and_position_only(seed: int, positions: list[int], draws: int) -> None:
    together = uniform(seed, np.array(positions), draws + 2)
    for row, position in zip(together, positions, strict=True):
        assert np.array_equal(uniform(seed, np.array([position]), draws)[0], row[:draws])
    assert ((together >= 0) & (together < 1)).all()


def test_uniform_and_unrelated() -> None:
    """Check means, variances and correlations between draws, neighboring positions and seeds."""
    values = uniform(7, np.arange(20_000), 3)
    assert np.abs(values.mean(0) - 0.5).max() < 0.01
    assert np.abs(values.var(0) - 1 / 12).max() < 0.003
    counts = np.histogram(values, 100, (0, 1))[0]
    assert ((counts - 600) ** 2 / 600).sum() < 150, "chi squared of 99 degrees of freedom"
    pairs = [
        (values[:, 0], values[:, 1]),
        (values[:-1, 0], values[1:, 0]),
        (values[:, 0], uniform(8, np.arange(20_000), 1)[:, 0]),
    ]
    for first, second in pairs:
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
