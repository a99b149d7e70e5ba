"""Windows of frames from sources, and the stateless order in which training sees them.

A sample is a function of (seed, position) alone, where position counts the samples of the whole run: whatever the
number of processes and workers, and however often the run was stopped, step s sees the same samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from vidpred.data.batch import Batch
from vidpred.data.settings import DataSettings
from vidpred.errors import DataError


def training_offsets(settings: DataSettings) -> list[int]:
    """Frame numbers within a training window: the context, then the target `step` frames after its end."""
    context = range(settings.context_frames)
    first = settings.context_frames - 1 + settings.step
    return [*context, *range(first, first + settings.future_frames)]


def evaluation_offsets(settings: DataSettings, steps: int) -> list[int]:
    """Frame numbers within an evaluation window: the known history, then `steps` coming frames."""
    return list(range(settings.history_frames + steps))


class Source(Protocol):
    """Numbered windows of frames, as evaluation sees them."""

    name: str

    def __len__(self) -> int: ...

    def window(self, index: int) -> np.ndarray:
        """Whole frames `(n, H, W, C)` uint8, always the same for an index."""

    def clip_name(self, index: int) -> str:
        """The video that window `index` comes from."""


@runtime_checkable
class ActionSource(Source, Protocol):
    """A source whose frames may come with actions."""

    @property
    def action_size(self) -> int:
        """How many values lead from one frame of a window to the next; 0: there are no actions."""

    def action_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each value over the training data."""

    def window_actions(self, index: int) -> np.ndarray | None:
        """`(n - 1, action_size)` float32 of window `index`; None without actions."""


@runtime_checkable
class StateSource(Source, Protocol):
    """A source whose frames may come with states."""

    @property
    def state_size(self) -> int:
        """How many values a state has; 0: there are none."""

    def state_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each value over the training data."""

    def window_states(self, index: int) -> np.ndarray | None:
        """`(n, state_size)` float32 of window `index`; None without states."""

    def sequences(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Every stretch that windows are taken from: the states `(n, state_size)` of the frames that windows keep, and
        the actions `(n - 1, action_size)` between them, where there are any."""


def window_actions(source: Source, index: int) -> torch.Tensor | None:
    """A window's actions as a batch of one, `(1, n - 1, A)`; None where the source has none."""
    found = source.window_actions(index) if isinstance(source, ActionSource) else None
    return None if found is None else torch.from_numpy(found.copy())[None]


def window_states(source: Source, index: int, known: int) -> torch.Tensor | None:
    """The states of a window's `known` first frames as a batch of one, `(1, known, S)`; None where it has none."""
    found = source.window_states(index) if isinstance(source, StateSource) else None
    return None if found is None else torch.from_numpy(found[:known].copy())[None]


class TrainingSource(Source, Protocol):
    """Windows that training draws samples from."""

    def order(self, random: np.random.Generator) -> np.ndarray:
        """One epoch: every window's number once."""

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        """A training sample from each window (a patch of it, augmented), a function of (seed, position)."""


class OneByOne:
    """Base of training sources that draw a sample at a time, with a random generator of its own."""

    settings: DataSettings

    def __len__(self) -> int:
        raise NotImplementedError

    def sample(self, window: int, random: np.random.Generator) -> np.ndarray:
        """`(n, H, W, C)` uint8 from window `window`: the same, or a patch of it, augmented at random."""
        raise NotImplementedError

    def order(self, random: np.random.Generator) -> np.ndarray:
        return random.permutation(len(self))

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        known = self.settings.context_frames
        return collate(
            [
                batch_of_window(self.sample(window, np.random.default_rng((seed, 1, position))), known, position)
                for window, position in zip(windows, positions, strict=True)
            ]
        )


class TrainingSamples(Dataset[Batch]):
    """Samples by position: epoch = position // windows, window = its place in that epoch's order."""

    def __init__(self, source: TrainingSource, seed: int) -> None:
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
        """What torch's loader calls for a whole batch."""
        return [self.source.draw([self._window(position) for position in positions], positions, self.seed)]


class StepSampler(Sampler[list[int]]):
    """Yields, for every step from `first_step` on, the positions that this process trains on."""

    def __init__(self, first_step: int, steps: int, batch_size: int, rank: int = 0, processes: int = 1) -> None:
        """batch_size counts the samples of all processes and must be a multiple of their number."""
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
    """Batches one after the other as one. Raises DataError where frames are of different sizes."""
    if len(batches) == 1:
        return batches[0]
    sizes = {tuple(batch.context.shape[2:]) for batch in batches}
    if len(sizes) > 1:
        raise different_sizes(sizes)
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


def different_sizes(sizes: set[tuple[int, ...]]) -> DataError:
    """The failure to put frames of these sizes, (..., height, width), into one batch."""
    named = ", ".join(f"{width}x{height}" for *_, height, width in sorted(sizes)[:3])
    return DataError(f"whole frames of different sizes cannot share a batch ({named}) [data.patch_size]; set a number")


def batch_of_window(frames: np.ndarray, known: int, position: int) -> Batch:
    """One sample `(n, H, W, C)` uint8 as a batch of one."""
    tensor = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    return Batch(tensor[None, :known], tensor[None, known:], torch.tensor([position]))


def to_frames(window: np.ndarray) -> torch.Tensor:
    """`(n, H, W, C)` uint8 -> `(n, C, H, W)` float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(window)).permute(0, 3, 1, 2).float() / 255
