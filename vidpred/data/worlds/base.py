"""Base classes of the embedded worlds of moving images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidpred.data.settings import DataSettings
from vidpred.data.sources import Source


class World(Source):
    """The base class of embedded worlds: `count` windows, each a separate clip determined by the seed and its index."""

    side: int
    """Side of the images; the default if the settings define none."""

    def __init__(self, settings: DataSettings, offsets: Sequence[int], count: int, seed: int) -> None:
        self.settings, self.context_frames = settings, settings.context_frames
        self.offsets, self.count, self.seed = list(offsets), count, seed
        self.side = settings.size or settings.crop_size or self.side

    def __len__(self) -> int:
        return self.count

    def clip_name(self, index: int) -> str:
        return self.name.removeprefix("the embedded ").removeprefix("world of ")


class DeterministicWorld(World):
    """The base class of deterministic embedded worlds of gray images."""

    def frames(self, index: int) -> np.ndarray:
        """Return the frames `offsets` of clip `index`, `(n, side, side, 1)` uint8."""
        raise NotImplementedError

    def window(self, index: int) -> np.ndarray:
        return np.repeat(self.frames(index), self.settings.channels, 3)
