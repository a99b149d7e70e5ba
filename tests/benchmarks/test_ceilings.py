"""Ceilings of the machine, and training steps next to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.experiments import ceilings
from benchmarks.experiments.ceilings import Case, convolution_rate
from benchmarks.results import Result
from benchmarks.speed_tables import step_shares


@pytest.mark.slow
def test_the_rate_of_a_convolution_counts_what_torch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a time of one second, the rate is the number of operations."""
    from torch.utils.flop_counter import FlopCounterMode  # imports torch's compiler

    monkeypatch.setattr(ceilings, "time_in_turns", lambda variants, rounds: {"it": [1.0]})
    with FlopCounterMode(display=False) as counter:
        torch.nn.Conv2d(8, 8, 5, padding=2)(torch.zeros(3, 8, 16, 16))
    assert convolution_rate(torch.float32, 3, 8, 16, 5, rounds=1) == counter.get_total_flops()


@pytest.mark.slow
def test_steps_of_a_small_case_and_their_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"model.size": "release", "discriminator.size": "release"}
    monkeypatch.setattr(ceilings, "CASES", [Case("small", "ucf101.yaml", 2, 32, 1, small)])
    monkeypatch.setattr(ceilings, "ceilings", lambda precision: {precision: 4e9, "copy": 8e9})
    monkeypatch.setattr(ceilings, "choose_precision", lambda *_: "float32")
    values = ceilings.measure(tmp_path, 0)
    (row,) = values["rows"]
    assert row["label"] == "small, batch 2, 32 px"
    assert {name: len(seconds) for name, seconds in row["seconds"].items()} == {"vidpred": 1, "plain float32": 1}
    assert row["gflop"] > 1
    row |= {"gflop": 3.0, "seconds": {"vidpred": [1.5, 1.5, 9.0], "plain float32": [3.0]}}
    name = ceilings.CEILING_EXPERIMENTS[0].name
    table = step_shares({(name, 0): Result(name, 0, "", {}, values)})
    assert "| 50 % | 2.00x (plain float32) |" in table
