"""Draw plans at random and take the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidpred.planning.solvers.base import Plan, Problem, best_of, draw_around


@dataclass(frozen=True)
class RandomShooting:
    """Random plans around the start, which is one of them, clipped to the bounds.

    Attributes:
        num_samples: Number of plans.
        init_std: Standard deviation in half ranges of the bounds.
        color: Exponent of the noise, 0 for white.
    """

    needs_gradient: ClassVar[bool] = False

    num_samples: int = 256
    init_std: float = 1.0
    color: float = 0.0

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        spread = self.init_std * problem.half_range
        plans = draw_around(problem, problem.first_mean(), spread, self.num_samples, self.color, random)
        best, costs = best_of(plans, problem.evaluate(plans), 1)
        return Plan(best[:, 0], costs[:, 0])
