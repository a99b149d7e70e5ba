"""Trainings in programs and notebooks, after other uses of the same process and of the same generator."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate.state import PartialState
from torch import Tensor, nn

from vidpred.config import load_config
from vidpred.models.baselines import CopyLast
from vidpred.run import build_accelerator, train
from vidpred.training import divergence

TINY: dict[str, Any] = {
    "training.steps": 2, "training.batch_size": 2, "training.device": "cpu", "training.validate_every": 0,
    "training.image_every": 0, "training.monitor_every": 0, "data.world.name": "moving_shapes", "data.crop_size": 16,
}  # fmt: skip


class Normalized(nn.Module):
    """A generator with batch norm, and another one whose running statistics are frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.frozen = nn.Conv2d(12, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3).eval()

    def forward(self, context: Tensor) -> Tensor:
        image: Tensor = self.frozen(self.norm(self.layer(context.flatten(1, 2))))
        return image.sigmoid()[:, None]


@pytest.mark.parametrize("used_before", [True, False])
def test_a_generator_that_predicted_before_trains_in_training_mode(tmp_path: Path, used_before: bool) -> None:
    """A Predictor sets it to evaluation; what its author has frozen in training stays frozen."""
    generator = Normalized().eval() if used_before else Normalized()
    train(load_config(None, {**TINY, "run": str(tmp_path / "run")}), generator)
    counted = {name: int(value) for name, value in generator.state_dict().items() if name.endswith("batches_tracked")}
    assert counted == {"norm.num_batches_tracked": 2, "frozen.num_batches_tracked": 2 if used_before else 0}


def test_a_training_is_on_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on that of an earlier one in the same process, which Accelerate keeps."""
    PartialState(cpu=True)
    monkeypatch.setitem(PartialState._shared_state, "device", torch.device("meta"))
    accelerator = build_accelerator(load_config(None, TINY), (CopyLast(), None), 1.0)
    assert accelerator.device == torch.device("cpu")


def test_losses_that_some_processes_lack_are_averaged_over_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the accuracy of classes, in a process without any labeled sample in its part of the batch."""
    other = {"real": 3.0, "classes": 0.0, "gone": float("inf")}
    monkeypatch.setattr(divergence, "gather_object", lambda own: [*own, other])
    numbers = {"real": torch.tensor(1.0), "class_accuracy": torch.tensor(0.5), "classes": torch.tensor(4.0)}
    processes: Any = SimpleNamespace(num_processes=2, device=torch.device("cpu"))
    found = divergence.mean_of({**numbers, "gone": torch.tensor(float("-inf"))}, processes)
    assert str(found.pop("gone")) == "nan"
    assert found == {"real": 2.0, "class_accuracy": 0.5, "classes": 2.0}
