"""SVG-LP: its divergence, prior and posterior, and one future per draw."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.svg import SVG, SVGSettings, gaussian_divergence

DATA = DataSettings(context_frames=2, pred_frames=3, channels=1)


def small() -> SVG:
    torch.manual_seed(0)
    return SVG(SVGSettings(width=2, code_size=6, hidden=5, noise_channels=3), DATA)


def test_divergence_of_gaussians() -> None:
    torch.manual_seed(0)
    one, spread, two, wide = torch.randn(4, 2, 3, 5)
    expected = kl_divergence(Normal(one, (spread / 2).exp()), Normal(two, (wide / 2).exp())).sum(2)
    torch.testing.assert_close(gaussian_divergence(one, spread, two, wide), expected)


def test_a_posterior_equal_to_the_prior_has_no_divergence_where_nothing_moves() -> None:
    model = small()
    still = torch.rand(2, 1, 1, 16, 16).expand(-1, 5, -1, -1, -1)
    model(still[:, :2], target=still[:, 2:])
    assert model.extra_losses["kl"].item() > 0
    model.posterior.load_state_dict(model.prior.state_dict())
    model(still[:, :2], target=still[:, 2:])
    assert model.extra_losses["kl"].item() == 0
    moving = torch.rand(2, 5, 1, 16, 16)
    model(moving[:, :2], target=moving[:, 2:])
    assert model.extra_losses["kl"].item() > 0


def test_one_draw_is_one_future_and_later_draws_change_later_frames_only() -> None:
    model = small().eval()
    context, noise = torch.rand(1, 2, 1, 16, 16), torch.randn(1, 9)
    assert model.noise_channels == 9
    other = noise.clone()
    other[:, 3:6] += 5  # the second frame's code
    with torch.no_grad():
        (frames,), (again,), (changed,) = (model(context, noise=draw) for draw in (noise, noise, other))
    assert torch.equal(frames, again)
    assert (frames != changed).flatten(2).any(2)[0].tolist() == [False, True, True]


def test_what_it_refuses() -> None:
    with pytest.raises(ConfigError, match=r"\[data.lead=2\].*set data.lead=1"):
        SVGSettings().build(DataSettings(lead=2))
    with pytest.raises(ValueError, match="action_size: model.name=svg_lp does not take this"):
        SVGSettings(action_size=2)


def test_losses_by_hand() -> None:
    """The paper's sums over frames of errors in [0, 1], times 4 / K: those of K future frames are a mean in [-1, 1]."""
    model, clip = small(), torch.rand(2, 5, 1, 16, 16)
    for layer in (model.readout, model.prior.mean, model.prior.log_variance, model.posterior.mean,
                  model.posterior.log_variance):  # fmt: skip
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    torch.nn.init.constant_(model.posterior.mean.bias, 0.5)
    (images,) = model(clip[:, :2], target=clip[:, 2:])
    assert bool((images == 0.5).all())
    errors = (clip[:, 1:] - 0.5).square().mean((0, 2, 3, 4))
    kl = 4 * 3 * 0.5**2 / 2  # of 4 frames with 3 values each
    expected = 4 / 3 * (errors.sum() + 1e-4 * kl)
    own = (images * 2 - 1 - (clip[:, 2:] * 2 - 1)).square().mean()
    torch.testing.assert_close(own + model.extra_losses["context"] + model.extra_losses["kl"], expected)


def test_true_frames_that_equal_the_predictions_lead_to_the_same_predictions() -> None:
    """With codes of 0, frame after frame: the same states, codes before each frame, and features of the last frame."""
    model = small().eval()
    for network in (model.prior, model.posterior):
        for parameter in (network.mean.weight, network.mean.bias, network.log_variance.weight):
            torch.nn.init.zeros_(parameter)
        torch.nn.init.constant_(network.log_variance.bias, -100)
    context = torch.rand(2, 2, 1, 16, 16)
    with torch.no_grad():
        for parameter in model.parameters():  # so that frames differ by more than rounding
            parameter.mul_(4 if parameter.dim() > 1 else 1)
        (predicted,) = model(context)
        (again,), (other,) = (model(context, target=target) for target in (predicted, 1 - predicted))
    torch.testing.assert_close(again, predicted, atol=1e-5, rtol=0)
    apart = (other - predicted).abs().amax((0, 2, 3, 4))
    assert (apart > 1e-4).tolist() == [False, True, True]
