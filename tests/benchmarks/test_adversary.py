"""The settings of the comparison of adversaries, and its counting."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.adversary import DOMAINS, METHODS, SEEDS, all_jobs, closer, job_config, run_name


@pytest.mark.parametrize("method", METHODS)
def test_methods_differ_from_their_control_only_in_the_adversary(method: str) -> None:
    found = job_config((method, "later", 1), Path("frames"), Path("run"), 100)
    control = "l1 + GDL, rollouts" if "rollouts" in method else "l1 + GDL"
    expected = job_config((control, "later", 1), Path("frames"), Path("run"), 100)
    assert (found.data, found.model, found.seed) == (expected.data, expected.model, 1)
    assert found.training.generator == expected.training.generator
    if method.startswith("patches"):
        assert found.objective.has_discriminator
        assert found.objective.adversarial.start == 30
        assert (found.objective.lp_exponent, found.objective.gdl_weight) == (1.0, 1.0)
    else:
        assert not found.objective.has_discriminator


def test_every_training_has_another_folder() -> None:
    names = {run_name(job) for job in all_jobs()}
    assert len(names) == len(METHODS) * len(DOMAINS) * len(SEEDS)


def test_closer_counts_clips_by_frame() -> None:
    reports = {
        "a": {"one": {"feature_distance": [1.0, 2.0, 3.0]}, "two": {"feature_distance": [1.0, 5.0, 3.0]}},
        "b": {"one": {"feature_distance": [2.0, 2.0, 4.0]}, "two": {"feature_distance": [2.0, 6.0, 2.0]}},
    }
    assert closer(reports, "a", "b") == [2, 1, 1]
