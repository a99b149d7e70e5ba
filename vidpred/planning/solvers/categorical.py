"""The cross-entropy method for discrete actions: plans are drawn from categorical distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as functional
from torch import Tensor

from vidpred.planning.solvers.base import Plan, Problem, Stopwatch, cheapest_plans


@dataclass(frozen=True)
class CategoricalCEMSolver:
    """CEM (Rubinstein 1999) over one-hot actions, for Discrete and MultiDiscrete spaces.

    Every choice of every step has its own distribution, which starts uniform, or around the problem's start.

    Attributes:
        choices: Number of options of each choice; actions `(A,)` are their one-hot vectors, A = sum(choices).
        num_samples: Plans per iteration.
        iterations: Number of iterations.
        num_elites: Number of cheapest plans, whose frequencies are the next probabilities.
        momentum: Weight of the old probabilities, so that no option dies out at once.
        start_weight: Probability, in the first iteration, of the options of the problem's start.
        seconds: Time budget of a search, whose best plan so far is returned when time is up; None: no limit.
    """

    needs_gradient: ClassVar[bool] = False

    choices: tuple[int, ...]
    num_samples: int = 128
    iterations: int = 5
    num_elites: int = 16
    momentum: float = 0.2
    start_weight: float = 0.3
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.num_elites <= self.num_samples:
            raise ValueError(f"num_elites must be 1 to num_samples={self.num_samples}, not {self.num_elites}")

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        size = len(problem.bounds.low)
        if sum(self.choices) != size:
            raise ValueError(f"the choices {self.choices} have {sum(self.choices)} options, the actions {size} values")
        watch, start = Stopwatch(self.seconds), None if problem.start is None else self.nearest(problem.start)
        uniform = torch.cat([torch.full((count,), 1 / count) for count in self.choices])
        shares = uniform.expand(problem.batch, problem.horizon, -1)
        if start is not None:
            shares = self.start_weight * start + (1 - self.start_weight) * shares
        best = Plan(torch.zeros(shares.shape), torch.full((problem.batch,), torch.inf))
        for iteration in range(self.iterations):
            plans = self._draw(shares, random)
            if iteration:
                plans[:, 0] = best.actions  # competes again
            elif start is not None:
                plans[:, 0] = start
            elites, values = cheapest_plans(plans, watch.evaluate(problem, plans), self.num_elites)
            better = values[:, 0] < best.cost
            actions = torch.where(better[:, None, None], elites[:, 0], best.actions)
            best = Plan(actions, torch.minimum(values[:, 0], best.cost))
            shares = self.momentum * shares + (1 - self.momentum) * elites.mean(1)
            if watch.is_over:
                break
        return best

    def nearest(self, actions: Tensor) -> Tensor:
        """Return the one-hot actions `(..., A)` of the largest values of every choice; the first one of equals."""
        parts = actions.split(list(self.choices), -1)
        return torch.cat([functional.one_hot(part.argmax(-1), part.shape[-1]).to(actions) for part in parts], -1)

    def _draw(self, shares: Tensor, random: torch.Generator) -> Tensor:
        """Draw plans `(B, S, K, A)` from probabilities `(B, K, A)`."""
        found = []
        for part in shares.split(list(self.choices), -1):
            options = torch.multinomial(part.flatten(0, 1), self.num_samples, replacement=True, generator=random)
            hot = functional.one_hot(options, part.shape[-1]).to(shares)  # (B K, S, options)
            found.append(hot.unflatten(0, shares.shape[:2]).transpose(1, 2))
        return torch.cat(found, -1)
