"""Metrics of the frames that `predict` writes, with the same functions as an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from vidpred.evaluation.metric_table import METRICS, PROTOCOLS, Protocol, TrueFrames, measure
from vidpred.evaluation.report import to_number
from vidpred.evaluation.samples import definitions as of_samples
from vidpred.evaluation.samples import row_name, summarize
from vidpred.media.prediction_images import Step
from vidpred.models.base import Generator
from vidpred.models.baselines import build_baselines
from vidpred.models.rollout import stream_rollout

PLAIN = PROTOCOLS["plain"]
TRUE_FRAMES = 3  # the newest ones that metrics use: the target and two before it


class ClipMetrics:
    """The metrics of every predicted frame with ground truth, of the models and of the baselines.

    Attributes:
        rows: Table row (a model; best, mean or worst of its samples; or a baseline) -> metric -> a value for every
            measured frame.
    """

    def __init__(self, context: Tensor, num_frames: int, protocol: Protocol = PLAIN) -> None:
        """Start at the end of a context.

        Args:
            context: `(T, C, H, W)` in [0, 1].
            num_frames: Number of predicted frames.
            protocol: The metrics.
        """
        self.protocol, self._context = protocol, context
        self.rows: dict[str, dict[str, list[float]]] = {}
        self._true = list(context[-TRUE_FRAMES + 1 :])
        self._before: dict[str, Tensor] = {}
        baselines: dict[str, Generator] = build_baselines(num_frames)
        self._baselines = {
            name: stream_rollout(model, context[None, -model.history_len :], num_frames)
            for name, model in baselines.items()
            if len(context) >= model.min_history_len
        }

    @torch.inference_mode()
    def measured(self, steps: Iterable[Step]) -> Iterator[Step]:
        """Yield the steps unchanged, and measure those with true frames as they pass."""
        for step in steps:
            if step.target is not None:
                self._add(step, step.target)
            yield step

    def _add(self, step: Step, target: Tensor) -> None:
        self._true = [*self._true, target][-TRUE_FRAMES:]
        true = TrueFrames(torch.stack(self._true)[None], len(self._true) - 1)
        baselines = {name: next(frames) for name, frames in self._baselines.items()}
        for name, samples in {**baselines, **step.predictions}.items():
            before = self._before.get(name, self._context[-1:].expand_as(samples))
            self._before[name] = samples
            for metric in self.protocol.metrics:
                drawn = [
                    measure(metric, one[None], true, last[None]) for one, last in zip(samples, before, strict=True)
                ]
                if len(drawn) == 1:
                    self.rows.setdefault(name, {}).setdefault(metric, []).append(drawn[0])
                    continue
                summary = summarize(drawn, METRICS[metric].lower_is_better, METRICS[metric].best)
                for kind, value in summary.items():
                    row = self.rows.setdefault(row_name(name, kind, len(drawn)), {})
                    row.setdefault(metric, []).append(value)

    def to_json(self) -> dict[str, dict[str, list[float | None]]]:
        """Return `rows` (name -> metric -> value of every measured frame) with None for values that are not defined."""
        return {
            name: {metric: [to_number(value) for value in values] for metric, values in row.items()}
            for name, row in self.rows.items()
        }

    def summary(self, metric: str = "psnr") -> str:
        """Return a line with the mean of one metric over the measured frames for every row; empty without any."""
        means = {}
        for name, row in self.rows.items():
            values = [value for value in row[metric] if math.isfinite(value)]
            if values:
                means[name] = f"{name} {sum(values) / len(values):.2f}"
        return f"mean {METRICS[metric].title} of the predicted frames: " + ", ".join(means.values()) if means else ""


def definitions(num_samples: int | None, protocol: Protocol = PLAIN) -> dict[str, str]:
    """Return name -> definition of the protocol's metrics and, for several samples, of their statistics."""
    named = {name: METRICS[name].definition for name in protocol.metrics}
    return {**named, **(of_samples(num_samples) if num_samples and num_samples > 1 else {})}
