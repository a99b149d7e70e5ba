"""Measure predictors and simple baselines on windows of true video, for every frame ahead."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from tqdm import tqdm

from vidpred.data.batch import side_by_side
from vidpred.data.sources import Source, evenly_spaced, to_frames, window_actions, window_states
from vidpred.evaluation.feature_distance import FeatureNetwork
from vidpred.evaluation.metric_table import CAP, METRICS, PROTOCOLS, Protocol, TrueFrames, measure
from vidpred.evaluation.network_metrics import NetworkMetrics
from vidpred.evaluation.samples import Spread, row_names, summarize
from vidpred.models.base import Generator
from vidpred.models.baselines import build_baselines
from vidpred.models.noise import seeded_noise
from vidpred.models.rollout import stream_rollout

REFERENCE = "copy last"
AVERAGING = "each number is the mean over n frames (one per window); +- is the standard error of that mean"


@dataclass
class RunningMean:
    """A running mean and its standard error; NaN values are skipped."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        if not math.isnan(value):
            self.count, self.total, self.squares = self.count + 1, self.total + value, self.squares + value**2

    @property
    def mean(self) -> float:
        """Return the mean; NaN without values."""
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
    """One predictor's numbers: metric -> one `RunningMean` for every frame ahead, overall and by clip.

    `gain` and `gain_by_clip` are differences from copy-last on the same frames. Their error is far smaller than that of
    the numbers themselves, because the difficulty of a frame affects all models alike.
    """

    num_frames: int
    overall: dict[str, list[RunningMean]] = field(default_factory=dict)
    by_clip: dict[str, dict[str, list[RunningMean]]] = field(default_factory=dict)
    gain: dict[str, list[RunningMean]] = field(default_factory=dict)
    gain_by_clip: dict[str, dict[str, list[RunningMean]]] = field(default_factory=dict)

    def add(self, clip: str, step: int, metric: str, value: float, reference: float) -> None:
        """Add a metric's value on one predicted frame.

        Args:
            clip: Name of its clip.
            step: Index of the frame among the predicted ones, from 0.
            metric: Its name.
            value: The value; NaN where it is not defined.
            reference: Copy-last's value on the same frame; NaN without it.
        """
        for table in (self.overall, self.by_clip.setdefault(clip, {})):
            table.setdefault(metric, [RunningMean() for _ in range(self.num_frames)])[step].add(value)
        for table in (self.gain, self.gain_by_clip.setdefault(clip, {})):
            table.setdefault(metric, [RunningMean() for _ in range(self.num_frames)])[step].add(value - reference)


@dataclass
class Evaluation:
    """The result for several predictors on the same windows.

    Attributes:
        windows: Number of windows.
        num_frames: Number of frames ahead.
        scores: Table row -> its numbers.
        protocol: The metrics and the choice of windows.
        num_samples: Futures drawn in every window; None: one prediction.
        seed: Noise seed.
        spread: Model with noise -> the spread of its samples, for every frame ahead.
    """

    windows: int
    num_frames: int
    scores: dict[str, Scores]
    protocol: Protocol = PROTOCOLS["plain"]
    num_samples: int | None = None
    seed: int = 0
    spread: dict[str, list[RunningMean]] = field(default_factory=dict)


