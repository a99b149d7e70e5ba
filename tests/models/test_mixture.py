"""The Gaussian mixture: scikit-learn's density, the moments of its samples, and runs that can be sampled."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.image_files import digits, write_digits
from vidpred.config import load_config
from vidpred.errors import ConfigError
from vidpred.inference.sample_images import Sampler
from vidpred.models.images import Shape
from vidpred.models.mixture import MixtureGenerator, MixtureSettings
from vidpred.models.noise import draw_noise, seeded_noise
from vidpred.run import train


@pytest.mark.slow
def test_the_density_is_scikit_learns() -> None:
    """With all principal axes kept, whitening is a change of coordinates.

    The density on pixels is that of a mixture fitted to them directly from the same start, here of one component.
    """
    from sklearn.mixture import GaussianMixture

    torch.manual_seed(0)
    images = (torch.randn(400, 6) @ torch.randn(6, 6) * 0.05 + 0.5).clamp(0, 1).view(400, 1, 2, 3)
    model = MixtureGenerator(MixtureSettings(components=1, noise_channels=7), Shape(1, 2, 3))
    model.fit(images, 0)
    flat = images.flatten(1).double().numpy()
    reference = GaussianMixture(1, reg_covar=0).fit(flat)
    # PCA divides by n - 1 where the mixture divides by n; both ridges are tiny.
    np.testing.assert_allclose(model.log_density(images).numpy(), reference.score_samples(flat), rtol=2e-3, atol=2e-2)


@pytest.mark.slow
def test_dropped_axes_are_gaussian_noise() -> None:
    """The density integrates to one: the mean log density of a known Gaussian's samples is minus its entropy."""
    random = np.random.default_rng(0)
    stds = np.array([0.2, 0.1, 0.01, 0.01])
    points = 0.5 + random.standard_normal((20_000, 4)) * stds
    model = MixtureGenerator(MixtureSettings(components=1, noise_channels=3), Shape(1, 2, 2))
    images = torch.from_numpy(points).view(-1, 1, 2, 2)
    model.fit(images, 0)
    entropy = np.log(stds * np.sqrt(2 * np.pi * np.e)).sum()
    assert float(model.log_density(images).mean()) == pytest.approx(-entropy, abs=0.02)


def two_components(count: int, values: int, axes: int) -> tuple[MixtureGenerator, torch.Tensor]:
    """Return a mixture fitted to two clouds, and the images, of one row."""
    random = np.random.default_rng(2)
    where = random.random((count, 1)) < 0.3
    spread = random.standard_normal((values, values)) * 0.02
    points = np.where(where, 0.35, 0.6) + random.standard_normal((count, values)) @ spread
    images = torch.from_numpy(points).view(-1, 1, 1, values).float().clamp(0, 1)
    model = MixtureGenerator(MixtureSettings(components=2, noise_channels=axes + 1), Shape(1, 1, values))
    model.fit(images, 0)
    return model, images


def dense(model: MixtureGenerator) -> tuple[np.ndarray, np.ndarray]:
    """Return the components' means and full covariances on all values."""
    axes, factors = (value.double().numpy() for value in (model.axes, model.factors))
    units = axes / np.linalg.norm(axes, axis=0)
    rest = np.eye(len(axes)) - units @ units.T
    spreads = [axes @ factor @ factor.T @ axes.T + float(model.dropped) * rest for factor in factors]
    return model.mean.double().numpy() + model.centres.double().numpy() @ axes.T, np.stack(spreads)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [3, 6])
def test_holes_are_filled_with_the_conditional_mean(axes: int) -> None:
    """Compare with the textbook formula on full matrices, with and without dropped axes."""
    model, images = two_components(2000, 6, axes)
    known = torch.tensor([True, False, True, True, False, False]).view(1, 1, 6)
    given, hole = (np.flatnonzero(mask.flatten().numpy()) for mask in (known, ~known))
    means, spreads = dense(model)
    between = torch.from_numpy(means.mean(0)).float().view(1, 1, 1, 6)  # equally likely of either component
    for image in torch.cat([images[:3], between]):
        values, logs, filled = image.flatten().double().numpy(), [], []
        for weight, mean, spread in zip(model.weights.numpy(), means, spreads, strict=True):
            inverse = np.linalg.inv(spread[np.ix_(given, given)])
            apart = values[given] - mean[given]
            logs.append(np.log(weight) - apart @ inverse @ apart / 2 + np.linalg.slogdet(inverse)[1] / 2)
            filled.append(mean[hole] + spread[np.ix_(hole, given)] @ inverse @ apart)
        shares = np.exp(np.array(logs) - max(logs))
        wanted = shares @ np.array(filled) / shares.sum()
        found = model.expected(image[None], known).flatten().numpy()
        np.testing.assert_allclose(found[hole], wanted, atol=1e-5)
        np.testing.assert_array_equal(found[given], image.flatten().numpy()[given])


