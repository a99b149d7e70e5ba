"""Sources of windows of frames, and the stateless order in which training reads them.

A sample is a function of (seed, position), where position counts the samples of the whole run. Step s therefore trains
on the same samples for any number of processes and workers, and however often the run was interrupted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from vidpred.data.batch import Batch
from vidpred.data.settings import DataSettings
from vidpred.errors import DataError


def training_offsets(settings: DataSettings) -> list[int]:
    """Return the frame offsets of a training window: the context, then the future from `data.lead` frames after it."""
    context = range(settings.context_frames)
    first = settings.context_frames - 1 + settings.lead
    return [*context, *range(first, first + settings.future_frames)]


def evaluation_offsets(settings: DataSettings, num_frames: int) -> list[int]:
    """Return the frame offsets of an evaluation window: the history, then `num_frames` future frames."""
    return list(range(settings.history_len + num_frames))


class Source(ABC):
    """The base class of all sources: numbered windows of frames, with optional actions, states and classes.

    Subclasses set `name` and `context_frames` and implement `__len__` and `window`. Sources with actions, states or
    classes also set the attributes that describe them; everything else has a default.
    """

    name: str
    """Name of the source in messages: its path, or the name of its world."""
    context_frames: int
    """Number of context frames in a training sample; the other frames are future frames."""
    action_size: int = 0
    """Size of the action from one frame of a window to the next; 0 without actions."""
    state_size: int = 0
    """Size of the state of a frame; 0 without states."""
    classes: Sequence[str] = ()
    """Names of the classes; empty without classes."""
    frame_size: tuple[int, int] | None = None
    """Height and width of its whole frames, if they all have the same and it is known."""
    action_bounds: tuple[list[float], list[float]] | None = None
    """Minimum and maximum of each action component over the training data, if they are known."""
    action_names: Sequence[str] = ()
    """Names of the action's components; empty if they have none."""
    labels: np.ndarray | None = None
    """`(len(self),)` int64, the class of each window, -1 if it is hidden; None without classes."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def window(self, index: int) -> np.ndarray:
        """Return the frames of window `index`, not cropped: `(n, H, W, C)`, uint8 or float32 in [0, 1]."""

    def clip_name(self, index: int) -> str:
        """Return the name of the clip of window `index`; evaluation averages over the windows of a clip."""
        return self.name

    def window_actions(self, index: int) -> np.ndarray | None:
        """Return the actions of window `index`, or None without actions.

        Returns:
            `(N - 1, action_size)` float32, where N counts every data.frame_skip-th frame from the first to the last of
            the window, including those before the lead, which `window` skips. With data.frame_skip=n, a row joins n
            actions.
        """
        return None

    def action_statistics(self) -> tuple[list[float], list[float]]:
        """Return means and standard deviations of the `action_size` action components over the training data."""
        raise NotImplementedError(f"{type(self).__name__}.action_statistics")

    def window_states(self, index: int) -> np.ndarray | None:
        """Return the states of window `index`, `(N, state_size)` float32, N as for the actions; None without states."""
        return None

    def state_statistics(self) -> tuple[list[float], list[float]]:
        """Return means and standard deviations of the `state_size` state components over the training data."""
        raise NotImplementedError(f"{type(self).__name__}.state_statistics")

    def sequences(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield sequences of states `(N, state_size)` and the actions `(N - 1, action_size)` between them, if any.

        By default, each window is one sequence.
        """
        for index in range(len(self)):
            states = self.window_states(index)
            if states is not None:
                yield states, self.window_actions(index)

    def order(self, random: np.random.Generator) -> np.ndarray:
        """Return the order of one epoch, a permutation of all windows."""
        return random.permutation(len(self))

    def sample(self, window: int, random: np.random.Generator) -> np.ndarray:
        """Return a training sample from a window, `(n, H, W, C)`.

        By default, this is the window itself; subclasses may crop and augment it.
        """
        return self.window(window)

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        """Return a batch with a training sample from each window, a function of (seed, position).

        Args:
            windows: Indices of the windows.
            positions: Position of each sample in the whole training, which seeds its augmentation.
            seed: Seed of the run.
        """
        pairs = zip(windows, positions, strict=True)
        frames = stack_frames(
            [self.sample(window, np.random.default_rng((seed, 1, position))) for window, position in pairs]
        )
        return Batch(
            frames[:, : self.context_frames].contiguous(),
            frames[:, self.context_frames :].contiguous(),
            torch.tensor(positions),
            stack_rows(map(self.window_actions, windows)) if self.action_size else None,
            stack_rows(map(self.window_states, windows)) if self.state_size else None,
            None if self.labels is None else torch.from_numpy(self.labels[np.asarray(windows)]),
        )


