"""What the embedded worlds share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidpred.data.settings import DataSettings
from vidpred.data.sources import OneByOne
from vidpred.data.worlds.two_way import REFERENCE_SIDE


class CertainWorld(OneByOne):
    """Base of embedded worlds without chance, of gray pictures: every window is a clip of its own, a function of the
    world's seed and its number."""

    name: str
    side = REFERENCE_SIDE  # where the settings name none

    def __init__(self, settings: DataSettings, offsets: Sequence[int], count: int, seed: int) -> None:
        self.settings, self.offsets, self.count, self.seed = settings, list(offsets), count, seed
        self.side = settings.size or settings.patch_size or self.side

    def frames(self, index: int) -> np.ndarray:
        """The frames `offsets` of clip `index`, `(n, side, side, 1)` uint8."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.count

    def clip_name(self, index: int) -> str:
        return self.name.removeprefix("the embedded world of ")

    def window(self, index: int) -> np.ndarray:
        return np.repeat(self.frames(index), self.settings.channels, 3)

    def sample(self, window: int, random: np.random.Generator) -> np.ndarray:
        return self.window(window)
