"""The table of the paper: the runs of a row, and its cells."""

from __future__ import annotations

import pytest

from vidpred.errors import ConfigError
from vidpred.evaluation.metric_table import PROTOCOLS
from vidpred.evaluation.paper_table import by_method, paper_rows, paper_table
from vidpred.evaluation.protocols import Evaluation, Scores


def test_runs_that_differ_in_their_seed_are_one_row() -> None:
    shared = {"objective.lp_exponent": 2.0, "training.steps": 5}
    settings = {
        "l2 (1)": {**shared, "seed": 0, "run": "a/l2"},
        "l1": {**shared, "seed": 0, "run": "a/l1", "objective.lp_exponent": 1.0},
        "l2 (3)": {**shared, "seed": 1, "run": "b/l2"},
        "long-0": {**shared, "seed": 0, "run": "c", "training.steps": 6, "training.init_from": "x"},
        "long-1": {**shared, "seed": 1, "run": "d", "training.steps": 6, "training.init_from": "y"},
    }
    assert by_method(settings) == {"l2": ["l2 (1)", "l2 (3)"], "l1": ["l1"], "long": ["long-0", "long-1"]}


def test_two_methods_with_the_same_name_stay_separate() -> None:
    settings = {f"run ({n})": {"seed": n, "training.steps": n // 2} for n in range(4)}
    assert list(by_method(settings).values()) == [["run (0)", "run (1)"], ["run (2)", "run (3)"]]


def evaluation(protocol: str, values: dict[str, tuple[float, float]]) -> Evaluation:
    """Set every metric of a model's frame k to its value k plus the index of the metric."""
    scores = {}
    for name, numbers in values.items():
        scores[name] = Scores(len(numbers))
        for step, value in enumerate(numbers):
            for place, measure in enumerate(PROTOCOLS[protocol].metrics):
                for window in (-1, 1):  # the mean over windows is the value
                    scores[name].add("clip", step, measure, value + place + window, value)
    return Evaluation(2, 2, scores, PROTOCOLS[protocol])


@pytest.mark.parametrize(("protocol", "first"), [("plain", 3), ("mathieu2016", 0)])
def test_cells_are_means_over_windows_then_over_seeds(protocol: str, first: int) -> None:
    """The moving metrics of plain are its last three; 10, 12 and 17 have mean 13 and std sqrt(13) = 3.606."""
    numbers = {"a": (10.0, 20.0), "b": (12.0, 20.0), "c": (17.0, 20.0), "copy last": (1.0, 2.0)}
    result = evaluation(protocol, numbers)
    head, rows = paper_rows(result, {"mine": ["a", "b", "c"]})
    assert len(head) == len(rows[0]) == 2 + 6
    assert rows[0] == [
        "mine", "3", f"{13 + first:.2f} ±3.61", f"{14 + first:.3f} ±3.606", f"{15 + first:.2f} ±3.61",
        f"{20 + first:.2f} ±0.00", f"{21 + first:.3f} ±0.000", f"{22 + first:.2f} ±0.00",
    ]  # fmt: skip
    copied = [f"{1 + first:.2f}", f"{2 + first:.3f}", f"{3 + first:.2f}"]
    assert rows[1][:5] == ["copy last", "-", *copied]
    assert paper_table(result, {"mine": ["a", "b", "c"]}).splitlines()[-2].startswith("mine")


def test_a_protocol_without_these_metrics_raises() -> None:
    with pytest.raises(ConfigError, match=r"\[paper\] protocol openstl .*protocol plain or mathieu2016"):
        paper_rows(evaluation("openstl", {"a": (1.0, 2.0)}), {"a": ["a"]})
