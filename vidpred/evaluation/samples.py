"""Several futures drawn for one window: the best, mean and worst of N, and how far apart they lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vidpred.models.base import Generator

SPREAD = "spread"
DEFINITIONS = {
    "best of {samples}": "the best value of the measure among the {samples} futures drawn for a window, for each frame "
    "and measure by itself: it rises with the number drawn, so only equal numbers compare",
    "mean of {samples}": "the mean of the measure over the {samples} futures drawn for a window: what one draw scores",
    "worst of {samples}": "the worst value of the measure among the {samples} futures drawn for a window",
    "spread of {samples}": "how far apart the {samples} futures drawn for a window lie: the standard deviation of a "
    "pixel over them (with {samples} - 1 in the denominator), values in [0, 1], mean over pixels and channels",
}


def definitions(samples: int) -> dict[str, str]:
    """What the numbers of `samples` draws are, by name."""
    return {name.format(samples=samples): text.format(samples=samples) for name, text in DEFINITIONS.items()}


def row_names(name: str, model: Generator, samples: int | None) -> dict[str, str]:
    """Statistic -> the name of its row in an evaluation; one row, of one prediction, for a model without noise."""
    if samples is None or not model.noise_channels:
        return {"mean": name}
    return {kind: row_name(name, kind, samples) for kind in ("best", "mean", "worst")}


def row_name(name: str, statistic: str, samples: int) -> str:
    """`row_name("mine", "best", 100) == "mine, best of 100"`."""
    return f"{name}, {statistic} of {samples}"


def summarise(values: Sequence[float], lower_is_better: bool, best: float | None = None) -> Mapping[str, float]:
    """Return best, mean and worst of the values that are numbers; NaN where none is.

    best: where neither higher nor lower is better, the value from which the distance counts.
    """
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return dict.fromkeys(("best", "mean", "worst"), math.nan)
    mean = sum(numbers) / len(numbers)
    if best is not None:
        numbers.sort(key=lambda number: -abs(number - best))
    else:
        numbers.sort(reverse=lower_is_better)
    return {"best": numbers[-1], "mean": mean, "worst": numbers[0]}


class Spread:
    """The per-pixel standard deviation of images that come one by one (Welford's update)."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, image: Tensor) -> None:
        """Any shape, the same one every time."""
        image = image.double()
        if not self.count:
            self.mean, self.squares = torch.zeros_like(image), torch.zeros_like(image)
        self.count += 1
        change = image - self.mean
        self.mean += change / self.count
        self.squares += change * (image - self.mean)

    @property
    def value(self) -> float:
        """The mean of it over all pixels; NaN below two images."""
        return float((self.squares / (self.count - 1)).sqrt().mean()) if self.count > 1 else math.nan
