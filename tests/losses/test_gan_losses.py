"""Adversarial losses against hand-worked values and the known optima of the games."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vidpred.losses.gan_losses import (
    ADVERSARIAL_LOSSES,
    AdversarialName,
    accuracy,
    critic_loss,
    hinge_loss,
    least_squares_loss,
    minimax_loss,
)
from vidpred.losses.reconstruction import adversarial_loss

# Two densities over four points.
TRUE = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
GENERATED = torch.tensor([0.1, 0.2, 0.2, 0.5], dtype=torch.float64)


def best_cost(name: AdversarialName, true: Tensor, generated: Tensor, label: float = 1.0) -> tuple[Tensor, float]:
    """Minimize the discriminator's expected cost by descent; return the logits, one per point, and the cost."""
    loss = ADVERSARIAL_LOSSES[name]
    reject = loss.fake
    assert reject is not None
    logits = torch.zeros(len(true), requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-14)

    def cost() -> Tensor:
        places = zip(logits, true, generated, strict=True)
        return torch.stack([p * loss.real(place, label) + q * reject(place) for place, p, q in places]).sum()

    def closure() -> float:
        optimizer.zero_grad()
        value = cost()
        value.backward()
        return float(value.detach())

    optimizer.step(closure)
    return logits.detach().double(), float(cost().detach())


def test_the_best_discriminator_is_p_over_p_plus_q() -> None:
    share = TRUE / (TRUE + GENERATED)
    for name in ("bce", "minimax"):
        torch.testing.assert_close(best_cost(name, TRUE, GENERATED)[0].sigmoid(), share, atol=1e-3, rtol=0)
    torch.testing.assert_close(best_cost("least_squares", TRUE, GENERATED)[0], share, atol=1e-3, rtol=0)


def test_the_minimax_value_is_minus_log_4_plus_twice_the_jensen_shannon_divergence() -> None:
    assert -best_cost("minimax", TRUE, TRUE)[1] == pytest.approx(-math.log(4), abs=1e-6)
    middle = (TRUE + GENERATED) / 2
    divergence = float((TRUE * (TRUE / middle).log() + GENERATED * (GENERATED / middle).log()).sum()) / 2
    assert divergence > 0.05
    assert -best_cost("minimax", TRUE, GENERATED)[1] == pytest.approx(-math.log(4) + 2 * divergence, abs=1e-5)


def test_at_equilibrium_the_discriminator_is_at_chance_level() -> None:
    """D = 1/2 everywhere; least squares then costs (1/2)^2 / 2 for real and generated alike, the hinge 1."""
    for name, logit, cost in (("bce", 0.0, 2 * math.log(2)), ("least_squares", 0.5, 0.25), ("hinge", 0.0, 2.0)):
        logits, value = best_cost(name, TRUE, TRUE)  # type: ignore[arg-type]
        torch.testing.assert_close(logits, torch.full_like(TRUE, logit), atol=1e-3, rtol=0)
        assert value == pytest.approx(cost, abs=1e-6)


def test_the_best_hinge_logit_is_a_sign() -> None:
    """At 1: 0.4 * 0 + 0.1 * 2 = 0.2; every other logit costs more where p > q."""
    losses = ADVERSARIAL_LOSSES["hinge"]
    assert losses.fake is not None
    grid = torch.linspace(-2, 2, 401)
    for p, q in zip(TRUE.tolist(), GENERATED.tolist(), strict=True):
        costs = torch.stack([p * losses.real(logit, 1) + q * losses.fake(logit) for logit in grid])
        assert float(costs.min()) == pytest.approx(2 * min(p, q), abs=1e-6)
        if p != q:
            assert float(grid[costs.argmin()]) == pytest.approx(math.copysign(1, p - q), abs=0.011)


def test_smoothed_labels_make_the_best_discriminator_less_confident() -> None:
    """Salimans et al. 2016: with label a for real and 0 for generated images, D = a p / (p + q)."""
    logits, _ = best_cost("bce", TRUE, GENERATED, label=0.9)
    torch.testing.assert_close(logits.sigmoid(), 0.9 * TRUE / (TRUE + GENERATED), atol=1e-3, rtol=0)


def test_minimax_leaves_a_beaten_generator_without_gradient() -> None:
    """Logit -10 is D = 1/(1 + e^10) = 4.54e-5: the slope is -D for log(1 - D) and D - 1 for -log D."""
    logits = torch.tensor([-10.0], requires_grad=True)
    (minimax,) = torch.autograd.grad(ADVERSARIAL_LOSSES["minimax"].generator(logits), logits)
    (non_saturating,) = torch.autograd.grad(ADVERSARIAL_LOSSES["bce"].generator(logits), logits)
    assert float(minimax) == pytest.approx(-4.5398e-5, rel=1e-4)
    assert float(non_saturating) == pytest.approx(-0.9999546, rel=1e-6)


def test_values_by_hand() -> None:
    logits = torch.tensor([[0.5, -2.0], [3.0, 0.5]])
    assert float(hinge_loss(logits, 1)) == pytest.approx((0.5 + 3 + 0 + 0.5) / 4)
    assert float(hinge_loss(logits, -1)) == pytest.approx((1.5 + 0 + 4 + 1.5) / 4)
    assert float(least_squares_loss(logits, 1)) == pytest.approx((0.25 + 9 + 4 + 0.25) / 4 / 2)
    assert float(critic_loss(logits, 1)) == pytest.approx(-0.5)
    assert float(critic_loss(logits, -1)) == pytest.approx(0.5)
    assert float(minimax_loss(torch.zeros(2, 3))) == pytest.approx(math.log(0.5))
    assert float(adversarial_loss(torch.zeros(2), 0.9)) == pytest.approx(math.log(2))


@pytest.mark.parametrize("name", list(ADVERSARIAL_LOSSES))
def test_the_generator_raises_logits(name: AdversarialName) -> None:
    logits = torch.tensor([-0.5, 0.2], requires_grad=True)
    (slope,) = torch.autograd.grad(ADVERSARIAL_LOSSES[name].generator(logits), logits)
    assert bool((slope < 0).all())


@pytest.mark.parametrize("name", list(ADVERSARIAL_LOSSES))
def test_the_discriminator_separates_logits(name: AdversarialName) -> None:
    loss = ADVERSARIAL_LOSSES[name]
    logits = torch.tensor([0.3], requires_grad=True)
    assert float(torch.autograd.grad(loss.real(logits, 1), logits)[0]) < 0
    if loss.fake is not None:
        assert float(torch.autograd.grad(loss.fake(logits), logits)[0]) > 0


def test_costs_are_float32_whatever_the_logits_are() -> None:
    for loss in ADVERSARIAL_LOSSES.values():
        logits = torch.tensor([0.1, 0.7], dtype=torch.bfloat16)
        costs = [loss.real(logits, 1), loss.generator(logits)]
        for cost in costs if loss.fake is None else [*costs, loss.fake(logits)]:
            assert cost.dtype == torch.float32


def test_accuracy_by_hand() -> None:
    logits = torch.tensor([0.2, 0.6, -1.0, 0.9])
    assert float(accuracy(logits, True, 0.0)) == 0.75
    assert float(accuracy(logits, True, 0.5)) == 0.5
    assert float(accuracy(logits, False, 0.0)) == 0.25
