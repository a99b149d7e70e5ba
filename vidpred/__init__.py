"""Predict the future frames of a video.

The public names are loaded on first use, so that `import vidpred` is instant: it does not import torch, print or
configure anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidpred.version import __version__

if not Path(__file__).with_name("data_prep").is_dir():  # a checkout, with data_prep next to the package
    __path__.append(str(Path(__file__).parents[1]))

_HOMES = {  # public name -> the module that defines it
    "Config": "vidpred.config",
    "Predictor": "vidpred.inference.predictor",
    "VidpredError": "vidpred.errors",
    "compare": "vidpred.evaluation.compare",
    "evaluate": "vidpred.evaluation.evaluate",
    "load_config": "vidpred.config",
    "read_video": "vidpred.data.videos.read_video",
    "render": "vidpred.media.prediction_files",
    "rollout": "vidpred.models.rollout",
    "train": "vidpred.run",
    "write_video": "vidpred.media.video_writer",
}
__all__ = [
    "Config", "Predictor", "VidpredError", "__version__", "compare", "evaluate", "load_config", "read_video", "render",
    "rollout", "train", "write_video",
]  # fmt: skip

if TYPE_CHECKING:
    from vidpred.config import Config, load_config
    from vidpred.data.videos.read_video import read_video
    from vidpred.errors import VidpredError
    from vidpred.evaluation.compare import compare
    from vidpred.evaluation.evaluate import evaluate
    from vidpred.inference.predictor import Predictor
    from vidpred.media.prediction_files import render
    from vidpred.media.video_writer import write_video
    from vidpred.models.rollout import rollout
    from vidpred.run import train


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vidpred' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
