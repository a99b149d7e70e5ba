"""Ways to find a cheap plan, by name."""

from __future__ import annotations

from collections.abc import Callable

from vidpred.planning.solvers.base import Plan, Problem, Solver, coloured_noise
from vidpred.planning.solvers.cem import CrossEntropy
from vidpred.planning.solvers.gradient import GradientDescent
from vidpred.planning.solvers.mppi import PathIntegral
from vidpred.planning.solvers.random_shooting import RandomShooting

__all__ = [
    "SOLVERS", "CrossEntropy", "GradientDescent", "PathIntegral", "Plan", "Problem", "RandomShooting", "Solver",
    "coloured_noise",
]  # fmt: skip

SOLVERS: dict[str, Callable[[], Solver]] = {
    "cem": CrossEntropy,
    "mppi": PathIntegral,
    "random": RandomShooting,
    "gradient": GradientDescent,
}
