"""Models of several runs, for commands that compare them."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path

from vidpred.errors import ConfigError
from vidpred.inference.predictor import Predictor, choose_device


def load_predictors(
    runs: Sequence[Path], checkpoint: str = "best", device: str = "auto", sharpness: float | None = None
) -> list[Predictor]:
    """Load several runs onto one device; see `Predictor.load` and `set_sharpness`. Errors name the options."""
    choose_device(device, "--device ")
    predictors = [Predictor.load(run, checkpoint, device) for run in runs]
    for predictor in predictors:
        if sharpness is not None:
            predictor.set_sharpness(sharpness, "--sharpness ")
    return predictors


def check_same_frames(predictors: Sequence[Predictor], mend: str) -> None:
    """Check that runs take the same frames of a video. Raises ConfigError, whose message ends with `mend`."""
    for key in ("channels", "frame_skip", "video.fps"):
        read = attrgetter(key.replace("video.", "video_settings."))
        found = sorted({read(predictor.data) for predictor in predictors}, key=str)
        if len(found) > 1:
            raise ConfigError(f"the runs differ in their frames [data.{key}: {found}]; {mend}")


def named(predictors: Sequence[Predictor]) -> list[str]:
    """Return the predictors' names, numbered where they are not unique."""
    names = [predictor.name for predictor in predictors]
    if len(set(names)) == len(names):
        return names
    return [f"{name} ({place})" for place, name in enumerate(names, 1)]
