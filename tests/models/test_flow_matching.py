"""The flow-matching predictor: exact for the true velocity, noise images as a function of vectors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vidpred.config import load_config
from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.models.flow_matching import FlowMatching, FlowMatchingSettings, encode_time, factors, noise_images

DATA = DataSettings(context_frames=2, pred_frames=2, channels=1)


def small(**change: object) -> FlowMatching:
    torch.manual_seed(0)
    return FlowMatching(FlowMatchingSettings.model_validate({"widths": (4, 8), **change}), DATA)


def test_the_true_velocity_leads_to_the_future_in_any_number_of_steps() -> None:
    future, noise = torch.rand(1, 2, 1, 8, 8), torch.randn(1, 8)
    start = noise_images(noise, (2, 1, 8, 8))

    class Exact(FlowMatching):
        def velocity(self, frames: Tensor, time: Tensor, context: Tensor, given: list[Tensor]) -> Tensor:
            return future * 2 - 1 - start

    for euler_steps in (1, 3, 8):
        model = Exact(FlowMatchingSettings(widths=(4, 8), euler_steps=euler_steps), DATA)
        torch.testing.assert_close(model(torch.rand(1, 2, 1, 8, 8), noise=noise)[0], future)


def test_a_network_of_zeros_estimates_gaussian_frames_best() -> None:
    """The loss is then the variance that a linear estimate leaves; frames at time 0 are the mean of all."""
    model = small()
    for parameter in model.readout.parameters():
        torch.nn.init.zeros_(parameter)
    target = 0.5 + 0.25 * torch.randn(300, 2, 1, 8, 8)
    model(torch.rand(300, 2, 1, 8, 8), target=target)
    time = torch.linspace(0, 1, 1001)
    linear, left, _ = factors(time)
    torch.testing.assert_close(model.extra_losses["velocity"], left.square().mean(), rtol=0.05, atol=0)
    for number in (0, 300, 1000):  # the variance left by other factors is larger
        noise, future = torch.randn(50_000), 0.5 * torch.randn(50_000)
        noisy, velocity = (1 - time[number]) * noise + time[number] * future, future - noise
        errors = [(velocity - (linear[number] + change) * noisy).square().mean() for change in (-0.1, 0, 0.1)]
        assert errors[1] < min(errors[0], errors[2])
        torch.testing.assert_close(errors[1], left[number] ** 2, rtol=0.05, atol=0)


def test_noise_images_are_functions_of_vectors() -> None:
    noise = torch.randn(3, 8)
    images = noise_images(noise, (2, 1, 40, 40))
    assert torch.equal(images, noise_images(noise, (2, 1, 40, 40)))
    assert torch.equal(images[1:2], noise_images(noise[1:2], (2, 1, 40, 40)))
    assert torch.equal(-images, noise_images(-noise, (2, 1, 40, 40)))
    assert abs(float(images.std()) - 1) < 0.05
    assert abs(float((images[0] * images[1]).mean())) < 0.1
    changed = noise.clone()
    changed[:, 5] = 0.1
    assert abs(float((images * noise_images(changed, (2, 1, 40, 40))).mean())) < 0.1


def test_times_are_encoded_apart() -> None:
    codes = encode_time(torch.linspace(0, 1, 9))
    distances = torch.cdist(codes, codes) + 10 * torch.eye(9)
    assert float(distances.min()) > 0.3


def test_the_exact_velocity_has_no_loss_and_estimates_the_future_at_every_time() -> None:
    target = torch.rand(5, 2, 1, 8, 8)

    class Exact(FlowMatching):
        def velocity(self, frames: Tensor, time: Tensor, context: Tensor, given: list[Tensor]) -> Tensor:
            return (target * 2 - 1 - frames) / (1 - time)[:, None, None, None, None]

    model = Exact(FlowMatchingSettings(widths=(4, 8)), DATA)
    torch.testing.assert_close(model(torch.rand(5, 2, 1, 8, 8), target=target)[0], target, atol=1e-4, rtol=0)
    assert model.extra_losses["velocity"].item() < 1e-6


def test_several_samples_in_training_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"objective.num_samples: model.name=flow_matching.*num_samples=1"):
        load_config("flow_matching_moving_mnist.yaml", {"objective.num_samples": 2})
