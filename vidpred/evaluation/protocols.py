"""Measure predictors on windows of true video, frame by frame ahead, the simple baselines beside them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from tqdm import tqdm

from vidpred.data.sources import Source, spread, to_frames, window_actions, window_states
from vidpred.evaluation.feature_distance import FeatureNetwork
from vidpred.evaluation.metric_table import METRICS, PROTOCOLS, Protocol, TrueFrames, measure
from vidpred.evaluation.network_metrics import NetworkMetrics
from vidpred.evaluation.samples import Spread, row_names, summarise
from vidpred.models.base import Generator
from vidpred.models.baselines import build_baselines
from vidpred.models.noise import seeded_noise
from vidpred.models.rollout import stream_rollout

REFERENCE = "copy last"
AVERAGING = "each number is the mean over n frames (one of each window); +- is the standard error of that mean"


@dataclass
class RunningMean:
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
    """One predictor's numbers: metric -> one `RunningMean` for every step ahead; the same again for every clip.

    gain and gain_by_clip hold the differences to copy-last on the very same frames: their error is far smaller than
    that of the numbers themselves, because easy and hard frames are so for all.
    """

    num_frames: int
    overall: dict[str, list[RunningMean]] = field(default_factory=dict)
    by_clip: dict[str, dict[str, list[RunningMean]]] = field(default_factory=dict)
    gain: dict[str, list[RunningMean]] = field(default_factory=dict)
    gain_by_clip: dict[str, dict[str, list[RunningMean]]] = field(default_factory=dict)

    def add(self, clip: str, step: int, metric: str, value: float, reference: float) -> None:
        """reference: copy-last's value on the same frame, NaN without it."""
        for table in (self.overall, self.by_clip.setdefault(clip, {})):
            table.setdefault(metric, [RunningMean() for _ in range(self.num_frames)])[step].add(value)
        for table in (self.gain, self.gain_by_clip.setdefault(clip, {})):
            table.setdefault(metric, [RunningMean() for _ in range(self.num_frames)])[step].add(value - reference)


@dataclass
class Evaluation:
    """The result for several predictors on the same windows."""

    windows: int
    num_frames: int
    scores: dict[str, Scores]
    protocol: Protocol = PROTOCOLS["plain"]
    num_samples: int | None = None  # futures drawn in every window; None: one prediction
    seed: int = 0  # of their noise
    spread: dict[str, list[RunningMean]] = field(
        default_factory=dict
    )  # model with noise -> its spread, one for every step


