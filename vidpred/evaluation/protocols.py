"""Measure predictors on windows of true video, frame by frame ahead, the simple baselines beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vidpred.data.sources import Source, spread, to_frames, window_actions, window_states
from vidpred.evaluation.learned import Learned
from vidpred.evaluation.measures import MEASURES, PROTOCOLS, Protocol, TrueFrames, measure
from vidpred.evaluation.samples import Spread, row_names, summarise
from vidpred.models.baselines import build_baselines
from vidpred.models.build import history_frames
from vidpred.models.noise import noise_channels, seeded_noise
from vidpred.models.rollout import stream_rollout

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
    samples: int | None = None  # futures drawn in every window; None: one prediction
    seed: int = 0  # of their noise
    spread: dict[str, list[Sum]] = field(default_factory=dict)  # model with noise -> its spread, one for every step


def window_of_each_clip(source: Source) -> list[int]:
    """The middle window of every clip, in the clips' order."""
    windows: dict[str, list[int]] = {}
    for index in range(len(source)):
        windows.setdefault(source.clip_name(index), []).append(index)
    return [numbers[len(numbers) // 2] for numbers in windows.values()]


def with_baselines(models: Mapping[str, nn.Module], steps: int) -> dict[str, nn.Module]:
    """The baselines beside the models, for rollouts of `steps` frames."""
    return {**models, **{name: baseline for name, baseline in build_baselines(steps).items() if name not in models}}


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
    samples: int | None = None,
    seed: int = 0,
    learned: Learned | None = None,
) -> Evaluation:
    """Predict `steps` frames in every chosen window, with every model, and measure them against the true frames.

    The source's windows hold `known_frames(models)` known frames and `steps` coming ones; every model sees the newest
    it needs, and the true actions and the
    states of the known frames where it takes any. Whole frames, in float32. protocol says what is measured and on
    which windows; names picks some of its measures. One window is in memory at a time.
    samples: futures drawn in every window from a model that takes noise, which then has three rows (best, mean and
    worst of so many) and a spread; None: one, and one row. A draw's noise is a function of (seed, window, sample).
    learned: what watches the predictions with networks of its own, and keeps its numbers.
    """
    chosen = window_of_each_clip(source) if protocol.one_window_a_clip else list(range(len(source)))
    chosen = [chosen[place] for place in spread(len(chosen), most_windows)]
    rows = {name: row_names(name, model, samples) for name, model in models.items()}
    scores = {row: Scores(steps) for names_of in rows.values() for row in names_of.values()}
    apart = {name: [Sum() for _ in range(steps)] for name, row in rows.items() if len(row) > 1}
    for index in tqdm(chosen, desc="evaluate", unit="window", disable=not progress):
        frames = to_frames(source.window(index))[None]
        if device is not None:
            frames = frames.to(device)
        known = frames.shape[1] - steps
        actions, states = window_actions(source, index), window_states(source, index, known)
        clip = source.clip_name(index)
        true = [TrueFrames(frames, known + step) for step in range(steps)]
        values: dict[tuple[str, int, str], float] = {}
        if learned is not None:
            learned.see_truth(frames[:, known:])
        for name, model in models.items():
            count = samples or 1 if name in apart else 1
            draws = draw_windows(model, frames[:, :known], steps, (seed, index), count, actions, states)
            if learned is not None:
                draws = learned.watch(name, draws, frames[:, known:])
            spreads, drawn = measure_draws(draws, true, names or protocol.measures)
            for (step, metric), numbers in drawn.items():
                summary = summarise(numbers, MEASURES[metric].lower_is_better)
                values |= {(row, step, metric): summary[kind] for kind, row in rows[name].items()}
            for step, total in enumerate(apart.get(name, ())):
                total.add(spreads[step].value)
        for (name, step, metric), value in values.items():
            reference = values.get((REFERENCE, step, metric), math.nan)
            scores[name].add(clip, step, metric, value, reference)
    return Evaluation(len(chosen), steps, scores, protocol, samples, seed, apart)


def draw_windows(
    model: nn.Module,
    context: Tensor,
    steps: int,
    key: tuple[int, ...],
    count: int,
    actions: Tensor | None = None,
    states: Tensor | None = None,
) -> Iterator[Iterator[Tensor]]:
    """`count` rollouts of one window, each a stream of frames; their noise is a function of (key, sample). actions,
    states: the window's, as `stream_rollout` takes them."""
    for sample in range(count):
        noise = seeded_noise(model, 1, *key, sample) if noise_channels(model) else None
        yield stream_rollout(model, context, steps, noise, actions, states)


def measure_draws(
    draws: Iterable[Iterable[Tensor]], true: Sequence[TrueFrames], names: Sequence[str]
) -> tuple[list[Spread], dict[tuple[int, str], list[float]]]:
    """How far the draws lie apart in every step, and (step, measure) -> its value for every draw."""
    spreads = [Spread() for _ in true]
    drawn: dict[tuple[int, str], list[float]] = {}
    for draw in draws:
        for step, prediction in enumerate(draw):
            spreads[step].add(prediction)
            for name in names:
                drawn.setdefault((step, name), []).append(measure(name, prediction, true[step]))
    return spreads, drawn


def validation_numbers(generator: nn.Module, source: Source, windows: int, device: torch.device) -> dict[str, float]:
    """What training watches: the mean psnr, psnr_moving and ssim of the frames that the generator learns to predict."""
    lead, together = int(generator.step), int(generator.pred_frames)  # type: ignore[arg-type]
    names, steps = ("psnr", "psnr_moving", "ssim"), lead - 1 + together
    result = evaluate_models({"model": generator}, source, steps, windows, names=names, device=device)
    overall = result.scores["model"].overall
    # With a lead, the steps before it are predicted from older frames: what it learns are the frames from there on.
    numbers = {name: [total.mean for total in overall[name]][lead - 1 :] for name in names}
    return {name: sum(values) / len(values) for name, values in numbers.items()}
