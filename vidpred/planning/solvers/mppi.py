"""Model predictive path integral control: the mean of all plans, weighted by exp(-cost / temperature)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidpred.planning.solvers.base import Plan, Problem, Stopwatch, cheapest_plans, draw_around


@dataclass(frozen=True)
class MPPISolver:
    """MPPI (Williams et al. 2017, "Information theoretic MPC", algorithm 2, without its control cost).

    Attributes:
        num_samples: Plans to draw around the mean per iteration.
        iterations: Number of iterations.
        temperature: In standard deviations of the plans' costs, so that it is independent of their unit.
        init_std: Standard deviation of the first iteration, in half ranges of the bounds.
        shrink: Factor of the standard deviation after each iteration.
        color: Exponent of the noise, 0 for white.
        seconds: Time budget of a search. When time is up, the cheapest plan of the last draw is returned. None: no
            limit.
    """

    needs_gradient: ClassVar[bool] = False

    num_samples: int = 256
    iterations: int = 3
    temperature: float = 0.1
    init_std: float = 0.7
    shrink: float = 0.6
    color: float = 2.0
    seconds: float | None = None

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        mean, init_std, watch = problem.first_mean(), self.init_std, Stopwatch(self.seconds)
        for _ in range(self.iterations):
            spread = init_std * problem.half_range
            plans = draw_around(problem, mean, spread, self.num_samples, self.color, random)
            costs = watch.evaluate(problem, plans)
            if watch.is_over:
                best, found = cheapest_plans(plans, costs, 1)
                return Plan(best[:, 0], found[:, 0])
            std = costs.std(1, keepdim=True) if self.num_samples > 1 else torch.zeros(())
            unit = self.temperature * std + 1e-12
            weights = torch.softmax((costs.amin(1, keepdim=True) - costs) / unit, 1)
            mean = (weights[:, :, None, None] * plans).sum(1)
            init_std *= self.shrink
        return Plan(mean, problem.evaluate(mean[:, None])[:, 0])