def window_of_each_clip(source: Source) -> list[int]:
    """The middle window of every clip, in the clips' order."""
    windows: dict[str, list[int]] = {}
    for index in range(len(source)):
        windows.setdefault(source.clip_name(index), []).append(index)
    return [numbers[len(numbers) // 2] for numbers in windows.values()]


def with_baselines(models: Mapping[str, Generator], num_frames: int) -> dict[str, Generator]:
    """The baselines beside the models, for rollouts of `num_frames` frames."""
    return {
        **models,
        **{name: baseline for name, baseline in build_baselines(num_frames).items() if name not in models},
    }


def known_frames(models: Mapping[str, Generator]) -> int:
    """The history that windows need, so that every model finds enough known frames."""
    return max(model.history_len for model in models.values())


@dataclass(frozen=True)
class Measurement:
    """How predictions are measured, whatever the data.

    Attributes:
        steps: Number of frames ahead.
        windows: Maximum number of windows, evenly spread; None: all.
        protocol: Which measures, and on which windows.
        samples: Futures to draw in each window from models that take noise, which then have three rows (best, mean and
            worst) and a spread; None: one future, one row.
        seed: Noise seed; a future's noise is a function of (seed, window, sample).
        progress: Whether to show a progress bar.
        only: Names of measures; empty: all of the protocol's.
        frames: Frames ahead to measure; empty: all.
        network: A network whose features' distance is one more measure.
    """

    num_frames: int = 8
    windows: int | None = None
    protocol: Protocol = PROTOCOLS["plain"]
    num_samples: int | None = None
    seed: int = 0
    progress: bool = False
    only: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()
    network: FeatureNetwork | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the measures to compute."""
        return self.only or self.printed.metrics

    @property
    def printed(self) -> Protocol:
        """The protocol with the measure that the network adds."""
        return self.protocol if self.network is None else replace(self.protocol, added=("features",))

    def choose_windows(self, source: Source) -> list[int]:
        """Return the indices of the windows to measure on, always the same ones."""
        found = window_of_each_clip(source) if self.protocol.one_window_a_clip else list(range(len(source)))
        return [found[place] for place in spread(len(found), self.windows)]


def load_window(
    source: Source, index: int, num_frames: int, device: torch.device | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return a window's frames `(1, T + num_frames, C, H, W)` on a device (None: the CPU), its actions, and the states
    of its first T frames, as `stream_rollout` takes them."""
    frames = to_frames(source.window(index))[None]
    frames = frames if device is None else frames.to(device)
    return frames, window_actions(source, index), window_states(source, index, frames.shape[1] - num_frames)


@torch.inference_mode()
def evaluate_models(
    models: Mapping[str, Generator],
    source: Source,
    how: Measurement,
    device: torch.device | None = None,
    learned: NetworkMetrics | None = None,
) -> Evaluation:
    """Predict the future of every chosen window with every model, and measure it against the true frames.

    Whole frames in float32, one window in memory at a time.

    Args:
        models: Networks by name; each takes the newest context frames that it needs, actions and states.
        source: Windows of `known_frames(models)` context and `how.num_frames` future frames.
        how: What is measured, and on how many windows.
        device: Where the networks are; None: on the CPU.
        learned: Networks that also measure the predictions; it keeps their numbers.
    """
    chosen = how.choose_windows(source)
    rows = {name: row_names(name, model, how.num_samples) for name, model in models.items()}
    scores = {row: Scores(how.num_frames) for names_of in rows.values() for row in names_of.values()}
    apart = {name: [RunningMean() for _ in range(how.num_frames)] for name, row in rows.items() if len(row) > 1}
    for index in tqdm(chosen, desc="evaluate", unit="window", disable=not how.progress):
        frames, actions, states = load_window(source, index, how.num_frames, device)
        context, future = frames[:, : -how.num_frames], frames[:, -how.num_frames :]
        true = [TrueFrames(frames, context.shape[1] + step, how.network) for step in range(how.num_frames)]
        values: dict[tuple[str, int, str], float] = {}
        if learned is not None:
            learned.see_truth(future)
        for name, model in models.items():
            count = how.num_samples or 1 if name in apart else 1
            draws = sample_windows(model, context, how.num_frames, (how.seed, index), count, actions, states)
            if learned is not None:
                draws = learned.update(name, draws, future)
            spreads, drawn = measure_samples(draws, true, how.metrics, context[:, -1], how.frames)
            for (step, metric), numbers in drawn.items():
                summary = summarise(numbers, METRICS[metric].lower_is_better, METRICS[metric].best)
                values |= {(row, step, metric): summary[kind] for kind, row in rows[name].items()}
            for step, total in enumerate(apart.get(name, ())):
                total.add(spreads[step].value)
        for (name, step, metric), value in values.items():
            reference = values.get((REFERENCE, step, metric), math.nan)
            scores[name].add(source.clip_name(index), step, metric, value, reference)
    return Evaluation(len(chosen), how.num_frames, scores, how.printed, how.num_samples, how.seed, apart)


def sample_windows(
    model: Generator,
    context: Tensor,
    num_frames: int,
    key: tuple[int, ...],
    count: int,
    actions: Tensor | None = None,
    states: Tensor | None = None,
) -> Iterator[Iterator[Tensor]]:
    """`count` rollouts of one window, each a stream of frames; their noise is a function of (key, sample). actions,
    states: the window's, as `stream_rollout` takes them."""
    for sample in range(count):
        noise = seeded_noise(model, 1, *key, sample) if model.noise_channels else None
        yield stream_rollout(model, context, num_frames, noise, actions, states)


def measure_samples(
    draws: Iterable[Iterable[Tensor]],
    true: Sequence[TrueFrames],
    names: Sequence[str],
    last: Tensor,
    frames: Collection[int] = (),
) -> tuple[list[Spread], dict[tuple[int, str], list[float]]]:
    """Return how far the draws lie apart in every step, and (step, measure) -> its value for every draw.

    last: the last context frame, `(1, C, H, W)`. frames: the frames ahead that are measured; empty: all.
    """
    spreads = [Spread() for _ in true]
    drawn: dict[tuple[int, str], list[float]] = {}
    for draw in draws:
        before = last
        for step, prediction in enumerate(draw):
            spreads[step].add(prediction)
            for name in names if not frames or step + 1 in frames else ():
                drawn.setdefault((step, name), []).append(measure(name, prediction, true[step], before))
            before = prediction
    return spreads, drawn


def validation_numbers(generator: Generator, source: Source, windows: int, device: torch.device) -> dict[str, float]:
    """What training watches: the mean psnr, psnr_moving and ssim of the frames that the generator learns to predict."""
    lead, together = generator.lead, generator.pred_frames
    how = Measurement(lead - 1 + together, windows, only=("psnr", "psnr_moving", "ssim"))
    result = evaluate_models({"model": generator}, source, how, device)
    overall = result.scores["model"].overall
    # With a lead, the steps before it are predicted from older frames: what it learns are the frames from there on.
    numbers = {name: [total.mean for total in overall[name]][lead - 1 :] for name in how.only}
    return {name: sum(values) / len(values) for name, values in numbers.items()}
