"""The validation of a training: what is measured on the validation split."""

from __future__ import annotations

import sys

from accelerate import Accelerator

from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, evaluation_offsets, training_offsets
from vidpred.data.worlds.points import POINTS
from vidpred.errors import DataError
from vidpred.evaluation.modes import coverage, draw_points
from vidpred.evaluation.protocols import validation_numbers
from vidpred.training.settings import TrainingSettings
from vidpred.training.trainer import Validate

VALIDATION = ("validate_every", "validation_windows", "best_by")


def validation_settings(data: DataSettings, training: TrainingSettings) -> tuple[str, ...]:
    """Return which of `VALIDATION` a run reads: images from noise have no true frames to be compared with."""
    if data.context_frames:
        return VALIDATION if training.validate_every else VALIDATION[:1]
    return VALIDATION[:1] if data.has_points else ()


def build_validation(data: DataSettings, training: TrainingSettings, accelerator: Accelerator) -> Validate | None:
    """Return what measures the averaged weights on the validation split; None where the split has no window, or there
    is nothing to measure.

    Args:
        data: The run's data.
        training: The settings of its training.
        accelerator: Of the run; its main process warns where there is no window.
    """
    if not data.context_frames:
        world = POINTS.get(data.world_settings.name) if data.root is None else None
        return None if world is None else lambda generator: coverage(draw_points(generator), world).logged()
    steps = data.lead - 1 + data.future_frames
    try:
        source = build_source(data, "validation", evaluation_offsets(data, steps))
    except DataError as error:
        if accelerator.is_main_process:
            print(f"vidpred: warning: training without validation: {error}", file=sys.stderr)
        return None
    windows = training.validation_windows
    return lambda generator: validation_numbers(generator, source, windows, accelerator.device)


def held_out_images(data: DataSettings) -> Source | None:
    """Return the validation split; None where there is none."""
    try:
        return build_source(data, "validation", training_offsets(data))
    except DataError:
        return None
