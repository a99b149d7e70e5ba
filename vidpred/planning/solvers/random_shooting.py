"""Draw plans at random, take the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidpred.planning.solvers.base import Plan, Problem, best_of, draw_around


@dataclass(frozen=True)
class RandomShooting:
    """candidates plans around the start, normal with `deviation` half ranges, clipped; the start itself is one of them.
    colour: the noise's exponent, 0 for white."""

    needs_gradient: ClassVar[bool] = False

    candidates: int = 256
    deviation: float = 1.0
    colour: float = 0.0

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        spread = self.deviation * problem.half_range
        plans = draw_around(problem, problem.first_mean(), spread, self.candidates, self.colour, random)
        best, costs = best_of(plans, problem.evaluate(plans), 1)
        return Plan(best[:, 0], costs[:, 0])
