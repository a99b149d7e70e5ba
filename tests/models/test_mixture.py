"""The mixture of Gaussians: its density is scikit-learn's, its samples have its moments, its run folder can be drawn
from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from tests.picture_files import digits, write_digits
from vidpred.config import load_config
from vidpred.errors import ConfigError
from vidpred.inference.sample_images import Sampler
from vidpred.models.images import Shape
from vidpred.models.mixture import MixtureGenerator, MixtureSettings
from vidpred.models.noise import seeded_noise
from vidpred.run import train


def test_the_density_is_scikit_learns() -> None:
    """With all principal axes kept, whitening is a change of coordinates: the density on pixels is that of a mixture
    fitted to them directly from the same start, here of one component."""
    torch.manual_seed(0)
    pictures = (torch.randn(400, 6) @ torch.randn(6, 6) * 0.05 + 0.5).clamp(0, 1).view(400, 1, 2, 3)
    model = MixtureGenerator(MixtureSettings(components=1, noise_channels=7), Shape(1, 2, 3))
    model.fit(pictures, 0)
    flat = pictures.flatten(1).double().numpy()
    reference = GaussianMixture(1, reg_covar=0).fit(flat)
    # PCA divides by n - 1 where the mixture divides by n; both ridges are tiny.
    np.testing.assert_allclose(model.log_density(pictures).numpy(), reference.score_samples(flat), rtol=2e-3, atol=2e-2)


def test_left_out_axes_are_gaussian_noise() -> None:
    """log p integrates to one: the mean log density of samples from a known Gaussian is minus its entropy."""
    random = np.random.default_rng(0)
    deviations = np.array([0.2, 0.1, 0.01, 0.01])
    points = 0.5 + random.standard_normal((20_000, 4)) * deviations
    model = MixtureGenerator(MixtureSettings(components=1, noise_channels=3), Shape(1, 2, 2))
    pictures = torch.from_numpy(points).view(-1, 1, 2, 2)
    model.fit(pictures, 0)
    entropy = np.log(deviations * np.sqrt(2 * np.pi * np.e)).sum()
    assert float(model.log_density(pictures).mean()) == pytest.approx(-entropy, abs=0.02)


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


def test_a_fitted_run_is_drawn_from_and_measured(tmp_path: Path) -> None:
    settings = {
        "data.root": str(write_digits(tmp_path / "digits.npz", 1500)), "data.patch_size": 8,
        "run": str(tmp_path / "run"), "model.components": 12, "model.noise_channels": 21, "training.device": "cpu",
    }  # fmt: skip
    run = train(load_config("mixture.yaml", settings))
    line = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert line["fit/log_likelihood"] > line["validation/log_likelihood"] > 0
    pictures = torch.stack([picture for _, picture, _ in Sampler(run.predictor()).samples(200)])[:, 0].double().numpy()
    true = digits()[0][:1500] / 255
    assert np.abs(pictures.mean(0) - true.mean(0)).max() < 0.12
    assert train(load_config("mixture.yaml", settings)).first_step == 1, "nothing is left to do"


def test_settings_of_gradients_are_refused() -> None:
    for key, value in (("training.clip_norm", 1.0), ("objective.lp_weight", 0.0)):
        with pytest.raises(ConfigError, match="fitted at once"):
            train(load_config("mixture.yaml", {key: value}))


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    model = MixtureGenerator(MixtureSettings(components=1, noise_channels=3), Shape(1, 2, 2))
    with pytest.raises(ConfigError, match=r"pip install 'vidpred\[images\]'"):
        model.fit(torch.rand(9, 1, 2, 2), 0)
