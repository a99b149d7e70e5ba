"""Labels for a part of the training images only, as semi-supervised learning has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from vidpred.data.batch import Batch
from vidpred.data.sources import Source, WrappedSource
from vidpred.errors import DataError

UNKNOWN = -1


class PartiallyLabeled(WrappedSource):
    """A source that hides all labels except `labeled` of them, balanced over the classes.

    A training sample is, with chance `share`, one of these instead of the window that is due: among ten thousands of
    images a hundred would hardly be met. Which is a function of (seed, position).
    """

    def __init__(self, source: Source, labeled: int, share: float = 0.0) -> None:
        """Raises DataError where the source has no classes, or fewer windows than labels are asked for."""
        labels = source.labels
        if labels is None or not len(labels):
            raise DataError(f"[data.labelled={labeled}] the data has no classes [{source.name}]; leave it out")
        if labeled > len(labels):
            raise DataError(f"[data.labelled={labeled}] there are {len(labels)} images [{source.name}]; lower it")
        super().__init__(source)
        self.labeled, self.share = choose_evenly(labels, labeled), share
        self.labels = np.full_like(labels, UNKNOWN)
        self.labels[self.labeled] = labels[self.labeled]

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        if self.share:
            windows = [self._drawn(*pair, seed) for pair in zip(windows, positions, strict=True)]
        batch = self.source.draw(windows, positions, seed)
        assert batch.labels is not None
        labeled = torch.from_numpy(np.isin(windows, self.labeled))
        return replace(batch, labels=batch.labels.masked_fill(~labeled, UNKNOWN))

    def _drawn(self, window: int, position: int, seed: int) -> int:
        random = np.random.default_rng((seed, 3, position))
        return int(random.choice(self.labeled)) if random.random() < self.share else window


def choose_evenly(labels: np.ndarray, count: int) -> np.ndarray:
    """`count` places, ascending: one of each class in turn, in an order that only the labels decide."""
    order = np.random.default_rng(5).permutation(len(labels))
    turns = np.empty(len(labels), np.int64)  # how many of its class come before each place
    for label in np.unique(labels):
        own = order[labels[order] == label]
        turns[own] = np.arange(len(own))
    return np.sort(order[np.argsort(turns[order], kind="stable")][:count])
