"""Several futures of one context: seeded, coherent over time, and an error for a model with only one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.errors import ConfigError
from vidpred.inference.predictor import Predictor
from vidpred.models.multiscale import MultiscaleGenerator, MultiscaleSettings
from vidpred.models.rollout import rollout


class Walk(nn.Module):
    """A generator that adds a hundredth of the noise's sum to the last frame, so that frames reveal the noise."""

    def __init__(self) -> None:
        super().__init__()
        self.context_frames, self.pred_frames, self.lead, self.channels = 1, 1, 1, 3
        self.noise_channels, self.noise = 2, "gaussian"
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, context: Tensor, noise: Tensor) -> list[Tensor]:
        return [context[:, -1:] + noise.sum(1).view(-1, 1, 1, 1, 1) / 100]


def predictor(noise_channels: int) -> Predictor:
    torch.manual_seed(0)
    rows = MultiscaleSettings(
        scales=2, feature_maps=[[4], [4]], kernel_sizes=[[3, 3], [3, 3]], noise_channels=noise_channels
    )
    return Predictor(MultiscaleGenerator(rows, 2), DataSettings(context_frames=2), name="mine")


FRAMES = torch.rand(3, 2, 3, 13, 10, generator=torch.Generator().manual_seed(0))


def test_a_sample_keeps_its_noise_through_the_whole_rollout() -> None:
    """Each sample is a straight line with a different slope."""
    context = torch.full((2, 1, 3, 4, 4), 0.5)
    noise = torch.tensor([[1.0, 2.0], [-1.0, 0.0]])
    future = rollout(Walk(), context, 5, noise)
    slopes = torch.tensor([0.03, -0.01]).view(2, 1, 1, 1, 1)
    expected = 0.5 + slopes * torch.arange(1, 6).view(1, 5, 1, 1, 1)
    torch.testing.assert_close(future, expected.expand(2, 5, 3, 4, 4))
    drawn = rollout(Walk(), context, 5)
    torch.testing.assert_close(drawn.diff(dim=1)[:, 0], drawn.diff(dim=1)[:, 3], atol=1e-6, rtol=0)
    assert not torch.allclose(drawn[0], drawn[1])


def test_shapes_of_samples() -> None:
    noisy = predictor(2)
    assert noisy.predict(FRAMES[0], 4, num_samples=5, seed=0).shape == (5, 4, 3, 13, 10)
    assert noisy.predict(FRAMES, 4, num_samples=5, seed=0).shape == (3, 5, 4, 3, 13, 10)
    assert noisy.predict(FRAMES, 4, num_samples=1).shape == (3, 1, 4, 3, 13, 10)
    assert noisy.predict(FRAMES, 4).shape == (3, 4, 3, 13, 10)


def test_the_same_seed_gives_the_same_futures() -> None:
    noisy = predictor(2)
    futures = noisy.predict(FRAMES, 2, num_samples=4, seed=1)
    assert torch.equal(noisy.predict(FRAMES, 2, num_samples=4, seed=1), futures)
    assert torch.equal(noisy.predict(FRAMES, 2, num_samples=2, seed=1), futures[:, :2])
    assert torch.equal(noisy.predict(FRAMES, 2, seed=1), futures[:, 0])
    assert not torch.equal(noisy.predict(FRAMES, 2, num_samples=4, seed=2), futures)
    flat = futures.flatten(2)
    assert all(not torch.equal(flat[:, i], flat[:, j]) for i in range(4) for j in range(i))


def test_without_a_seed_noise_comes_from_torch() -> None:
    noisy = predictor(2)
    torch.manual_seed(4)
    futures = noisy.predict(FRAMES, 2, num_samples=2)
    assert not torch.equal(noisy.predict(FRAMES, 2, num_samples=2), futures)
    torch.manual_seed(4)
    assert torch.equal(noisy.predict(FRAMES, 2, num_samples=2), futures)


def test_a_model_without_noise_has_one_future() -> None:
    plain = predictor(0)
    with pytest.raises(ConfigError, match=r"mine takes no noise and predicts one future only \[num_samples=3\]"):
        plain.predict(FRAMES, 2, num_samples=3)
    assert torch.equal(plain.predict(FRAMES, 2, seed=1), plain.predict(FRAMES, 2))
    with pytest.raises(ValueError, match="takes no noise"):
        rollout(plain.generator, FRAMES, 2, torch.zeros(3, 1))
    with pytest.raises(ValueError, match="num_samples must be at least 1, not 0"):
        predictor(2).predict(FRAMES, 2, num_samples=0)
