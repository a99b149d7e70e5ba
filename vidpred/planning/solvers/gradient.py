"""Gradient descent through the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from vidpred.models.eager_optimizers import eager
from vidpred.planning.solvers.base import Plan, Problem, Stopwatch, cheapest_plans, draw_around


@dataclass(frozen=True)
class GradientSolver:
    """Gradient descent by Adam from several starts, clipped to the bounds after each step.

    The problem's costs must be differentiable (`WorldModel.costs(..., differentiable=True)`).

    Attributes:
        steps: Number of steps.
        starts: Number of plans: the problem's start and others around it.
        learning_rate: Adam's learning rate, in half ranges of the bounds.
        init_std: Standard deviation of the starts, in half ranges.
        color: Exponent of the starts' noise, 0 for white.
        seconds: Time budget of a search, whose plans so far are compared when time is up; None: no limit.
    """

    needs_gradient: ClassVar[bool] = True

    steps: int = 30
    starts: int = 8
    learning_rate: float = 0.1
    init_std: float = 0.5
    color: float = 2.0
    seconds: float | None = None

    def solve(self, problem: Problem, random: torch.Generator) -> Plan:
        with torch.inference_mode(False), torch.enable_grad():  # policies act without gradients
            return self._solve(problem, random)

    def _solve(self, problem: Problem, random: torch.Generator) -> Plan:
        watch = Stopwatch(self.seconds)
        half = problem.half_range.clamp_min(1e-12)  # 0 for an action value that cannot change
        first = draw_around(problem, problem.first_mean(), self.init_std * half, self.starts, self.color, random)
        values = (first / half).detach().requires_grad_(True)
        optimizer = eager(torch.optim.Adam)([values], self.learning_rate)
        for _ in range(self.steps):
            if watch.is_over:
                break
            costs = problem.evaluate(values * half)
            if not costs.requires_grad:
                raise ValueError("the costs have no gradient; evaluate them with differentiable=True")
            # Not backward(), which adds to the gradients of the model's weights.
            (values.grad,) = torch.autograd.grad(costs.sum(), values)
            optimizer.step()
            with torch.no_grad():
                values.copy_(problem.bounds.clip(values * half) / half)
        with torch.no_grad():
            plans = problem.bounds.clip(values * half)
            best, costs = cheapest_plans(plans, problem.evaluate(plans).detach(), 1)
        return Plan(best[:, 0], costs[:, 0])
