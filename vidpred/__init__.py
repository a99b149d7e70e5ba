"""Predict the future frames of a video.

The public names are loaded on first use, so that `import vidpred` is instant: it does not import torch, print or
configure anything. What it imports is loaded before Ctrl-C can be handled, so it only imports what Python has loaded.
"""

from __future__ import annotations

import os

from vidpred.version import __version__

if not os.path.isdir(os.path.join(os.path.dirname(__file__), "data_prep")):  # a checkout: it is next to the package
    __path__.append(os.path.dirname(os.path.dirname(__file__)))

_HOMES = {  # public name -> the module that defines it
    "Config": "vidpred.config",
    "Predictor": "vidpred.inference.predictor",
    "VidpredError": "vidpred.errors",
    "compare": "vidpred.evaluation.compare",
    "evaluate": "vidpred.evaluation.evaluate",
    "export": "vidpred.inference.export",
    "load_config": "vidpred.config",
    "read_video": "vidpred.data.videos.read_video",
    "render": "vidpred.media.prediction_files",
    "rollout": "vidpred.models.rollout",
    "stream": "vidpred.streaming.forecasts",
    "train": "vidpred.run",
    "write_video": "vidpred.media.video_writer",
}
__all__ = [
    "Config", "Predictor", "VidpredError", "__version__", "compare", "evaluate", "export", "load_config", "read_video",
    "render", "rollout", "stream", "train", "write_video",
]  # fmt: skip

TYPE_CHECKING = False  # without loading typing
if TYPE_CHECKING:
    from typing import Any

    from vidpred.config import Config, load_config
    from vidpred.data.videos.read_video import read_video
    from vidpred.errors import VidpredError
    from vidpred.evaluation.compare import compare
    from vidpred.evaluation.evaluate import evaluate
    from vidpred.inference.export import export
    from vidpred.inference.predictor import Predictor
    from vidpred.media.prediction_files import render
    from vidpred.media.video_writer import write_video
    from vidpred.models.rollout import rollout
    from vidpred.run import train
    from vidpred.streaming.forecasts import stream


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vidpred' has no attribute {name!r}")
    from vidpred.processes.imports import import_home

    return getattr(import_home(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
