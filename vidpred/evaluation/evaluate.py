"""Evaluate runs on the windows of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vidpred.data.build import build_source
from vidpred.data.recorded_splits import RecordedSplits, with_root
from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source
from vidpred.data.splits import SPLITS, Part
from vidpred.errors import ConfigError, counted
from vidpred.evaluation import report
from vidpred.evaluation.metric_table import find_protocol
from vidpred.evaluation.network_metrics import NetworkMetrics
from vidpred.evaluation.protocols import (
    Evaluation,
    Measurement,
    evaluate_models,
    max_history_len,
    with_baselines,
)
from vidpred.inference.load_models import (
    Data,
    as_predictors,
    by_name,
    check_same_data,
    evaluation_mode,
    refuse_trained,
    warn_without_splits,
)
from vidpred.inference.predictor import Predictor
from vidpred.models.base import Generator
from vidpred.models.build import count_parameters
from vidpred.models.conditions import check_conditions
from vidpred.version import __version__


@dataclass(frozen=True)
class EvaluationRequest(Measurement):
    """A request to measure predictions.

    Attributes:
        split: Split of the first run's data: test, validation or train.
        root: Data to use instead of the run's, read with its settings.
        size: Short side of the frames for all runs; None: their data.size, which has to be the same.
    """

    windows: int | None = 200
    split: str = "test"
    root: str | None = None
    size: int | None = None

    def build_source(self, data: DataSettings, context_frames: int) -> Source:
        """Return the split's windows of `context_frames` context frames and the future frames."""
        offsets = range(context_frames + self.num_frames)
        return build_source(self.chosen(data), self.split, offsets, progress=self.progress)

    def chosen(self, data: DataSettings) -> DataSettings:
        """Return the settings of a run with the root and the size of the request."""
        settings = with_root(data, self.root)
        return settings if self.size is None else settings.model_copy(update={"size": self.size})


@dataclass
class PrintedEvaluation(Evaluation):
    """An evaluation whose text is its tables.

    Attributes:
        about: The runs, data, split and versions that the numbers belong to.
    """

    about: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return report.text(self, None, self.about)

    def to_json(self) -> dict[str, Any]:
        """Return all numbers with their definitions, as plain values by name."""
        return report.to_json(self, self.about)

    def means(self, metric: str) -> dict[str, list[float]]:
        """Return table row (a model or a baseline) -> the metric's mean at every frame ahead, t+1 first."""
        return {name: [total.mean for total in scores.overall[metric]] for name, scores in self.scores.items()}


def evaluate(
    models: Any,
    data: Data | None = None,
    num_frames: int = 8,
    split: str = "test",
    windows: int | None = 200,
    protocol: str = "plain",
    num_samples: int | None = None,
    seed: int = 0,
) -> PrintedEvaluation:
    """Measure predictions on held-out videos, next to copy-last and optical flow.

    Args:
        models: A predictor, a run's folder or name, a finished training, or an own generator: a module or function that
            maps context frames `(B, T, C, H, W)` in [0, 1] to future frames `(B, K, C, H, W)`, with the attribute
            `context_frames` (T). Several in a list or, with names for the tables, in a dict.
        data: A folder of videos or a prepared data set; or settings that replace those of the run, such as
            {"root": "clips", "size": 64}. None: the run's data.
        num_frames: Number of frames ahead.
        split: Split of the data: test, validation or train.
        windows: Maximum number of windows, evenly spread; None: all.
        protocol: Set of metrics: plain, detail, mathieu2016 or openstl.
        num_samples: Futures to draw in each window from models that take noise.
        seed: Noise seed.

    Returns:
        The numbers; `print` shows the tables.

    Raises:
        VidpredError: A run, the data or a setting cannot be used.
    """
    request = EvaluationRequest(num_frames, windows, find_protocol(protocol), num_samples, seed, True, split=split)
    with evaluation_mode(models):
        predictors = as_predictors(models, data)
        found = evaluate_predictors(predictors, request)
    return PrintedEvaluation(**vars(found), about=about_evaluation(predictors, request))


