"""The cross-entropy method: draw plans, keep the best, draw around them, repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vidpred.planning.solvers.base import Plan, Problem, Stopwatch, cheapest_plans, draw_around


@dataclass(frozen=True)
class CEMSolver:
    """CEM (Rubinstein 1999), as a planner with kept elites and colored noise (Pinneri et al. 2020).

    Attributes:
        num_samples: Plans per iteration, drawn from a normal distribution and clipped to the bounds.
        iterations: Number of iterations.
        num_elites: Number of cheapest plans that determine the next mean and standard deviation.
        keep: Share of the elites that compete again in the next iteration.
        momentum: Weight of the old mean and standard deviation; 0: only the new ones.
        init_std: Standard deviation of the first iteration, in half ranges of the bounds.
        color: Exponent of the noise, 0 for white.
        decay: Factor of the number of plans after every iteration, down to 2 x num_elites: the first iterations explore
            (Pinneri et al. 2020, section 3.4); 1: constant.
        agreement: Stop once the elites agree: their standard deviation, averaged over the actions of every batch item,
            is below this many half ranges of the bounds; 0: never.
        seconds: Time budget of a search, whose best plan so far is returned when time is up; None: no limit.
    """

    needs_gradient: ClassVar[bool] = False

    num_samples: int = 128
    iterations: int = 5
    num_elites: int = 16
    keep: float = 0.3
    momentum: float = 0.1
    init_std: float = 0.7
    color: float = 2.0
    decay: float = 1.0
    agreement: float = 0.0
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.num_elites <= self.num_samples:
            raise ValueError(f"num_elites must be 1 to num_samples={self.num_samples}, not {self.num_elites}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be above 0 and at most 1, not {self.decay:g}")

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        watch, mean = Stopwatch(self.seconds), problem.first_mean()
        spread = (self.init_std * problem.half_range).expand_as(mean)
        kept: tuple[Tensor, Tensor] | None = None  # plans and costs
        best = Plan(mean, torch.full((problem.batch,), torch.inf))
        for iteration in range(self.iterations):
            plans = draw_around(problem, mean, spread, self._num_samples(iteration), self.color, random)
            costs = watch.evaluate(problem, plans)
            if kept is not None:
                plans, costs = torch.cat([plans, kept[0]], 1), torch.cat([costs, kept[1]], 1)
            elites, values = cheapest_plans(plans, costs, self.num_elites)
            count = round(self.keep * self.num_elites)
            kept = (elites[:, :count], values[:, :count]) if count else None
            apart = elites.std(1, correction=0)
            mean = self.momentum * mean + (1 - self.momentum) * elites.mean(1)
            spread = self.momentum * spread + (1 - self.momentum) * apart
            better = values[:, 0] < best.cost
            best = Plan(
                torch.where(better[:, None, None], elites[:, 0], best.actions), torch.minimum(values[:, 0], best.cost)
            )
            agreed = (apart / problem.half_range.clamp_min(1e-12)).mean((1, 2)) < self.agreement
            if watch.is_over or bool(agreed.all()):
                break
        return best

    def _num_samples(self, iteration: int) -> int:
        least = min(2 * self.num_elites, self.num_samples)
        return max(least, round(self.num_samples * self.decay**iteration))
