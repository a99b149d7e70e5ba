"""Draw plans at random and take the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidpred.planning.solvers.base import Plan, Problem, Stopwatch, cheapest_plans, draw_around


@dataclass(frozen=True)
class RandomShooting:
    """Random plans around the start, which is one of them, clipped to the bounds.

    Attributes:
        num_samples: Number of plans.
        init_std: Standard deviation in half ranges of the bounds.
        color: Exponent of the noise, 0 for white.
        seconds: Time budget of a search; plans that it leaves out are not considered. None: no limit.
    """

    needs_gradient: ClassVar[bool] = False

    num_samples: int = 256
    init_std: float = 1.0
    color: float = 0.0
    seconds: float | None = None

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        watch, spread = Stopwatch(self.seconds), self.init_std * problem.half_range
        plans = draw_around(problem, problem.first_mean(), spread, self.num_samples, self.color, random)
        best, costs = cheapest_plans(plans, watch.evaluate(problem, plans), 1)
        return Plan(best[:, 0], costs[:, 0])
