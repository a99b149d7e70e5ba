"""Hiding labels of training images, for semi-supervised learning."""

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

    With probability `share`, a training sample is replaced by a labeled one, because a hundred labeled images among
    tens of thousands would rarely be drawn. The choice is a function of (seed, position).
    """

    def __init__(self, source: Source, labeled: int, share: float = 0.0) -> None:
        """Choose the labels to keep.

        Args:
            source: The source.
            labeled: Number of labels to keep.
            share: Share, in [0, 1), of the training samples that are replaced by labeled ones.

        Raises:
            DataError: The source has no classes, or fewer than `labeled` windows.
        """
        labels = source.labels
        if labels is None or not len(labels):
            raise DataError(f"[data.labeled={labeled}] the data has no classes [{source.name}]; remove the setting")
        if labeled > len(labels):
            raise DataError(f"[data.labeled={labeled}] there are only {len(labels)} images [{source.name}]; lower it")
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
    """Return `count` ascending indices, taken from each class in turn; a function of the labels only."""
    order = np.random.default_rng(5).permutation(len(labels))
    turns = np.empty(len(labels), np.int64)  # rank of each index within its class
    for label in np.unique(labels):
        members = order[labels[order] == label]
        turns[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turns[order], kind="stable")][:count])
