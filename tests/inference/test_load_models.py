"""Models of every kind become predictors."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.inference import load_models
from vidpred.inference.load_models import as_predictors
from vidpred.inference.predictor import Predictor, Run


class CopyLast(nn.Module):
    """A user's module with a text attribute that a finished training has too."""

    folder = "weights"
    context_frames = 1

    def forward(self, context: Tensor) -> Tensor:
        return context[:, -1:]


def test_only_a_finished_training_is_loaded_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = CopyLast(), {"root": str(tmp_path), "context_frames": 1}
    (own,) = as_predictors(module, data)
    assert own.generator.module is module
    loaded = []

    def load(folder: Path, *_: object, **__: object) -> Predictor:
        loaded.append(folder)
        return own

    monkeypatch.setattr(Predictor, "load", load)
    assert as_predictors(Run(tmp_path, 0, 1)) == [own]
    assert loaded == [tmp_path]


@pytest.mark.parametrize(("context_frames", "noun"), [(0, "1 image"), (4, "1 clip")])
def test_trained_images_are_not_called_clips(context_frames: int, noun: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_models, "trained_clips", lambda *_: {"a.png"})
    data = DataSettings(context_frames=context_frames)
    with pytest.raises(ConfigError, match=f"trained on {noun} of the test split"):
        load_models.refuse_trained([Predictor.load("pretrained")], data, "test")
