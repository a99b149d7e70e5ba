"""A training source that mixes in samples of another source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidpred.data.batch import Batch
from vidpred.data.sources import Source, WrappedSource, collate
from vidpred.errors import ConfigError


class MixedSource(WrappedSource):
    """Windows of `main`, where each training sample is replaced by one of `other` with probability `share`.

    The choice is a function of (seed, position).
    """

    def __init__(self, main: Source, other: Source, share: float) -> None:
        """Combine two sources.

        Args:
            main: The source of windows, and of most samples.
            other: The source of the samples that replace some.
            share: Their share, in [0, 1).

        Raises:
            ConfigError: The sources differ in their actions, states or classes.
        """
        super().__init__(main)
        self.other, self.share = other, share
        self.name = f"{main.name}, and {share:.0%} from {other.name}"
        for attribute, one, two in (
            ("actions", main.action_size, other.action_size),
            ("states", main.state_size, other.state_size),
            ("classes", list(main.classes), list(other.classes)),
        ):
            if one != two:
                raise ConfigError(
                    f"[data.world.synthetic_share={share:g}] {main.name} and {other.name} do not have the same "
                    f"{attribute}; set data.world.synthetic_share=0"
                )

    def draw(self, windows: Sequence[int], positions: Sequence[int], seed: int) -> Batch:
        batches = []
        for window, position in zip(windows, positions, strict=True):
            random = np.random.default_rng((seed, 2, position))
            if random.random() < self.share:
                batches.append(self.other.draw([int(random.integers(len(self.other)))], [position], seed))
            else:
                batches.append(self.source.draw([window], [position], seed))
        return collate(batches)