def window_of_each_clip(source: Source) -> list[int]:
    """Return the index of the middle window of every clip, in the order of the clips."""
    windows: dict[str, list[int]] = {}
    for index in range(len(source)):
        windows.setdefault(source.clip_name(index), []).append(index)
    return [numbers[len(numbers) // 2] for numbers in windows.values()]


def with_baselines(models: Mapping[str, Generator], num_frames: int) -> dict[str, Generator]:
    """Add the baselines to the models, for rollouts of `num_frames` frames."""
    return {
        **models,
        **{name: baseline for name, baseline in build_baselines(num_frames).items() if name not in models},
    }


def max_history_len(models: Mapping[str, Generator]) -> int:
    """Return the largest `history_len` of the models: the context frames that a window needs for all of them."""
    return max(model.history_len for model in models.values())


@dataclass(frozen=True)
class Measurement:
    """Settings of a measurement, independent of the data.

    Attributes:
        num_frames: Number of frames ahead.
        windows: Maximum number of windows, evenly spread; None: all.
        protocol: The metrics and the choice of windows.
        num_samples: Futures to draw in each window from models that take noise, which then have three rows (best, mean
            and worst) and a spread; None: one future, one row.
        seed: Noise seed; a future's noise is a function of (seed, window, sample).
        progress: Whether to show a progress bar.
        only: Names of metrics; empty: all of the protocol's.
        frames: Frames ahead to measure; empty: all.
        network: A network for the distance of features; None: not measured.
        changed_only: Whether gains skip frames on which copy-last is exact, because nothing changed.
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
    changed_only: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the metrics to compute."""
        return self.only or self.printed.metrics

    @property
    def printed(self) -> Protocol:
        """The protocol, with the metric `features` if there is a network."""
        return self.protocol if self.network is None else replace(self.protocol, added=("features",))

    def choose_windows(self, source: Source) -> list[int]:
        """Return the indices of the windows to measure, evenly spaced: the same in every call."""
        found = window_of_each_clip(source) if self.protocol.one_window_a_clip else list(range(len(source)))
        return [found[place] for place in evenly_spaced(len(found), self.windows)]


def load_window(
    source: Source, index: int, num_frames: int, device: torch.device | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Load a window as `stream_rollout` takes it.

    Returns:
        Frames `(1, T + num_frames, C, H, W)` on the device (None: the CPU), actions, and the states of the first T
        frames.
    """
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

    Frames are whole and float32; one window is in memory at a time.

    Args:
        models: Generators by name; each takes the newest context frames that it needs, actions and states.
        source: Windows of `max_history_len(models)` context and `how.num_frames` future frames.
        how: The settings of the measurement.
        device: Where the generators are; None: on the CPU.
        learned: Collects the metrics by networks; None: not measured.
    """
    chosen = how.choose_windows(source)
    rows = {name: row_names(name, model, how.num_samples) for name, model in models.items()}
    scores = {row: Scores(how.num_frames) for names_of in rows.values() for row in names_of.values()}
    apart = {name: [RunningMean() for _ in range(how.num_frames)] for name, row in rows.items() if len(row) > 1}
    for index in tqdm(chosen, desc="evaluate", unit="window", disable=not how.progress):
        frames, actions, states = load_window(source, index, how.num_frames, device)
        context, future = frames[:, : -how.num_frames], frames[:, -how.num_frames :]
        # Metrics are of images: of the views of several cameras side by side.
        views, future, last = (side_by_side(of_cameras) for of_cameras in (frames, future, context[:, -1]))
        true = [TrueFrames(views, context.shape[1] + step, how.network) for step in range(how.num_frames)]
        values: dict[tuple[str, int, str], float] = {}
        if learned is not None:
            learned.add_target(future)
        for name, model in models.items():
            count = how.num_samples or 1 if name in apart else 1
            drawn_frames = sample_windows(model, context, how.num_frames, (how.seed, index), count, actions, states)
            draws: Iterator[Iterator[Tensor]] = (map(side_by_side, one) for one in drawn_frames)
            if learned is not None:
                draws = learned.update(name, draws, future)
            spreads, drawn = measure_samples(draws, true, how.metrics, last, how.frames)
            for (step, metric), numbers in drawn.items():
                summary = summarize(numbers, METRICS[metric].lower_is_better, METRICS[metric].best)
                values |= {(row, step, metric): summary[kind] for kind, row in rows[name].items()}
            for step, total in enumerate(apart.get(name, ())):
                total.add(spreads[step].value)
        for (name, step, metric), value in values.items():
            reference = values.get((REFERENCE, step, metric), math.nan)
            if how.changed_only and reference == CAP:
                reference = math.nan
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
    """Yield `count` rollouts of one window, each a stream of frames; their noise is a function of (key, sample).

    A single rollout has no noise where that is optional. See `stream_rollout` for the arguments.
    """
    draws = model.noise_channels and not (model.noise_optional and count == 1)
    forward = model.stream_forward(num_frames) if count > 1 else None  # shares what noise leaves alone
    for sample in range(count):
        noise = seeded_noise(model, 1, *key, sample) if draws else None
        yield stream_rollout(model, context, num_frames, noise, actions, states, forward)


def measure_samples(
    draws: Iterable[Iterable[Tensor]],
    true: Sequence[TrueFrames],
    names: Sequence[str],
    last: Tensor,
    frames: Collection[int] = (),
) -> tuple[list[Spread], dict[tuple[int, str], list[float]]]:
    """Measure rollouts of one window.

    Args:
        draws: Rollouts, each a stream of frames `(1, C, H, W)`.
        true: The true frames, for every frame ahead.
        names: Names of metrics.
        last: The last context frame, `(1, C, H, W)`.
        frames: Frames ahead to measure; empty: all.

    Returns:
        The spread of the draws for every frame ahead, and (step, metric) -> its value for every draw.
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
