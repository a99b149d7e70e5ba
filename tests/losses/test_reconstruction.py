"""Reconstruction losses against hand-worked values and torch.nn.functional."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as functional

from vidpred.evaluation.metrics import psnr
from vidpred.losses.reconstruction import (
    adversarial_loss,
    charbonnier_loss,
    gradient_difference_loss,
    log_squared_error,
    lp_loss,
)


def test_lp_is_the_mean_of_powers() -> None:
    prediction, target = torch.randn(2, 3, 1, 5, 7), torch.randn(2, 3, 1, 5, 7)
    torch.testing.assert_close(lp_loss(prediction, target, 1), functional.l1_loss(prediction, target))
    torch.testing.assert_close(lp_loss(prediction, target, 2), functional.mse_loss(prediction, target))
    torch.testing.assert_close(lp_loss(torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]), 3), torch.tensor(14.0))


def test_gradient_difference_by_hand() -> None:
    """Work the loss out for Y = [[0, 3], [1, 1]] and the prediction [[0, 1], [0, 0]].

    Along the height |1|, |-2| against 0, |-1|: 1, 1; along the width 3, 0 against 1, 0: 2, 0.
    """
    target = torch.tensor([[0.0, 3.0], [1.0, 1.0]])
    prediction = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    assert float(gradient_difference_loss(prediction, target, 1)) == pytest.approx((1 + 1) / 2 + (2 + 0) / 2)
    assert float(gradient_difference_loss(prediction, target, 2)) == pytest.approx((1 + 1) / 2 + (4 + 0) / 2)


def test_gradient_difference_takes_the_inner_absolute_value() -> None:
    """An image and its negative have the same absolute gradients: without the inner absolute value this is not 0."""
    image = torch.randn(1, 3, 8, 8)
    assert float(gradient_difference_loss(-image, image, 1)) == 0
    assert float(gradient_difference_loss(image * 2, image, 1)) > 0.1


def test_adversarial_is_natural_cross_entropy() -> None:
    """Natural logarithms: a logit of 0 costs ln 2 (log10 would give 0.301)."""
    assert float(adversarial_loss(torch.zeros(3, 4), True)) == pytest.approx(math.log(2))
    logits = torch.tensor([[2.0, -1.0]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert float(adversarial_loss(logits, True)) == pytest.approx(expected)
    torch.testing.assert_close(adversarial_loss(logits, False), adversarial_loss(-logits, True))


def test_log_squared_error_is_worked_by_hand() -> None:
    """Errors of 0.1 and 0.01 everywhere: squared 1e-2 and 1e-4, the floor of 1e-4 added to both."""
    target = torch.zeros(1, 2, 3, 4, 4)
    prediction = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 0.01)])[None]
    expected = (math.log10(1e-2 + 1e-4) + math.log10(1e-4 + 1e-4)) / 2
    assert float(log_squared_error(prediction, target)) == pytest.approx(expected, abs=1e-5)
    assert float(log_squared_error(target, target)) == pytest.approx(-4, abs=1e-5)
    both = log_squared_error(torch.cat([prediction, target]), torch.cat([target, target]), each=True)
    assert both.tolist() == pytest.approx([expected, -4], abs=1e-5)


def test_the_log_loss_falls_by_a_tenth_of_the_gain_in_psnr() -> None:
    target = torch.rand(1, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    near, far = target + 0.05, target + 0.2
    gain = float(psnr(near[0], target[0]) - psnr(far[0], target[0]))
    fall = float(log_squared_error(far, target, 0.0) - log_squared_error(near, target, 0.0))
    assert fall == pytest.approx(gain / 10, abs=1e-4)


def test_charbonnier_by_hand() -> None:
    """Differences of 0 and 1: the floor, and nearly the absolute difference."""
    prediction, target = torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2)
    expected = (1e-3 + math.sqrt(1 + 1e-6)) / 2
    assert float(charbonnier_loss(prediction, target)) == pytest.approx(expected)
    assert charbonnier_loss(prediction, target, each=True).tolist() == pytest.approx([expected])
