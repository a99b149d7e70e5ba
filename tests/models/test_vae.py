"""Variational auto-encoder: the divergence, the code, and the bound as the objective sums it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from vidpred.config import load_config
from vidpred.data.batch import Batch
from vidpred.errors import ConfigError
from vidpred.losses.reconstruction import pixel_cross_entropy
from vidpred.models.images import Shape
from vidpred.models.noise import seeded_noise
from vidpred.models.vae import PRIOR_SAMPLES, VaeGenerator, VaeSettings, gaussian_divergence
from vidpred.training.objectives import Objective, Step

SHAPE = Shape(1, 8, 8)
SETTINGS = [VaeSettings(hidden=[16], noise_channels=3), VaeSettings(width=4, noise_channels=3)]


def test_the_divergence_is_torchs() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 4), torch.randn(5, 4)
    code = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros(5, 4), torch.ones(5, 4)), 1)
    torch.testing.assert_close(gaussian_divergence(mean, log_variance), kl_divergence(code, prior))
    assert gaussian_divergence(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


def test_pixel_cross_entropy_by_hand() -> None:
    loss = pixel_cross_entropy(torch.tensor([0.25, 0.5]), torch.tensor([1.0, 0.5]))
    assert loss.item() == pytest.approx((math.log(4) + math.log(2)) / 2)
    assert math.isfinite(pixel_cross_entropy(torch.tensor([0.0]), torch.tensor([1.0])).item())


@pytest.mark.parametrize("settings", SETTINGS)
def test_only_a_given_target_is_encoded(settings: VaeSettings) -> None:
    torch.manual_seed(0)
    model = VaeGenerator(settings, SHAPE).eval()
    none, target = torch.empty(2, 0, *SHAPE), torch.rand(2, 1, *SHAPE)
    still, other = torch.zeros(2, 3), torch.ones(2, 3)
    with torch.no_grad():
        images = model(none, noise=still, target=target)[0]
        mean, log_variance = model.encode(target[:, 0])
        assert model.latent_cost is not None
        torch.testing.assert_close(model.latent_cost, gaussian_divergence(mean, log_variance))
        torch.testing.assert_close(images, model.decoder(none, noise=mean)[0])  # without noise the code is its mean
        model(none, noise=mean)
        assert model.latent_cost is None, "a code drawn from the prior has no cost"
        moved = model(none, noise=other, target=target)[0]
        torch.testing.assert_close(moved, model.decoder(none, noise=mean + (log_variance / 2).exp())[0])


@torch.no_grad()
def test_samples_are_normalized_by_the_statistics_of_the_prior() -> None:
    """They equal those of a decoder in training mode for the fixed batch; the running statistics stay as they are."""
    torch.manual_seed(0)
    model = VaeGenerator(VaeSettings(width=4, noise_channels=3), Shape(1, 16, 16))
    none, noise = model.empty_context(PRIOR_SAMPLES), seeded_noise(model, PRIOR_SAMPLES, 0)
    for factor in (1.0, 3.0):  # weights that change are noticed
        for parameter in model.decoder.parameters():
            parameter.mul_(factor)
        expected = copy.deepcopy(model.decoder).train()(none, noise=noise)[0]
        model.eval()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        for part in (slice(0, 7), slice(7, 8)):
            torch.testing.assert_close(model(none[part], noise=noise[part])[0], expected[part], atol=1e-5, rtol=1e-4)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    (exported,) = model.exported_step({})(noise)
    torch.testing.assert_close(exported, expected[:, 0], atol=1e-5, rtol=1e-4)
    running = model.decoder(none, noise=noise)[0]
    assert float((running - expected).abs().max()) > 0.01, "the running statistics are those of no batch yet"


def test_the_objective_minimizes_the_bound() -> None:
    """(cross-entropy summed over the pixels + KL) / pixels, worked out by hand."""
    torch.manual_seed(0)
    model = VaeGenerator(SETTINGS[0], SHAPE)
    batch = Batch(torch.empty(3, 0, *SHAPE), torch.rand(3, 1, *SHAPE), torch.arange(3))
    images = model(batch.context, noise=torch.randn(3, 3), target=batch.future)
    step = Step(batch, images, 0, latent_cost=model.latent_cost)
    losses = Objective(load_config("vae.yaml").objective).phases()[0].losses(step)
    assert model.latent_cost is not None
    entropy = torch.nn.functional.binary_cross_entropy(images[0], batch.future, reduction="sum")
    bound = (entropy + model.latent_cost.sum()) / 3
    assert losses.total.item() * 64 == pytest.approx(bound.item(), rel=1e-5)
    losses.total.backward()
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())


def test_the_divergence_needs_an_encoder() -> None:
    with pytest.raises(ConfigError, match="objective.kl_weight"):
        load_config("dcgan_mnist.yaml", {"objective.kl_weight": 1.0})
