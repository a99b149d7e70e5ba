"""Draw plans at random, take the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidpred.planning.solvers.base import Plan, Problem, best_of, draw_around


@dataclass(frozen=True)
class RandomShooting:
    """candidates plans around the start, normal with `init_std` half ranges, clipped; the start itself is one of them.
    colour: the noise's exponent, 0 for white."""

    needs_gradient: ClassVar[bool] = False

    num_samples: int = 256
    init_std: float = 1.0
    color: float = 0.0

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        spread = self.init_std * problem.half_range
        plans = draw_around(problem, problem.first_mean(), spread, self.num_samples, self.color, random)
        best, costs = best_of(plans, problem.evaluate(plans), 1)
        return Plan(best[:, 0], costs[:, 0])