class WrappedSource(Source):
    """A source that delegates to another one; base class of sources that change some of its behavior."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name, self.context_frames = source.name, source.context_frames
        self.action_size, self.state_size = source.action_size, source.state_size
        self.classes, self.labels = source.classes, source.labels
        self.frame_size, self.action_bounds = source.frame_size, source.action_bounds
        self.action_names = source.action_names

    def __len__(self) -> int:
        return len(self.source)

    def window(self, index: int) -> np.ndarray:
        return self.source.window(index)

    def clip_name(self, index: int) -> str:
        return self.source.clip_name(index)

    def window_actions(self, index: int) -> np.ndarray | None:
        return self.source.window_actions(index)

    def action_statistics(self) -> tuple[list[float], list[float]]:
        return self.source.action_statistics()

    def window_states(self, index: int) -> np.ndarray | None:
        return self.source.window_states(index)

    def state_statistics(self) -> tuple[list[float], list[float]]:
        return self.source.state_statistics()

    def sequences(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        return self.source.sequences()

    def order(self, random: np.random.Generator) -> np.ndarray:
        return self.source.order(random)

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        return self.source.draw(windows, positions, seed)


def evenly_spaced(count: int, wanted: int | None, middle: bool = True) -> list[int]:
    """Return at most `wanted` (None: all) evenly spaced numbers below `count`, ascending.

    The range is divided into `wanted` equal parts, of which the middle or the first number is returned.
    """
    if wanted is None or wanted >= count:
        return list(range(count))
    return [(2 * part + middle) * count // (2 * wanted) for part in range(wanted)]


class Runs:
    """A numbering of windows that are grouped into runs, such as shots. counts: the number of windows in each run."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = counts
        self._ends = list(accumulate(counts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def locate(self, index: int) -> tuple[int, int]:
        """Return the index of the run that contains window `index`, and the window's position in it, from 0."""
        run = bisect_right(self._ends, index)
        return run, index - (self._ends[run - 1] if run else 0)


def window_actions(source: Source, index: int) -> Tensor | None:
    """Return a window's actions as a batch of one, `(1, N - 1, A)`, or None without actions."""
    found = source.window_actions(index)
    return None if found is None else torch.from_numpy(found.copy())[None]


def window_states(source: Source, index: int, count: int) -> Tensor | None:
    """Return the states at the first `count` frames of a window as a batch of one, `(1, count, S)`, or None."""
    found = source.window_states(index)
    return None if found is None else torch.from_numpy(found[:count].copy())[None]


class TrainingSamples(Dataset[Batch]):
    """Training samples by position: the epoch is position // windows, the window follows from that epoch's order."""

    def __init__(self, source: Source, seed: int) -> None:
        self.source, self.seed = source, seed
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def _window(self, position: int) -> int:
        epoch, place = divmod(position, len(self.source))
        if self._order[0] != epoch:
            self._order = (epoch, self.source.order(np.random.default_rng((self.seed, 0, epoch))))
        return int(self._order[1][place])

    def __getitem__(self, position: int) -> Batch:
        return self.source.draw([self._window(position)], [position], self.seed)

    def __getitems__(self, positions: list[int]) -> list[Batch]:
        """Return a whole batch; called by torch's data loader."""
        return [self.source.draw([self._window(position) for position in positions], positions, self.seed)]


class StepSampler(Sampler[list[int]]):
    """A sampler of the positions that this process trains on, for every step from `first_step` on."""

    def __init__(self, first_step: int, steps: int, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        """Divide each batch between processes.

        Args:
            first_step: First step of the run to yield.
            steps: Number of steps of the run.
            batch_size: Samples per step over all processes, a multiple of `processes`.
            rank: Number of this process.
            processes: Number of processes.
        """
        assert batch_size % processes == 0
        self.first_step, self.steps, self.batch_size = first_step, steps, batch_size
        self.share, self.rank = batch_size // processes, rank

    def __len__(self) -> int:
        return self.steps - self.first_step

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first_step, self.steps):
            start = step * self.batch_size + self.rank * self.share
            yield list(range(start, start + self.share))


def collate(batches: list[Batch]) -> Batch:
    """Concatenate batches along the samples.

    Raises:
        DataError: The frames have different sizes.
    """
    if len(batches) == 1:
        return batches[0]
    check_sizes({tuple(batch.context.shape[2:]) for batch in batches})
    actions = [batch.actions for batch in batches if batch.actions is not None]
    states = [batch.states for batch in batches if batch.states is not None]
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return Batch(
        torch.cat([batch.context for batch in batches]),
        torch.cat([batch.future for batch in batches]),
        torch.cat([batch.positions for batch in batches]),
        torch.cat(actions) if actions else None,
        torch.cat(states) if states else None,
        torch.cat(labels) if labels else None,
    )


def stack_frames(samples: Sequence[np.ndarray]) -> Tensor:
    """Stack samples `(n, H, W, C)` to `(B, n, C, H, W)`.

    Raises:
        DataError: The frames have different sizes.
    """
    check_sizes({(sample.shape[3], *sample.shape[1:3]) for sample in samples})
    return torch.from_numpy(np.stack(samples)).permute(0, 1, 4, 2, 3)


def stack_rows(rows: Iterable[np.ndarray | None]) -> Tensor:
    """Stack the actions or states of several windows, `(n, values)` each, to `(B, n, values)`; none may be None."""
    return torch.from_numpy(np.stack([row for row in rows if row is not None]))


def check_sizes(sizes: set[tuple[int, ...]]) -> None:
    """Check that all frames of a batch have the same size, (..., height, width).

    Raises:
        DataError: There are several sizes.
    """
    if len(sizes) > 1:
        named = ", ".join(f"{width}x{height}" for *_, height, width in sorted(sizes)[:3])
        raise DataError(
            f"whole frames of different sizes cannot share a batch ({named}) [data.crop_size]; set it to a number"
        )


def to_frames(window: np.ndarray) -> torch.Tensor:
    """Convert `(n, H, W, C)` uint8 to `(n, C, H, W)` float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(window)).permute(0, 3, 1, 2).float() / 255