def evaluate_predictors(
    predictors: Sequence[Predictor], request: EvaluationRequest, learned: NetworkMetrics | None = None
) -> Evaluation:
    """Measure predictors and the baselines on whole frames of a split of the first one's data, or of `request.root`.

    Args:
        predictors: Runs that predict frames.
        request: What to measure.
        learned: Collects LPIPS, FID and FVD.

    Raises:
        ConfigError: The split is unknown, samples are requested and no run takes noise, runs differ in data.size
            (unless `request.size` is given), data.channels, data.frame_skip or data.video.fps, one was trained on what
            is measured, or the data have no actions or states that a run takes.
        DataError: The split has no window that is long enough.
    """
    check_request(predictors, request)
    models = models_and_baselines(predictors, request.num_frames)
    source = request.build_source(predictors[0].data, max_history_len(models))
    for predictor in predictors:
        check_conditions(predictor.generator, source)
    return evaluate_models(models, source, request, predictors[0].device, learned)


def check_request(predictors: Sequence[Predictor], request: EvaluationRequest) -> None:
    """Check that the request fits the predictors and that they take the same frames. Raises ConfigError."""
    if request.split not in SPLITS:
        raise ConfigError(f"no such split [--split {request.split}]; choose from {', '.join(SPLITS)}")
    for option, count in (("frames", request.num_frames), ("windows", request.windows)):
        if count is not None and count < 1:
            raise ConfigError(f"[--{option} {count}] must be at least 1")
    for predictor in predictors:
        predictor.check_predicts_frames()
    if request.root is None:
        warn_without_splits(predictors[0])
    check_same_data(predictors, "evaluate them one by one")
    if request.size is None:
        check_same_data(predictors, "give one size for all, --size N, or evaluate them one by one", ["size"])
    check_not_trained_on(predictors, request)
    if request.num_samples is not None and not any(predictor.draws_samples for predictor in predictors):
        predictors[0].check_samples(request.num_samples)


def check_not_trained_on(predictors: Sequence[Predictor], request: EvaluationRequest) -> None:
    """Check that no run was trained on clips that are measured, which are those of the first run.

    Raises:
        ConfigError: One was, by the splits that both runs store.
    """
    first, *others = (request.chosen(predictor.data) for predictor in predictors)
    measured = _recorded_parts(first, request.split) if request.split != "train" else []
    for predictor, data in zip(predictors[1:], others, strict=True):
        trained = _recorded_parts(data, "train")
        if not (trained and measured) or not Path(str(data.root)).samefile(str(first.root)):
            continue
        ranges = {part.clip: part for part in trained}
        seen = sorted(part.clip for part in measured if _overlap(part, ranges.get(part.clip)))
        if seen:
            raise ConfigError(
                f"{predictor.name} was trained on {counted(len(seen), 'clip')} of the {request.split} split of "
                f"{predictors[0].name} [{first.root}]: {', '.join(seen[:3])}; evaluate them one by one, or on new data"
            )
    if request.split != "train":
        refuse_trained(predictors, first, request.split)


def _overlap(part: Part, other: Part | None) -> bool:
    return other is not None and part.first < other.end and other.first < part.end


def _recorded_parts(data: DataSettings, split: str) -> list[Part]:
    """Return the parts of a split that a run stores; none for a list of a user and for a folder that is gone."""
    if data.root is None or data.split_file is None or not Path(data.root).exists():
        return []
    recorded = RecordedSplits.read(Path(data.split_file))
    return [part for part in recorded.parts if part.split == split] if recorded else []


def models_and_baselines(predictors: Sequence[Predictor], num_frames: int) -> dict[str, Generator]:
    """Return the predictors' generators and the baselines by name, for rollouts of `num_frames` frames."""
    models = {name: predictor.generator for name, predictor in by_name(predictors).items()}
    return with_baselines(models, num_frames)


def describe_frames(data: DataSettings) -> str:
    """Return the settings that choose the frames that are measured."""
    size = "the videos' size" if data.size is None else f"size {data.size} (short side)"
    rate = "" if data.video_settings.fps is None else f", {data.video_settings.fps:g} fps"
    skip = "" if data.frame_skip == 1 else f", data.frame_skip={data.frame_skip}"
    return f"frames of {size}, {counted(data.channels, 'channel')}{rate}{skip}"


def about_evaluation(predictors: Sequence[Predictor], request: EvaluationRequest) -> dict[str, Any]:
    """Return the runs, data, split and versions that the numbers belong to, as plain values by name."""
    return {
        "runs": [{"name": p.name, "step": p.step, "parameters": count_parameters(p.generator)} for p in predictors],
        "data": request.root or predictors[0].data.root or "the embedded forking-ball world",
        "split": request.split,
        "frames": describe_frames(request.chosen(predictors[0].data)),
        "versions": {"vidpred": __version__, "torch": torch.__version__},
    }