@pytest.mark.slow
def test_drawn_completions_have_the_conditional_moments() -> None:
    """Check mean and covariance of the missing values given the others, for a single component."""
    model, _ = two_components(2000, 6, 3)
    model.weights.copy_(torch.tensor([1.0, 0.0]))
    known = torch.tensor([True, False, True, True, False, False]).view(1, 1, 6)
    given, hole = (np.flatnonzero(mask.flatten().numpy()) for mask in (known, ~known))
    means, spreads = dense(model)
    image = torch.from_numpy(means[0] + 0.01).float().view(1, 1, 1, 6)
    drawn = model.completions(image, known, 40_000, 1)[0].flatten(1).double().numpy()
    np.testing.assert_array_equal(drawn[:, given], np.repeat(image.flatten()[None].numpy(), 40_000, 0)[:, given])
    gain = spreads[0][np.ix_(hole, given)] @ np.linalg.inv(spreads[0][np.ix_(given, given)])
    wanted = spreads[0][np.ix_(hole, hole)] - gain @ spreads[0][np.ix_(given, hole)]
    np.testing.assert_allclose(np.cov(drawn[:, hole].T), wanted, rtol=0.05, atol=5e-5)
    np.testing.assert_allclose(drawn[:, hole].mean(0), model.expected(image, known).flatten().numpy()[hole], atol=1e-3)


@pytest.mark.slow
def test_samples_have_the_moments_of_the_mixture() -> None:
    random = np.random.default_rng(1)
    where = random.random(3000) < 0.25
    points = np.where(where[:, None], [0.2, 0.7, 0.5], [0.7, 0.3, 0.4]) + random.standard_normal((3000, 3)) * 0.03
    model = MixtureGenerator(MixtureSettings(components=2, noise_channels=4), Shape(1, 1, 3))
    model.fit(torch.from_numpy(points).view(-1, 1, 1, 3), 0)
    with torch.no_grad():
        drawn = model(torch.empty(20_000, 0, 1, 1, 3), noise=seeded_noise(model, 20_000, 0))[0].view(-1, 3).numpy()
    assert (drawn[:, 0] < 0.45).mean() == pytest.approx(where.mean(), abs=0.01)
    np.testing.assert_allclose(drawn.mean(0), points.mean(0), atol=0.01)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(points.T), atol=0.003)


@pytest.mark.slow
def test_a_fitted_run_can_be_sampled_and_measured(tmp_path: Path) -> None:
    settings = {
        "data.root": str(write_digits(tmp_path / "digits.npz", 1500)), "data.crop_size": 8,
        "run": str(tmp_path / "run"), "model.components": 12, "model.noise_channels": 21, "training.device": "cpu",
    }  # fmt: skip
    run = train(load_config("mixture.yaml", settings))
    line = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["fit/log_likelihood"] > line["validation/log_likelihood"] > 0
    images = torch.stack([image for _, image, _ in Sampler(run.predictor()).samples(200)])[:, 0].double().numpy()
    true = digits()[0][:1500] / 255
    assert np.abs(images.mean(0) - true.mean(0)).max() < 0.12
    assert train(load_config("mixture.yaml", settings)).first_step == 1, "the run was already complete"


def test_settings_of_gradients_are_refused(tmp_path: Path) -> None:
    shared = [f"data.root={write_digits(tmp_path / 'digits.npz')}", "data.crop_size=8"]
    for word in ("training.grad_clip_norm=1.0", "objective.lp_weight=0.0"):
        with pytest.raises(ConfigError, match=f"{word}.* not used by this run"):
            train(load_config("mixture.yaml", [*shared, word]))


@pytest.mark.parametrize("noise", ["gaussian", "uniform"])
def test_components_are_drawn_by_their_weights_with_any_noise(noise: str) -> None:
    """Components 10 apart on one axis, of variance 0.04 there: the samples have both moments."""
    settings = MixtureSettings(components=3, noise_channels=2, noise=noise)
    model = MixtureGenerator(settings, Shape(1, 1, 2))
    with torch.no_grad():
        model.weights.copy_(torch.tensor([0.05, 0.15, 0.8]))
        model.centres.copy_(torch.tensor([[-10.0], [0.0], [10.0]]))
        model.factors.copy_(torch.full((3, 1, 1), 0.2))
        model.axes.copy_(torch.tensor([[0.01], [0.0]]))
        model.mean.copy_(torch.tensor([0.5, 0.5]))
    torch.manual_seed(0)
    noise_drawn = draw_noise(model, 20_000)
    values = (model(torch.empty(20_000, 0, 1, 1, 2), noise_drawn)[0][:, 0, 0, 0, 0] - 0.5) / 0.01
    component = (values / 10).round()
    shares = [float((component == place).float().mean()) for place in (-1, 0, 1)]
    assert shares == pytest.approx([0.05, 0.15, 0.8], abs=0.01)
    assert float((values - 10 * component).std()) == pytest.approx(0.2, abs=0.01)


def test_two_values_cannot_choose_a_component() -> None:
    with pytest.raises(ConfigError, match=r"noise: two values .* set model.noise=gaussian"):
        load_config("mixture.yaml", ["model.noise=binary"])


def test_the_error_without_scikit_learn_states_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    model = MixtureGenerator(MixtureSettings(components=1, noise_channels=3), Shape(1, 2, 2))
    with pytest.raises(ConfigError, match=r"pip install '\.\[images\]'"):
        model.fit(torch.rand(9, 1, 2, 2), 0)
