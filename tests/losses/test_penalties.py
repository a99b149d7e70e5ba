"""Penalties, clipping and averages against critics of known slope."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vidpred.losses.penalties import (
    HistoricalAverage,
    clip_weights,
    gradient_penalty,
    interpolate,
    r1_penalty,
    zero_centered_penalties,
)


def linear_critic(length: float) -> tuple[Tensor, Tensor]:
    """Return the weights w of D(x) = <w, x>, with |w| = length, and images that require gradients."""
    torch.manual_seed(0)
    weights = torch.randn(3, 4, 4)
    return weights * (length / weights.norm()), torch.randn(5, 3, 4, 4, requires_grad=True)


def test_r1_of_a_linear_discriminator() -> None:
    """D(x) = <w, x> has the gradient w: the penalty is |w|^2 / 2 for every sample."""
    weights, images = linear_critic(3.0)
    torch.testing.assert_close(r1_penalty((images * weights).sum((1, 2, 3)), [images]), torch.tensor(4.5))


def test_penalties_of_two_groups_equal_separate_ones() -> None:
    """D(x) = <w, x>^2 has the gradient 2 <w, x> w: the penalty of a group is the mean of 2 <w, x>^2 |w|^2."""
    weights, real = linear_critic(3.0)
    weights.requires_grad_()
    fake = torch.randn(5, 3, 4, 4, requires_grad=True)
    products = [(images * weights).sum((1, 2, 3)) for images in (real, fake)]
    logits = torch.cat(products).square()[:, None]
    found = zero_centered_penalties([(logits[:5], [real]), (logits[5:], [fake])])
    by_hand = [2 * (product.square() * weights.square().sum()).mean() for product in products]
    torch.testing.assert_close(found, by_hand)
    slopes = [torch.autograd.grad(sum(penalties), weights, retain_graph=True)[0] for penalties in (found, by_hand)]
    torch.testing.assert_close(slopes[0], slopes[1])


def test_penalties_are_with_respect_to_the_inputs_of_a_growing_discriminator() -> None:
    """A discriminator of 4x4 pixels has equal penalties for 4x4 images and for those with each pixel 16 times."""
    torch.manual_seed(0)
    weights, small = torch.randn(4, 4), torch.rand(3, 1, 4, 4)
    found = []
    for pixel_repeat in (1, 4):
        images = small.repeat_interleave(pixel_repeat, 2).repeat_interleave(pixel_repeat, 3).requires_grad_()
        logits = (torch.nn.functional.avg_pool2d(images, pixel_repeat) * weights).square().sum((1, 2, 3))
        r1 = r1_penalty(logits, [images], pixel_repeat)
        found.append((r1, gradient_penalty(logits[:, None], [images], pixel_repeat)))
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize(("length", "expected"), [(1.0, 0.0), (3.0, 4.0), (0.5, 0.25)])
def test_gradient_penalty_of_a_linear_critic(length: float, expected: float) -> None:
    """(|w| - 1)^2: 0 for a critic of slope 1, which is 1-Lipschitz."""
    weights, images = linear_critic(length)
    penalty = gradient_penalty((images * weights).sum((1, 2, 3)), [images])
    torch.testing.assert_close(penalty, torch.tensor(expected), atol=1e-5, rtol=0)


def test_gradient_penalty_treats_every_scale_as_a_critic() -> None:
    """Slopes 3 and 2 at two scales: (3 - 1)^2 + (2 - 1)^2. Mixed they would be (sqrt(13) - 1)^2 = 6.8."""
    weights, fine = linear_critic(3.0)
    coarse = torch.randn(5, 4, requires_grad=True)
    logits = torch.stack([2 * coarse[:, 1], (fine * weights).sum((1, 2, 3))], 1)
    torch.testing.assert_close(gradient_penalty(logits, [coarse, fine]), torch.tensor(5.0))


def test_gradient_penalty_reaches_the_critics_weights() -> None:
    """d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|; a constant critic, whose norm has no slope, stays finite."""
    images = torch.randn(6, 3, requires_grad=True)
    weights = torch.tensor([0.0, 3.0, 4.0], requires_grad=True)
    gradient_penalty(images @ weights, [images]).backward()
    torch.testing.assert_close(weights.grad, 2 * 4 * torch.tensor([0.0, 0.6, 0.8]))
    zeros = torch.zeros(3, requires_grad=True)
    gradient_penalty(images @ zeros, [images]).backward()
    assert zeros.grad is not None
    assert bool(zeros.grad.isfinite().all())


def test_interpolation_lies_on_the_line_with_one_share_a_sample() -> None:
    torch.manual_seed(0)
    real, fake = [torch.zeros(50, 2), torch.zeros(50, 1, 3, 3)], [torch.ones(50, 2), torch.ones(50, 1, 3, 3)]
    coarse, fine = interpolate(real, fake)
    assert coarse.requires_grad
    assert fine.requires_grad
    shares = coarse[:, 0].detach()
    assert 0 <= float(shares.min()) < 0.1 < 0.9 < float(shares.max()) <= 1
    torch.testing.assert_close(fine.detach(), shares.view(-1, 1, 1, 1).expand_as(fine))


def test_clipping_moves_only_what_is_outside() -> None:
    layer = nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-0.5, 0.005, 2.0]]))
        layer.bias.fill_(-0.02)
    clip_weights(layer, 0.01)
    torch.testing.assert_close(layer.weight.detach(), torch.tensor([[-0.01, 0.005, 0.01]]))
    assert float(layer.bias.detach()) == pytest.approx(-0.01)


def test_historical_average_by_hand() -> None:
    """The weight goes 2, 4, 9: the averages before each are 2, 3, 5; at 9 against (2 + 4) / 2 the cost is 36."""
    player = nn.Linear(1, 1, bias=False)
    history = None
    for value, cost in ((2.0, 0.0), (4.0, 4.0), (9.0, 36.0)):
        with torch.no_grad():
            player.weight.fill_(value)
        if history is None:
            history = HistoricalAverage(player)
        else:
            assert float(history().detach()) == cost
            history.update()
    assert history is not None
    assert float(history.average_0) == 5.0
    assert dict(history.named_parameters()) == {}, "the player is no part of it"
    with torch.no_grad():
        player.weight.fill_(6.0)
    (slope,) = torch.autograd.grad(history(), player.weight)
    assert float(slope) == 2 * (6 - 5)


def test_historical_average_is_restored_from_its_state() -> None:
    torch.manual_seed(0)
    player = nn.Linear(3, 2)
    history = HistoricalAverage(player)
    for _ in range(3):
        nn.init.normal_(player.weight)
        history.update()
    again = HistoricalAverage(player)
    again.load_state_dict(history.state_dict())
    for one in (history, again):
        one.update()
    assert int(again.count) == 5
    assert torch.equal(again.average_0, history.average_0)
