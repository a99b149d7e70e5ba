"""The flow-matching predictor: exact for the true velocity, noise images as a function of vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from vidpred.data.settings import DataSettings
from vidpred.models.flow_matching import FlowMatching, FlowMatchingSettings, encode_time, noise_images

DATA = DataSettings(context_frames=2, pred_frames=2, channels=1)


def small(**change: object) -> FlowMatching:
    torch.manual_seed(0)
    return FlowMatching(FlowMatchingSettings.model_validate({"widths": (4, 8), **change}), DATA)


def test_the_true_velocity_leads_to_the_future_in_any_number_of_evaluations() -> None:
    future, noise = torch.rand(1, 2, 1, 8, 8), torch.randn(1, 8)
    start = noise_images(noise, (2, 1, 8, 8))

    class Exact(FlowMatching):
        def network(self, images: Tensor, condition: Tensor) -> Tensor:
            return (future * 2 - 1 - start).flatten(1, 2)

    for evaluations in (1, 3, 8):
        model = Exact(FlowMatchingSettings(widths=(4, 8), evaluations=evaluations), DATA)
        torch.testing.assert_close(model(torch.rand(1, 2, 1, 8, 8), noise=noise)[0], future)


def test_the_loss_is_that_of_the_velocity_and_the_frames_are_its_estimate() -> None:
    """With a velocity of 0, the loss is the mean of (future - noise)^2: for a future of 0 (gray), 1."""
    model = small()
    torch.nn.init.zeros_(model.readout.weight)
    assert model.readout.bias is not None
    torch.nn.init.zeros_(model.readout.bias)
    gray = torch.full((4, 2, 1, 32, 32), 0.5)
    (frames,) = model(gray, target=gray)
    torch.testing.assert_close(model.extra_losses["velocity"], torch.tensor(1.0), atol=0.05, rtol=0)
    torch.manual_seed(5)
    noise = torch.randn(4, 8)
    torch.manual_seed(1)
    (frames,) = model(gray, noise=noise, target=gray)
    torch.manual_seed(1)
    start, time = torch.randn_like(gray), torch.rand(4)
    torch.testing.assert_close(frames, ((1 - time[:, None, None, None, None]) * start / 2 + 0.5).clamp(0, 1))


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
