"""The variants of the training-step benchmark compute the same step as a training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from benchmarks import training_step
from vidpred.config import load_config
from vidpred.data.batch import Batch


@pytest.mark.slow
def test_both_variants_take_the_same_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 and on the same batch, the plain step gives the same weights as vidpred's."""
    small = load_config("ucf101.yaml", {"data.root": None, "model.size": "release", "discriminator.size": "release"})
    monkeypatch.setattr(training_step, "load_config", lambda *_: small)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    batch = Batch(torch.rand(2, 4, 3, 32, 32), torch.rand(2, 1, 3, 32, 32), torch.arange(2))
    AcceleratorState._reset_state()  # of earlier tests
    for freeze in (False, True):
        ours = training_step.build_trainer("float32")
        step = training_step.plain_step(ours, batch, freeze)
        before = [value.clone() for value in ours.networks["generator"].parameters]
        plain = next(cell.cell_contents for cell in step.__closure__ if callable(cell.cell_contents))
        networks = dict(zip(plain.__code__.co_freevars, plain.__closure__, strict=True))
        step()
        ours.train_step(0, batch)
        for name in ("generator", "discriminator"):
            theirs = networks[name].cell_contents.parameters()
            for mine, other in zip(ours.networks[name].parameters, theirs, strict=True):
                torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
        assert any(not torch.equal(a, b) for a, b in zip(before, ours.networks["generator"].parameters, strict=True))
