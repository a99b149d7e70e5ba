"""Spectral normalization against singular values and torch's implementation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vidpred.models.discriminators import MultiscaleDiscriminator, MultiscaleDiscriminatorSettings
from vidpred.models.spectral_norm import SpectralNorm, add_spectral_norm


@pytest.mark.parametrize("shape", [(5, 7), (6, 3, 4, 4)])
def test_the_largest_singular_value_becomes_1(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(shape)
    norm = SpectralNorm(weight)
    for _ in range(100):
        normalized = norm(weight)
    sigma = torch.linalg.matrix_norm(weight.flatten(1), 2)
    torch.testing.assert_close(normalized, weight / sigma, rtol=1e-4, atol=1e-5)


def test_one_iteration_a_use_in_training_and_none_in_evaluation() -> None:
    torch.manual_seed(0)
    weight = torch.diag(torch.tensor([2.0, 1.9]))
    norm = SpectralNorm(weight)
    norm.left.copy_(torch.tensor([0.6, 0.8]))
    norm.right.copy_(torch.tensor([0.6, 0.8]))
    norm.eval()
    first = norm(weight)
    torch.testing.assert_close(first, weight / (2 * 0.36 + 1.9 * 0.64))
    assert torch.equal(norm(weight), first)
    norm.train()
    norm(weight)
    torch.testing.assert_close(norm.left, nn.functional.normalize(torch.tensor([1.2, 1.52]), dim=0))


def test_gradients_are_torchs_own() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 6), nn.Linear(4, 6)
    theirs.load_state_dict(ours.state_dict())
    nn.utils.parametrizations.spectral_norm(theirs)
    add_spectral_norm(ours)
    images = torch.randn(3, 4)
    for _ in range(100):
        results = [layer(images) for layer in (ours, theirs)]
    slopes = [
        torch.autograd.grad(result.square().sum(), layer.parametrizations.weight.original)[0]  # type: ignore[union-attr]
        for result, layer in zip(results, (ours, theirs), strict=True)
    ]
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-4)


def test_autocast_does_not_blur_the_estimate() -> None:
    torch.manual_seed(0)
    norm = SpectralNorm(torch.randn(8, 8)).eval()
    weight = torch.randn(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        inside = norm(weight)
    assert torch.equal(inside, norm(weight))


def test_a_normalized_discriminator_has_a_bounded_slope() -> None:
    """Fully connected layers of slope 1 and LeakyReLU: logits change no more than the features do."""
    torch.manual_seed(0)
    plain, bounded = (
        MultiscaleDiscriminator(MultiscaleDiscriminatorSettings(size="strided", spectral_norm=on), 2, 16, 2)
        for on in (0, 1)
    )
    names = [name for name, _ in bounded.named_parameters() if name.endswith("parametrizations.weight.original")]
    assert len(names) == sum(name.endswith("weight") for name, _ in plain.named_parameters())
    for module in bounded.modules():
        if isinstance(module, nn.Linear):
            for _ in range(50):
                weight = module.weight
            assert float(torch.linalg.matrix_norm(weight.detach(), 2)) == pytest.approx(1, abs=0.02)
