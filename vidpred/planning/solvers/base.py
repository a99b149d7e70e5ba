"""Common parts of solvers: problems, plans, noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as functional
from torch import Tensor

from vidpred.planning.planning_model import Bounds

GROUP = 8  # plans that are evaluated together under a time budget
Evaluate = Callable[[Tensor], Tensor]  # plans (B, S, K, A) -> their costs (B, S)


@dataclass(frozen=True)
class Problem:
    """The problem of finding the cheapest plan within bounds for each batch item.

    Attributes:
        evaluate: Maps plans `(B, S, K, A)` to costs `(B, S)`.
        bounds: Bounds of the actions.
        batch: Number of batch items.
        horizon: Number of actions in a plan.
        start: Plan `(B, K, A)` to start from, such as the rest of the last plan (warm start); None: the middle of the
            bounds.
    """

    evaluate: Evaluate
    bounds: Bounds
    batch: int
    horizon: int
    start: Tensor | None = None

    def first_mean(self) -> Tensor:
        """Return the plan to start from, `(B, K, A)`, within bounds."""
        if self.start is not None:
            return self.bounds.clip(self.start)
        middle = (self.bounds.low + self.bounds.high) / 2
        return middle.expand(self.batch, self.horizon, -1).clone()

    @property
    def half_range(self) -> Tensor:
        """Half of the range of each action value, `(A,)`."""
        return (self.bounds.high - self.bounds.low) / 2


@dataclass(frozen=True)
class Plan:
    """Plans `(B, K, A)` and their costs `(B,)`."""

    actions: Tensor
    cost: Tensor


class Stopwatch:
    """The time budget of one search.

    With a budget, plans are evaluated in groups of `GROUP` until time is up; plans that were not evaluated cost
    infinity. The first group is always evaluated, so every search has a plan.
    """

    def __init__(self, seconds: float | None) -> None:
        """Start. Raises ValueError unless `seconds` is above 0; None: no budget."""
        if seconds is not None and not seconds > 0:
            raise ValueError(f"seconds must be above 0, not {seconds:g}; leave it out for no time budget")
        self.end = None if seconds is None else time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether the time budget of the decision is used up."""
        return self.end is not None and time.monotonic() >= self.end

    def evaluate(self, problem: Problem, plans: Tensor) -> Tensor:
        """Compute the costs `(B, S)` of plans `(B, S, K, A)`."""
        if self.end is None:
            return problem.evaluate(plans)
        found: list[Tensor] = []
        for group in plans.split(GROUP, 1):
            if found and self.is_over:
                break
            found.append(problem.evaluate(group))
        costs = torch.cat(found, 1)
        return functional.pad(costs, (0, plans.shape[1] - costs.shape[1]), value=torch.inf)


class Solver(Protocol):
    """A search for plans; `needs_gradient` means that `evaluate` must return costs with their graph."""

    needs_gradient: ClassVar[bool]

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        """Return the best plan found for each situation, as a function of the problem and the state of `random`."""


def colored_noise(shape: tuple[int, int, int, int], exponent: float, random: torch.Generator) -> Tensor:
    """Draw standard normal numbers `(B, S, K, A)` whose power along K falls with frequency f as 1/f^exponent.

    Timmer & König 1995; for CEM: Pinneri et al. 2020, "Sample-efficient CEM", eq. 3.

    Args:
        shape: (B, S, K, A).
        exponent: 0 is white noise; numbers of larger exponents vary more slowly.
        random: Source of randomness.
    """
    if exponent == 0 or shape[2] < 2:
        return torch.randn(shape, generator=random)
    batch, plans, steps, size = shape
    frequencies = torch.fft.rfftfreq(steps)
    frequencies[0] = frequencies[1]  # the mean varies as much as the slowest wave
    scale = frequencies ** (-exponent / 2)
    real, imaginary = torch.randn((2, batch, plans, size, len(scale)), generator=random)
    power = 4 * scale**2  # of each wave in the sum below, which counts twice, with random phase
    for edge in (0, -1) if steps % 2 == 0 else (0,):  # the mean and the fastest wave are real and count once
        real[..., edge], imaginary[..., edge] = real[..., edge] * 2**0.5, 0.0
        power[edge] /= 2
    waves = torch.fft.irfft(torch.complex(real, imaginary) * scale, steps) * steps
    return torch.div(waves, power.sum().sqrt()).movedim(-1, 2)


def draw_around(
    problem: Problem, mean: Tensor, spread: Tensor, count: int, color: float, random: torch.Generator
) -> Tensor:
    """Draw `count` plans `(B, count, K, A)` around the mean, which is the first of them, within the bounds.

    Args:
        problem: The problem.
        mean: Mean of the plans, `(B, K, A)`.
        spread: Standard deviation `(A,)` or `(B, K, A)`.
        count: Number of plans.
        color: Exponent of the noise, 0 for white.
        random: Source of randomness.
    """
    noise = colored_noise((problem.batch, count, *mean.shape[1:]), color, random)
    plans = problem.bounds.clip(mean[:, None] + spread.expand_as(mean)[:, None] * noise)
    plans[:, 0] = mean
    return plans


def cheapest_plans(actions: Tensor, costs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the n = `count` cheapest of plans `(B, S, K, A)`, cheapest first: `(B, n, K, A)`, and costs `(B, n)`."""
    found, places = costs.topk(count, largest=False)
    return actions.gather(1, places[:, :, None, None].expand(-1, -1, *actions.shape[2:])), found
