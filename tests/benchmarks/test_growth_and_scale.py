"""Tables of growth and of trainings on several GPUs: slopes and rates worked by hand; points are measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import scale_tables
from benchmarks.experiments import growth
from benchmarks.experiments.growth import KINDS, VARIED, Size, draw, measure_point, slope
from benchmarks.results import append_result, read_results
from benchmarks.scale_tables import Rates, next_bottleneck

POINTS = [{"size": size, "seconds": 3.0 * size, "megabytes": 5.0 * size**2} for size in (1, 2, 4, 8)]


def test_slopes_of_powers(tmp_path: Path) -> None:
    points = [{"size": 1, "seconds": 1e3, "megabytes": 1e3}, *POINTS[1:]]  # a large first point does not count
    assert slope(points, "seconds") == pytest.approx(1)
    assert slope(points, "megabytes") == pytest.approx(2)
    found = {"prediction, motion": {"ahead": POINTS}}
    row = {"name": growth.NAME, "seed": 0, "commit": "0", "machine": {}, "points": found}
    append_result(tmp_path / "rows.jsonl", row)
    lines = growth.table(read_results(tmp_path / "rows.jsonl")).splitlines()
    assert lines[2:] == ["| prediction, motion | frames ahead | 1 - 8 | 1.00 | 2.00 |"]
    draw(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_smallest_points_can_be_measured(kind: str) -> None:
    point = measure_point(kind, Size(side=32, batch=1, context=VARIED[kind]["context"][0], scales=2))
    assert point["seconds"] > 0
    assert point["megabytes"] >= 0


def test_gradients_are_exchanged_in_a_ring() -> None:
    rates = Rates(samples=1000, videos=500, cached=10_000, weights=10_000_000)
    assert rates.exchange(1) == 0
    # Every GPU sends each of its 40 MB nearly twice, at 200 GB/s in a machine and 25 GB/s between machines.
    assert rates.exchange(8) == pytest.approx(2 * 7 / 8 * 40e6 / 200e9)
    assert rates.exchange(64) == pytest.approx(2 * 63 / 64 * 40e6 / 25e9)
    assert rates.together(1) == pytest.approx(1000)
    assert rates.together(8) == pytest.approx(8 * 32 / (0.032 + rates.exchange(8)))


def test_the_bottleneck_is_named() -> None:
    def named(gpus: int, weights: int = 10_000_000, videos: float = 500) -> str:
        return next_bottleneck(Rates(samples=1000, videos=videos, cached=10_000, weights=weights), gpus)

    assert named(1).startswith("the GPU's small operations")
    assert named(64, weights=1_000_000_000).startswith("exchange of gradients")
    assert named(8, videos=50).startswith("decoding")


def test_sizes_of_caches() -> None:
    first = scale_tables.cache_sizes().splitlines()[2]
    assert (
        first == "| UCF101 | 13,320 | 2.4 | 40 | 160 | 560 |"
    )  # 27 h at 25 frames/s, 64 x 85 x 3 bytes a frame: 40 GB
