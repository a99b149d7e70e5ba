"""Solvers on problems with known best plans."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from vidpred.errors import ConfigError
from vidpred.planning.planning_model import Bounds
from vidpred.planning.solvers import (
    CEMSolver,
    GradientSolver,
    MPPISolver,
    Plan,
    Problem,
    RandomShooting,
    Solver,
    base,
    colored_noise,
    make_solver,
)

BOUNDS = Bounds.of([-1.0, 0.0], [1.0, 4.0])
HORIZON = 4


def goals() -> Tensor:
    """Return the goals of two batch items: one within bounds, one outside (its best plan is at the edge)."""
    inside = torch.tensor([[0.5, 1.0], [-0.3, 2.0], [0.2, 3.0], [-0.8, 0.5]])
    return torch.stack([inside, inside * 0 + torch.tensor([2.0, -1.0])])


def quadratic(plans: Tensor) -> Tensor:
    """Compute the squared distance in half ranges, weighted 3:1 between the two values."""
    scaled = (plans - goals()[:, None]) / torch.tensor([1.0, 2.0])
    return (scaled**2 * torch.tensor([3.0, 1.0])).sum((-1, -2))


def solve(solver: Solver, start: Tensor | None = None, seed: int = 0) -> Plan:
    return solver.solve(Problem(quadratic, BOUNDS, 2, HORIZON, start), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("solver", "slack"),
    [
        (CEMSolver(256, 12, 24, color=0.0), 0.05),
        (CEMSolver(256, 12, 24, keep=0.0, momentum=0.2, color=0.0), 0.1),
        (MPPISolver(512, 10, color=0.0), 0.1),
        (GradientSolver(100, 4), 0.02),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_optimum_is_found(solver: Solver, slack: float) -> None:
    plan = solve(solver)
    best = BOUNDS.clip(goals())
    assert BOUNDS.contain(plan.actions)
    error = ((plan.actions - best) / torch.tensor([1.0, 2.0])).abs().amax((1, 2))
    assert (error < slack).all(), error
    torch.testing.assert_close(plan.cost, quadratic(plan.actions[:, None])[:, 0])


def test_random_shooting_finds_the_optimum_of_few_numbers() -> None:
    problem = Problem(lambda plans: ((plans - goals()[:, None, :1]) ** 2).sum((-1, -2)), BOUNDS, 2, 1)
    plan = RandomShooting(4096).solve(problem, torch.Generator().manual_seed(0))
    assert (plan.actions - BOUNDS.clip(goals()[:, :1])).abs().max() < 0.1


@pytest.mark.parametrize("solver", [CEMSolver(16, 2, 4), MPPISolver(16, 2), RandomShooting(16)])
def test_a_plan_is_a_function_of_the_seed(solver: Solver) -> None:
    assert torch.equal(solve(solver, seed=4).actions, solve(solver, seed=4).actions)
    assert not torch.equal(solve(solver, seed=4).actions, solve(solver, seed=5).actions)


@pytest.mark.parametrize("solver", [CEMSolver(16, 2, 4), RandomShooting(16), GradientSolver(2, 2)])
def test_a_good_start_is_not_lost(solver: Solver) -> None:
    best = BOUNDS.clip(goals())
    kept = solve(solver, best)
    assert (kept.cost <= quadratic(best[:, None])[:, 0] + 0.05).all(), "the start was the optimum"


def test_cem_finds_the_deeper_of_two_valleys_and_keeps_its_best() -> None:
    """With kept elites, the best cost never increases from one iteration to the next."""
    seen: list[float] = []

    def valleys(plans: Tensor) -> Tensor:
        first = plans[..., 0].mean(-1)
        cost = torch.minimum((first - 0.6) ** 2, (first + 0.6) ** 2 + 0.05)
        seen.append(float(cost.min()))
        return cost

    plan = CEMSolver(128, 8, 8).solve(Problem(valleys, BOUNDS, 1, HORIZON), torch.Generator().manual_seed(0))
    assert plan.actions[0, :, 0].mean() == pytest.approx(0.6, abs=0.03)
    assert float(plan.cost) == pytest.approx(min(seen))


def test_colored_noise_has_unit_variance_and_the_requested_slope() -> None:
    random = torch.Generator().manual_seed(0)
    for steps in (7, 8, 32):
        for exponent in (0.0, 1.0, 2.5):
            noise = colored_noise((2, 8000, steps, 2), exponent, random)
            assert noise.shape == (2, 8000, steps, 2)
            torch.testing.assert_close(noise.var((0, 1, 3)), torch.ones(steps), rtol=0.05, atol=0)
            power = torch.fft.rfft(noise, dim=2).abs().square().mean((0, 1, 3))
            inner = power[1 : (steps + 1) // 2]  # all except the mean and the fastest wave
            frequencies = torch.fft.rfftfreq(steps)[1 : (steps + 1) // 2]
            slope = torch.log(inner[-1] / inner[0]) / torch.log(frequencies[-1] / frequencies[0])
            assert float(slope) == pytest.approx(-exponent, abs=0.1)


def test_costs_without_a_gradient_raise() -> None:
    with pytest.raises(ValueError, match="no gradient"):
        GradientSolver(2, 2).solve(Problem(lambda plans: plans.detach().sum((-1, -2)), BOUNDS, 2, 2), torch.Generator())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_computed_where_they_are_off_and_only_for_plans(mode: type[torch.no_grad]) -> None:
    weight = torch.ones((), requires_grad=True)
    problem = Problem(lambda plans: weight * quadratic(plans), BOUNDS, 2, HORIZON)
    with mode():
        found = GradientSolver(20, 2).solve(problem, torch.Generator().manual_seed(0))
    expected = solve(GradientSolver(20, 2))
    torch.testing.assert_close(found.actions, expected.actions)
    assert not found.actions.is_inference()
    assert weight.grad is None, "the gradient of a weight belongs to its training"


@pytest.mark.parametrize("value", [0.1, -0.7, 100.1])
@pytest.mark.parametrize("name", ["cem", "mppi", "random", "gradient"])
def test_an_action_value_may_be_fixed(name: str, value: float) -> None:
    """Rounding errors of a mean, or of a unit, are within bounds."""
    bounds = Bounds.of([-1.0, value], [1.0, value])

    def evaluate(plans: Tensor) -> Tensor:
        assert bounds.contain(plans)
        return plans[..., 0].square().sum(-1)

    for seed in range(3):
        plan = make_solver(name, 13, 4).solve(Problem(evaluate, bounds, 1, 5), torch.Generator().manual_seed(seed))
        torch.testing.assert_close(plan.actions[..., 1], torch.full((1, 5), value))
    assert not bounds.contain(torch.tensor([0.0, value * 1.001]))


def test_one_plan_per_iteration_is_enough() -> None:
    start = BOUNDS.clip(goals())
    for solver in (MPPISolver(1, 3), RandomShooting(1), CEMSolver(1, 3, 1), GradientSolver(0, 1)):
        torch.testing.assert_close(solve(solver, start).actions, start)


def test_solvers_by_name_evaluate_about_the_same_number_of_plans() -> None:
    for name, expected in {"cem": 32 + 26 + 20, "mppi": 32 * 3 + 1, "random": 32 * 3}.items():
        count = 0

        def counting(plans: Tensor) -> Tensor:
            nonlocal count
            count += plans.shape[1]
            return quadratic(plans)

        make_solver(name, 32, 3).solve(Problem(counting, BOUNDS, 2, HORIZON), torch.Generator().manual_seed(0))
        assert count == expected, name
    with pytest.raises(ConfigError, match="no such solver .*choose from cem, mppi, random, gradient"):
        make_solver("newton", 32, 3)
    with pytest.raises(ValueError, match="num_elites must be 1 to num_samples=4"):
        CEMSolver(4, num_elites=5)


@pytest.mark.parametrize("name", ["cem", "mppi", "random", "gradient"])
def test_the_best_plan_so_far_is_returned_when_time_is_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now, evaluated = [5.0], list[Tensor]()
    monkeypatch.setattr(base, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def slow(plans: Tensor) -> Tensor:
        now[0] += 0.02
        evaluated.append(plans.detach())
        return quadratic(plans)

    solver = make_solver(name, 64, 50, seconds=0.1)
    plan = solver.solve(Problem(slow, BOUNDS, 2, HORIZON), torch.Generator().manual_seed(0))
    assert now[0] <= 5.14, "the budget is exceeded by more than two evaluations"
    assert len(evaluated) >= 5, "time was left"
    torch.testing.assert_close(plan.cost, quadratic(plan.actions[:, None])[:, 0])
    costs = torch.cat([quadratic(plans) for plans in (evaluated if name != "gradient" else evaluated[-1:])], 1)
    torch.testing.assert_close(plan.cost, costs.amin(1))


def test_a_budget_below_one_evaluation_still_finds_a_plan_no_worse_than_its_start() -> None:
    start = BOUNDS.clip(goals())
    for solver in (CEMSolver(64, seconds=1e-9), MPPISolver(64, seconds=1e-9), RandomShooting(64, seconds=1e-9)):
        torch.testing.assert_close(solve(solver, start).actions, start)
    with pytest.raises(ValueError, match="seconds must be above 0, not 0"):
        solve(CEMSolver(seconds=0))


def test_enough_time_changes_nothing() -> None:
    for solver in (CEMSolver(64), MPPISolver(64), RandomShooting(64), GradientSolver(5)):
        assert torch.equal(solve(replace(solver, seconds=60)).actions, solve(solver).actions)


def counted(solver: Solver) -> tuple[Plan, list[int]]:
    """Solve and return the number of plans of each evaluation."""
    counts: list[int] = []

    def evaluate(plans: Tensor) -> Tensor:
        counts.append(plans.shape[1])
        return quadratic(plans)

    return solver.solve(Problem(evaluate, BOUNDS, 2, HORIZON), torch.Generator().manual_seed(0)), counts


def test_cem_draws_fewer_plans_in_later_iterations() -> None:
    assert counted(CEMSolver(100, 5, 8, decay=0.5))[1] == [100, 50, 25, 16, 16]
    assert counted(CEMSolver(10, 3, 8, decay=0.5))[1] == [10, 10, 10]
    for wrong in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="decay must be"):
            CEMSolver(decay=wrong)


def test_cem_stops_once_the_elites_agree() -> None:
    full, counts = counted(CEMSolver(256, 30, 24, color=0.0))
    early, fewer = counted(CEMSolver(256, 30, 24, color=0.0, agreement=0.02))
    assert 3 < len(fewer) < len(counts) == 30
    torch.testing.assert_close(early.cost, full.cost, atol=0.02, rtol=0.02)
    fixed = Bounds.of([1.0, 0.0], [1.0, 4.0])  # the first value cannot change
    problem = Problem(lambda plans: quadratic(plans), fixed, 2, HORIZON)
    CEMSolver(64, 5, 8, agreement=0.02).solve(problem, torch.Generator().manual_seed(0))


def test_categorical_cem_finds_the_best_of_all_discrete_plans() -> None:
    choices, horizon = (3, 2), 3
    weights = torch.randn(2, horizon, 5, generator=torch.Generator().manual_seed(4))
    options = [torch.cat([torch.eye(3)[i], torch.eye(2)[j]]) for i in range(3) for j in range(2)]
    every = torch.stack([torch.stack(plan) for plan in product(options, repeat=horizon)])  # 216 plans

    def cost(plans: Tensor) -> Tensor:
        assert all(bool((part.sum(-1) == 1).all()) for part in plans.split(choices, -1)), "not one-hot"
        joint = (plans[..., 0, :] * plans[..., 2, :]).sum(-1)  # steps interact
        return (plans * weights[:, None]).sum((-1, -2)) + joint

    best = cost(every.expand(2, -1, -1, -1)).amin(1)
    bounds = Bounds.of([0.0] * 5, [1.0] * 5)
    solver = make_solver("cem", 128, 6, choices=choices)
    for start in (None, torch.rand(2, horizon, 5, generator=torch.Generator().manual_seed(5))):
        plan = solver.solve(Problem(cost, bounds, 2, horizon, start), torch.Generator().manual_seed(0))
        torch.testing.assert_close(plan.cost, best)
        torch.testing.assert_close(cost(plan.actions[:, None])[:, 0], best)
    with pytest.raises(ValueError, match="5 options, the actions 2 values"):
        solver.solve(Problem(cost, BOUNDS, 2, horizon), torch.Generator())
