"""Statistics of several futures drawn for one window: the best, mean and worst of N, and their spread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vidpred.models.base import Generator

SPREAD = "spread"
DEFINITIONS = {
    "best of {samples}": "the best value of the metric among the {samples} futures drawn for a window, separately for "
    "each frame and metric: it rises with the number drawn, so compare only equal numbers",
    "mean of {samples}": "the mean of the metric over the {samples} futures drawn for a window: the score of one draw",
    "worst of {samples}": "the worst value of the metric among the {samples} futures drawn for a window",
    "spread of {samples}": "the standard deviation of a pixel over the {samples} futures drawn for a window (with "
    "{samples} - 1 in the denominator), values in [0, 1], mean over pixels and channels",
}


def definitions(samples: int) -> dict[str, str]:
    """Return the definitions of the statistics of `samples` draws, by name."""
    return {name.format(samples=samples): text.format(samples=samples) for name, text in DEFINITIONS.items()}


def row_names(name: str, model: Generator, samples: int | None) -> dict[str, str]:
    """Return statistic -> the name of its row in an evaluation; a model without noise has one row."""
    if samples is None or not model.noise_channels:
        return {"mean": name}
    return {kind: row_name(name, kind, samples) for kind in ("best", "mean", "worst")}


def row_name(name: str, statistic: str, samples: int) -> str:
    """Return the name of a row: `row_name("mine", "best", 100) == "mine, best of 100"`."""
    return f"{name}, {statistic} of {samples}"


def summarize(values: Sequence[float], lower_is_better: bool, best: float | None = None) -> Mapping[str, float]:
    """Return best, mean and worst of the values without NaN; NaN if none is left.

    Args:
        values: The value of every draw.
        lower_is_better: Whether lower is better.
        best: Best value, where neither higher nor lower is better; the distance to it counts.
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
    """The per-pixel standard deviation of images, accumulated one by one (Welford's update)."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, image: Tensor) -> None:
        """Add one sample: an image of any shape, the same in every call."""
        image = image.double()
        if not self.count:
            self.mean, self.squares = torch.zeros_like(image), torch.zeros_like(image)
        self.count += 1
        change = image - self.mean
        self.mean += change / self.count
        self.squares += change * (image - self.mean)

    @property
    def value(self) -> float:
        """The mean over all pixels; NaN below two images."""
        return float((self.squares / (self.count - 1)).sqrt().mean()) if self.count > 1 else math.nan
