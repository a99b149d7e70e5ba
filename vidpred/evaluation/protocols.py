"""Measure predictors on windows of true video, frame by frame ahead, the simple baselines beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from tqdm import tqdm

from vidpred.data.clips import Source, to_frames
from vidpred.evaluation.measures import PROTOCOLS, Protocol, TrueFrames, measure
from vidpred.inference.rollout import stream_rollout
from vidpred.models.baselines import BASELINES
from vidpred.models.build import history_frames

REFERENCE = "copy last"
AVERAGING = "each number is the mean over n frames (one of each window); +- is the standard error of that mean"


@dataclass
class Sum:
    """A running mean and its standard error; values that are not numbers are left out."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        if not math.isnan(value):
            self.count, self.total, self.squares = self.count + 1, self.total + value, self.squares + value**2

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else math.nan

    @property
    def error(self) -> float:
        """The standard error of the mean; NaN below two values."""
        if self.count < 2:
            return math.nan
        variance = max(0.0, self.squares - self.count * self.mean**2) / (self.count - 1)
        return math.sqrt(variance / self.count)


@dataclass
class Scores:
    """One predictor's numbers: metric -> one `Sum` for every step ahead; the same again for every clip.

    gain and gain_by_clip hold the differences to copy-last on the very same frames: their error is far smaller than
    that of the numbers themselves, because easy and hard frames are so for all.
    """

    steps: int
    overall: dict[str, list[Sum]] = field(default_factory=dict)
    by_clip: dict[str, dict[str, list[Sum]]] = field(default_factory=dict)
    gain: dict[str, list[Sum]] = field(default_factory=dict)
    gain_by_clip: dict[str, dict[str, list[Sum]]] = field(default_factory=dict)

    def add(self, clip: str, step: int, metric: str, value: float, reference: float) -> None:
        """reference: copy-last's value on the same frame, NaN without it."""
        for table in (self.overall, self.by_clip.setdefault(clip, {})):
            table.setdefault(metric, [Sum() for _ in range(self.steps)])[step].add(value)
        for table in (self.gain, self.gain_by_clip.setdefault(clip, {})):
            table.setdefault(metric, [Sum() for _ in range(self.steps)])[step].add(value - reference)


@dataclass
class Evaluation:
    """The result for several predictors on the same windows."""

    windows: int
    steps: int
    scores: dict[str, Scores]
    protocol: Protocol = PROTOCOLS["plain"]


def spread(count: int, most: int | None) -> list[int]:
    """At most `most` of range(count), evenly spread; always the same ones."""
    if most is None or most >= count:
        return list(range(count))
    return [(2 * place + 1) * count // (2 * most) for place in range(most)]


def window_of_each_clip(source: Source) -> list[int]:
    """The middle window of every clip, in the clips' order."""
    windows: dict[str, list[int]] = {}
    for index in range(len(source)):
        windows.setdefault(source.clip_name(index), []).append(index)
    return [numbers[len(numbers) // 2] for numbers in windows.values()]


def with_baselines(models: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    return {**models, **{name: baseline() for name, baseline in BASELINES.items() if name not in models}}


def known_frames(models: Mapping[str, nn.Module]) -> int:
    """The history that windows need, so that every model finds enough known frames."""
    return max(history_frames(model) for model in models.values())


@torch.inference_mode()
def evaluate_models(
    models: Mapping[str, nn.Module],
    source: Source,
    steps: int,
    most_windows: int | None = None,
    progress: bool = False,
    protocol: Protocol = PROTOCOLS["plain"],
    names: Sequence[str] | None = None,
    device: torch.device | None = None,
) -> Evaluation:
    """Predict `steps` frames in every chosen window, with every model, and measure them against the true frames.

    The source's windows hold `known_frames(models)` known frames and `steps` coming ones; every model sees the newest
    it needs. Whole frames, in float32. protocol says what is measured and on which windows; names picks some of its
    measures. One window is in memory at a time.
    """
    chosen = window_of_each_clip(source) if protocol.one_window_a_clip else list(range(len(source)))
    chosen = [chosen[place] for place in spread(len(chosen), most_windows)]
    scores = {name: Scores(steps) for name in models}
    for index in tqdm(chosen, desc="evaluate", unit="window", disable=not progress):
        frames = to_frames(source.window(index))[None]
        if device is not None:
            frames = frames.to(device)
        known = frames.shape[1] - steps
        clip = source.clip_name(index)
        true = [TrueFrames(frames, known + step) for step in range(steps)]
        values: dict[tuple[str, int, str], float] = {}
        for name, model in models.items():
            for step, prediction in enumerate(stream_rollout(model, frames[:, :known], steps)):
                for metric in names or protocol.measures:
                    values[name, step, metric] = measure(metric, prediction, true[step])
        for (name, step, metric), value in values.items():
            reference = values.get((REFERENCE, step, metric), math.nan)
            scores[name].add(clip, step, metric, value, reference)
    return Evaluation(len(chosen), steps, scores, protocol)


def validation_numbers(generator: nn.Module, source: Source, windows: int, device: torch.device) -> dict[str, float]:
    """What training watches: the mean psnr, psnr_moving and ssim of the frames that the generator learns to predict."""
    lead, together = int(generator.step), int(generator.pred_frames)  # type: ignore[arg-type]
    names, steps = ("psnr", "psnr_moving", "ssim"), lead - 1 + together
    result = evaluate_models({"model": generator}, source, steps, windows, names=names, device=device)
    overall = result.scores["model"].overall
    # With a lead, the steps before it are predicted from older frames: what it learns are the frames from there on.
    numbers = {name: [total.mean for total in overall[name]][lead - 1 :] for name in names}
    return {name: sum(values) / len(values) for name, values in numbers.items()}
