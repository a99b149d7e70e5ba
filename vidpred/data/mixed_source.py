"""A training source of which a share is replaced by samples of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidpred.data.batch import Batch
from vidpred.data.sources import TrainingSource, collate


class Mixture:
    """Windows of `main`; a training sample is, with chance `share`, one of `other`'s instead. Which is a function of
    (seed, position)."""

    def __init__(self, main: TrainingSource, other: TrainingSource, share: float) -> None:
        self.main, self.other, self.share = main, other, share
        self.name = f"{main.name}, and {share:.0%} from {other.name}"

    def __len__(self) -> int:
        return len(self.main)

    def clip_name(self, index: int) -> str:
        return self.main.clip_name(index)

    def window(self, index: int) -> np.ndarray:
        return self.main.window(index)

    def order(self, random: np.random.Generator) -> np.ndarray:
        return self.main.order(random)

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        batches = []
        for window, position in zip(windows, positions, strict=True):
            random = np.random.default_rng((seed, 2, position))
            if random.random() < self.share:
                batches.append(self.other.draw([int(random.integers(len(self.other)))], [position], seed))
            else:
                batches.append(self.main.draw([window], [position], seed))
        return collate(batches)
