"""Measure predictors on windows of true video, frame by frame ahead, the simple baselines beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vidpred.data.clips import Source, to_frames
from vidpred.evaluation import metrics
from vidpred.inference.rollout import stream_rollout
from vidpred.models.baselines import BASELINES
from vidpred.models.build import history_frames

REFERENCE = "copy last"
CAP = 100.0  # dB: what an exact frame counts, so that a mean over windows stays finite
DEFINITIONS = {
    "psnr": "peak signal-to-noise ratio in dB, peak 1, over all pixels and channels of a frame; at most 100",
    "ssim": "structural similarity, 11x11 Gaussian window of sigma 1.5, mean over channels and whole windows",
    "sharpness": "sharpness difference in dB (Mathieu et al. 2016), higher is sharper in the right places; at most 100",
    "psnr_moving": "psnr over the moving pixels only: those whose optical flow (DIS) from the true frame before, is "
    "longer than 0.2 pixels; frames with fewer than 16 of them are left out",
    "ssim_moving": "mean of the ssim map over the moving pixels",
    "sharpness_moving": "sharpness difference over the moving pixels only",
}
AVERAGING = "each number is the mean over n frames (one of each window); +- is the standard error of that mean"

Metric = Callable[[Tensor, Tensor, Tensor], Tensor]  # prediction, truth (1, C, H, W), moving (1, H, W) -> (1,)
METRICS: dict[str, Metric] = {
    "psnr": lambda prediction, truth, moving: metrics.psnr(prediction, truth).clamp(max=CAP),
    "ssim": lambda prediction, truth, moving: metrics.ssim(prediction, truth),
    "sharpness": lambda prediction, truth, moving: metrics.sharpness_difference(prediction, truth).clamp(max=CAP),
    "psnr_moving": lambda *pictures: metrics.masked_psnr(*pictures).clamp(max=CAP),
    "ssim_moving": metrics.masked_ssim,
    "sharpness_moving": lambda *pictures: metrics.masked_sharpness_difference(*pictures).clamp(max=CAP),
}


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


def spread_windows(source: Source, most: int | None) -> list[int]:
    """At most `most` window numbers, evenly spread over the source; always the same ones."""
    count = len(source)
    if most is None or most >= count:
        return list(range(count))
    return [(2 * place + 1) * count // (2 * most) for place in range(most)]


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
    names: tuple[str, ...] = tuple(METRICS),
    device: torch.device | None = None,
) -> Evaluation:
    """Predict `steps` frames in every chosen window, with every model, and measure them against the true frames.

    The source's windows hold `known_frames(models)` known frames and `steps` coming ones; every model sees the newest
    it needs. Whole frames, in float32. names picks metrics from `METRICS`. One window is in memory at a time.
    """
    chosen = spread_windows(source, most_windows)
    scores = {name: Scores(steps) for name in models}
    for index in tqdm(chosen, desc="evaluate", unit="window", disable=not progress):
        frames = to_frames(source.window(index))[None]
        if device is not None:
            frames = frames.to(device)
        known = frames.shape[1] - steps
        clip = source.clip_name(index)
        moving = [metrics.moving_pixels(frames[:, known + k - 1], frames[:, known + k]) for k in range(steps)]
        values: dict[tuple[str, int, str], float] = {}
        for name, model in models.items():
            for step, prediction in enumerate(stream_rollout(model, frames[:, :known], steps)):
                truth = frames[:, known + step]
                for metric in names:
                    values[name, step, metric] = _measure(metric, prediction, truth, moving[step])
        for (name, step, metric), value in values.items():
            reference = values.get((REFERENCE, step, metric), math.nan)
            scores[name].add(clip, step, metric, value, reference)
    return Evaluation(len(chosen), steps, scores)


def _measure(metric: str, prediction: Tensor, truth: Tensor, moving: Tensor) -> float:
    if metric.startswith("ssim") and min(truth.shape[-2:]) < metrics.SSIM_WINDOW:
        return math.nan  # not defined on pictures smaller than its window
    return float(METRICS[metric](prediction, truth, moving))


def validation_numbers(generator: nn.Module, source: Source, windows: int, device: torch.device) -> dict[str, float]:
    """What training watches: the mean psnr, psnr_moving and ssim of the frames that the generator learns to predict."""
    lead, together = int(generator.step), int(generator.pred_frames)  # type: ignore[arg-type]
    names, steps = ("psnr", "psnr_moving", "ssim"), lead - 1 + together
    result = evaluate_models({"model": generator}, source, steps, windows, names=names, device=device)
    overall = result.scores["model"].overall
    # With a lead, the steps before it are predicted from older frames: what it learns are the frames from there on.
    numbers = {name: [total.mean for total in overall[name]][lead - 1 :] for name in names}
    return {name: sum(values) / len(values) for name, values in numbers.items()}
