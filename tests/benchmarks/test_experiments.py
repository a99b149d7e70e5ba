"""Numbers of experiments, by hand-worked logs; the ladder's rungs differ as the presets do."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.experiments import ladder
from benchmarks.experiments.ladder import FINE, RUNGS, real_rung, world_rung
from benchmarks.experiments.sharpness import SETTLED, WINDOW, balance_numbers
from vidpred.run import plan


def test_balance_uses_means_over_the_last_steps() -> None:
    """From step 201 on there are 100 means: 1.0 for 50 steps, then falling by 1/50 per step to 0.0."""
    numbers = balance_numbers([1.0] * (SETTLED + WINDOW) + [0.0] * WINDOW)
    # above: 50 means of 1.0 and 0.98, 0.96, 0.94, 0.92; in balance 0.90 to 0.50: 21; below: 25
    assert (numbers["above"], numbers["share of steps in balance"], numbers["below"]) == pytest.approx(
        (0.54, 0.21, 0.25)
    )
    assert (numbers["highest"], numbers["lowest"]) == (1.0, 0.0)
    assert balance_numbers([0.7] * 300)["share of steps in balance"] == 1


@pytest.mark.slow
def test_rungs_of_both_ladders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scales, exponent, gradient difference and adversary match the paper's table, on both data sets."""
    monkeypatch.setattr(ladder, "real_clips", lambda: "clips")
    expected = {
        "single_l2": (1, 2, False, False), "l2": (4, 2, False, False), "l1": (4, 1, False, False),
        "gdl_l1": (4, 1, True, False), "adv": (4, 1, False, True), "adv_gdl": (4, 1, True, True),
        FINE: (4, 1, True, True),
    }  # fmt: skip
    for make, rungs in ((real_rung, RUNGS), (world_rung, RUNGS[:-1])):
        for rung in rungs:
            config = make(rung, tmp_path / "row-0", 0)
            if make is world_rung:  # its start does not exist here
                plan(config.model_copy(update={"training": config.training.model_copy(update={"init_from": None})}))
            objective = config.objective
            found = (
                config.model.num_scales,
                objective.lp_exponent,
                objective.gdl_weight > 0,
                objective.has_discriminator,
            )
            assert found == expected[rung], rung
    assert real_rung(FINE, tmp_path, 0).data.crop_size == 64
    assert real_rung(FINE, tmp_path, 0).training.init_from == real_rung("adv_gdl", tmp_path, 0).run
