"""Draw plans at random, take the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidpred.planning.solvers.base import Plan, Problem, best_of, coloured_noise


@dataclass(frozen=True)
class RandomShooting:
    """candidates plans around the start, normal with `deviation` half ranges, clipped; the start itself is one of them.
    colour: the noise's exponent, 0 for white."""

    needs_gradient: ClassVar[bool] = False

    candidates: int = 256
    deviation: float = 1.0
    colour: float = 0.0

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        mean = problem.first_mean()
        noise = coloured_noise((problem.batch, self.candidates, *mean.shape[1:]), self.colour, random)
        plans = problem.bounds.clip(mean[:, None] + self.deviation * problem.half_range * noise)
        plans[:, 0] = mean
        best, costs = best_of(plans, problem.evaluate(plans), 1)
        return Plan(best[:, 0], costs[:, 0])
