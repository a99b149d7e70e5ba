"""Noise of generators: what a draw is, what it changes, and that models without noise have no trace of it."""

from __future__ import annotations

import pytest
import torch

from vidpred.models.build import count_parameters
from vidpred.models.multiscale import MultiscaleGenerator, MultiscaleSettings
from vidpred.models.noise import NOISES, NoiseName, antithetic_noise, draw_noise, seeded_noise


def small(noise_channels: int = 2, noise: NoiseName = "gaussian") -> MultiscaleGenerator:
    torch.manual_seed(0)
    rows = MultiscaleSettings(
        scales=2, feature_maps=[[4], [4]], kernel_sizes=[[3, 3], [3, 3]], noise_channels=noise_channels, noise=noise
    )
    return MultiscaleGenerator(rows, 2)


@pytest.mark.parametrize("noise", NOISES)
def test_noise_changes_the_prediction_at_every_scale(noise: NoiseName) -> None:
    generator, context = small(noise=noise), torch.rand(1, 2, 3, 13, 10)
    one, other = (generator(context, torch.tensor([[sign, 1.0]])) for sign in (1.0, -1.0))
    assert all(bool((a != b).any()) for a, b in zip(one, other, strict=True))
    for a, b in zip(one, generator(context, torch.tensor([[1.0, 1.0]])), strict=True):
        assert torch.equal(a, b)


def test_every_scale_takes_the_noise_directly() -> None:
    """The fine network responds to the noise when the coarse one has zero weights."""
    generator, context = small(), torch.rand(1, 2, 3, 8, 8)
    torch.nn.init.zeros_(generator.networks[0][0].weight)
    one, other = (generator(context, torch.full((1, 2), value)) for value in (1.0, -1.0))
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])


def test_noise_affects_its_own_sample_only() -> None:
    """Row b of the noise changes sample b only."""
    generator, context, noise = small(), torch.rand(3, 2, 3, 8, 8), torch.randn(3, 2)
    before = generator(context, noise)[-1]
    noise[1] += 1
    changed = (generator(context, noise)[-1] != before).flatten(1).any(1)
    assert changed.tolist() == [False, True, False]


def test_noise_not_given_comes_from_torchs_stream() -> None:
    generator, context = small(), torch.rand(2, 2, 3, 8, 8)
    torch.manual_seed(5)
    drawn = draw_noise(generator, 2)
    torch.manual_seed(5)
    torch.testing.assert_close(generator(context)[-1], generator(context, drawn)[-1], rtol=0, atol=0)
    assert not torch.equal(generator(context)[-1], generator(context)[-1])


def test_a_model_without_noise_has_no_weight_for_it_and_leaves_the_stream_alone() -> None:
    generator = small(0)
    assert generator.networks[0][0].in_channels == 6
    assert count_parameters(small(2)) - count_parameters(generator) == 2 * (2 * 9 * 4)  # planes x scales x taps x maps
    torch.manual_seed(3)
    generator(torch.rand(1, 2, 3, 8, 8))
    after = torch.rand(1)
    torch.manual_seed(3)
    torch.rand(1, 2, 3, 8, 8)
    assert torch.equal(after, torch.rand(1))


def test_noise_of_another_shape_is_refused() -> None:
    context = torch.rand(2, 2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"takes noise \(2, 2\), not \(1, 2\)"):
        small()(context, torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"takes no noise \(model.noise_channels=0\), not \(2, 1\)"):
        small(0)(context, torch.zeros(2, 1))


def test_binary_noise_is_a_fair_coin_and_gaussian_noise_has_variance_1() -> None:
    coins = seeded_noise(small(1, "binary"), 10_000, 0)
    assert set(coins.flatten().tolist()) == {-1.0, 1.0}
    assert abs(float(coins.mean())) < 0.04  # four standard errors
    normal = seeded_noise(small(1), 10_000, 0)
    assert abs(float(normal.mean())) < 0.04
    assert abs(float(normal.std()) - 1) < 0.03


def test_seeded_noise_is_a_function_of_its_key() -> None:
    generator = small()
    first = seeded_noise(generator, 3, 7, 0)
    torch.rand(10)
    assert torch.equal(seeded_noise(generator, 3, 7, 0), first)
    assert not torch.equal(seeded_noise(generator, 3, 7, 1), first)
    assert not torch.equal(seeded_noise(generator, 3, 8, 0), first)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("num_samples", [2, 3, 4])
def test_antithetic_pairs_are_opposite(noise: NoiseName, num_samples: int) -> None:
    drawn = antithetic_noise(small(3, noise), 5, num_samples)
    assert drawn.shape == (num_samples, 5, 3)
    pairs = num_samples // 2
    assert torch.equal(drawn[-pairs:], -drawn[:pairs])
    assert len({tuple(row) for row in drawn.flatten(0, 1).tolist()}) > num_samples  # different draws per sample
