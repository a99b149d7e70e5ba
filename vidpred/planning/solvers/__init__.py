"""Solvers that search for a plan of low cost, by name."""

from __future__ import annotations

from collections.abc import Sequence

from vidpred.errors import ConfigError
from vidpred.planning.solvers.base import Plan, Problem, Solver, colored_noise
from vidpred.planning.solvers.categorical import CategoricalCEMSolver
from vidpred.planning.solvers.cem import CEMSolver
from vidpred.planning.solvers.gradient import GradientSolver
from vidpred.planning.solvers.mppi import MPPISolver
from vidpred.planning.solvers.random_shooting import RandomShooting

__all__ = [
    "SOLVERS", "CEMSolver", "CategoricalCEMSolver", "GradientSolver", "MPPISolver", "Plan", "Problem",
    "RandomShooting", "Solver", "colored_noise", "make_solver",
]  # fmt: skip

SOLVERS: dict[str, type[Solver]] = {
    "cem": CEMSolver,
    "mppi": MPPISolver,
    "random": RandomShooting,
    "gradient": GradientSolver,
}

# Saves a third of the plans. In PushT with the true simulator and the cost of states, 64 x 5 plans reach 40 of 40 goals
# with 1, 39 with 0.8 and 36 with 0.7.
CEM_DECAY = 0.8


def make_solver(
    name: str, num_samples: int, iterations: int, seconds: float | None = None, choices: Sequence[int] = ()
) -> Solver:
    """Make a solver by name, with about the same number of evaluated plans for all names.

    Args:
        name: A key of `SOLVERS`.
        num_samples: Plans to evaluate per iteration (cem: in the first one, then fewer, see `CEM_DECAY`; gradient:
            `num_samples` / 8 starts, as gradients cost more).
        iterations: Number of iterations (gradient: 8 steps for each).
        seconds: Time budget of a search; None: no limit.
        choices: Number of options of each choice in one-hot actions, for which cem draws discrete plans; the others
            search between the options.

    Raises:
        ConfigError: The name is unknown.
    """
    if name == "cem" and choices:
        elites = max(2, num_samples // 8)
        return CategoricalCEMSolver(tuple(choices), num_samples, iterations, elites, seconds=seconds)
    if name == "cem":
        return CEMSolver(num_samples, iterations, max(2, num_samples // 8), decay=CEM_DECAY, seconds=seconds)
    if name == "mppi":
        return MPPISolver(num_samples, iterations, seconds=seconds)
    if name == "random":
        return RandomShooting(num_samples * iterations, seconds=seconds)
    if name == "gradient":
        return GradientSolver(steps=8 * iterations, starts=max(1, num_samples // 8), seconds=seconds)
    raise ConfigError(f"no such solver [--solver {name}]; choose from {', '.join(SOLVERS)}")
