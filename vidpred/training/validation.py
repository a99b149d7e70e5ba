"""Validation during training: metrics of the averaged weights on the validation split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import torch
from accelerate import Accelerator

from vidpred.data.build import build_source
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source, evaluation_offsets, training_offsets
from vidpred.data.worlds.points import POINTS
from vidpred.errors import ConfigError, DataError, warn
from vidpred.evaluation.modes import draw_points, measure_coverage
from vidpred.evaluation.protocols import REFERENCE, Measurement, evaluate_models
from vidpred.models.base import Generator
from vidpred.models.baselines import CopyLast, FlowExtrapolation
from vidpred.training.settings import TrainingSettings
from vidpred.training.updates import Validate

METRICS, GAINS = ("psnr", "psnr_moving", "ssim"), ("psnr", "psnr_moving")
MAX_FLOW_MEGAPIXELS = 20.0  # of predicted frames; about 3 s of flow on one CPU core
EARLY_STOPPING = ("early_stopping_patience", "early_stopping_min_delta")
VALIDATION = ("validate_every", "validation_windows", "best_by", *EARLY_STOPPING)


def validation_settings(data: DataSettings, training: TrainingSettings) -> tuple[str, ...]:
    """Return which of `VALIDATION` a run reads; images from noise have no true frames to compare with."""
    if data.context_frames:
        if not training.validate_every:
            return VALIDATION[:1]
        return VALIDATION if training.early_stopping_patience else VALIDATION[:-1]
    return VALIDATION[:1] if data.has_points else ()


class Validation:
    """Validation metrics of a generator on a fixed choice of windows, with gains over baselines in dB.

    Gains (`psnr_over_copy_last`, `psnr_over_optical_flow` and those of `psnr_moving`) are mean differences over the
    frames that differ from the last context frame. Flow is measured once, and only where that takes seconds.
    """

    def __init__(self, source: Source, windows: int, device: torch.device) -> None:
        self.source, self.windows, self.device = source, windows, device
        self._flow: dict[str, float] | None = None  # its gains over copy-last

    def __call__(self, generator: Generator) -> dict[str, float]:
        """Return mean psnr, psnr_moving and ssim of the frames that the generator trains on, and finite gains."""
        numbers, over_copy = self._measure("model", generator, generator)
        if self._flow is None:
            cheap = generator.history_len > 1 and self._megapixels(generator) <= MAX_FLOW_MEGAPIXELS
            self._flow = self._measure("optical flow", FlowExtrapolation(), generator)[1] if cheap else {}
        gains = {f"{name}_over_copy_last": gain for name, gain in over_copy.items()}
        gains |= {f"{name}_over_optical_flow": over_copy[name] - gain for name, gain in self._flow.items()}
        return numbers | {name: gain for name, gain in gains.items() if math.isfinite(gain)}

    def _measure(self, name: str, model: Generator, trained: Generator) -> tuple[dict[str, float], dict[str, float]]:
        """Return a model's metrics and its gains over copy-last, on the frames that `trained` trains on."""
        lead = trained.lead
        how = Measurement(lead - 1 + trained.pred_frames, self.windows, only=METRICS, changed_only=True)
        result = evaluate_models({name: model, REFERENCE: CopyLast()}, self.source, how, self.device).scores[name]
        # Frames before the lead are predicted from an older context; the generator trains on those from the lead on.
        overall = {
            metric: _mean_of([total.mean for total in result.overall[metric][lead - 1 :]]) for metric in how.only
        }
        gains = {metric: result.gain[metric][lead - 1 :] for metric in GAINS}
        return overall, {metric: _mean_of([total.mean for total in totals]) for metric, totals in gains.items()}

    def _megapixels(self, generator: Generator) -> float:
        height, width = self.source.window(0).shape[1:3]
        frames = min(self.windows, len(self.source)) * (generator.lead - 1 + generator.pred_frames)
        return float(frames * height * width / 1e6)


def _mean_of(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan


def build_validation(data: DataSettings, training: TrainingSettings, accelerator: Accelerator) -> Validate | None:
    """Return a function that measures a generator on the validation split.

    Args:
        data: Settings of the run's data.
        training: Settings of its training.
        accelerator: The run's accelerator; its main process warns if the split has no window.

    Returns:
        The function; None if the split has no window or there is nothing to measure.

    Raises:
        ConfigError: Early stopping needs the split, which has no window.
    """
    if not data.context_frames:
        world = POINTS.get(data.world_settings.name) if data.root is None else None
        return None if world is None else lambda generator: measure_coverage(draw_points(generator), world).logged()
    steps = data.lead - 1 + data.future_frames
    try:
        source = build_source(data, "validation", evaluation_offsets(data, steps))
    except DataError as error:
        if training.early_stopping_patience:
            raise ConfigError(
                f"[training.early_stopping_patience={training.early_stopping_patience}] there is no validation split: "
                f"{error}"
            ) from None
        if accelerator.is_main_process:
            warn(f"training without validation: {error}")
        return None
    return Validation(source, training.validation_windows, accelerator.device)


def held_out_images(data: DataSettings) -> Source | None:
    """Return the validation split; None if there is none."""
    try:
        return build_source(data, "validation", training_offsets(data))
    except DataError:
        return None
