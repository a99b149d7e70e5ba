"""The losses against hand-worked values and torch.nn.functional."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as functional

from vidpred.training.losses import adversarial_loss, gradient_difference_loss, lp_loss


def test_lp_is_the_mean_of_powers() -> None:
    prediction, target = torch.randn(2, 3, 1, 5, 7), torch.randn(2, 3, 1, 5, 7)
    torch.testing.assert_close(lp_loss(prediction, target, 1), functional.l1_loss(prediction, target))
    torch.testing.assert_close(lp_loss(prediction, target, 2), functional.mse_loss(prediction, target))
    torch.testing.assert_close(lp_loss(torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]), 3), torch.tensor(14.0))


def test_gradient_difference_by_hand() -> None:
    """Y = [[0, 3], [1, 1]], prediction = [[0, 1], [0, 0]]: along the height |1|, |-2| against 0, |-1|: 1, 1; along the
    width 3, 0 against 1, 0: 2, 0."""
    target = torch.tensor([[0.0, 3.0], [1.0, 1.0]])
    prediction = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    assert float(gradient_difference_loss(prediction, target, 1)) == pytest.approx((1 + 1) / 2 + (2 + 0) / 2)
    assert float(gradient_difference_loss(prediction, target, 2)) == pytest.approx((1 + 1) / 2 + (4 + 0) / 2)


def test_gradient_difference_takes_the_inner_absolute_value() -> None:
    """A picture and its negative have the same absolute gradients: without the inner absolute value this is not 0."""
    picture = torch.randn(1, 3, 8, 8)
    assert float(gradient_difference_loss(-picture, picture, 1)) == 0
    assert float(gradient_difference_loss(picture * 2, picture, 1)) > 0.1


def test_adversarial_is_natural_cross_entropy() -> None:
    """Natural logarithms: a logit of 0 costs ln 2 (log10 would give 0.301)."""
    assert float(adversarial_loss(torch.zeros(3, 4), True)) == pytest.approx(math.log(2))
    logits = torch.tensor([[2.0, -1.0]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert float(adversarial_loss(logits, True)) == pytest.approx(expected)
    torch.testing.assert_close(adversarial_loss(logits, False), adversarial_loss(-logits, True))
