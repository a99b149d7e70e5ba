"""What `vidpred lecture` computes about GANs, as numbers: a small GAN on the real line, losses, modes, divergences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vidpred.checkpoint import read_metrics
from vidpred.config import load_config
from vidpred.data.worlds.points import POINTS
from vidpred.evaluation.modes import coverage, draw_points
from vidpred.losses.gan_losses import ADVERSARIAL_LOSSES, minimax_loss
from vidpred.losses.reconstruction import adversarial_loss
from vidpred.models.eager_optimizers import eager
from vidpred.run import train

LINE = np.linspace(-4, 4, 401)
CENTERS = -1.2, 1.5  # of the data's two Gaussians
SAMPLES = 4000  # for an estimate of a density
SHOWN_STEPS = (0, 50, 200, 1000)  # of the GAN on the line, as shares of its steps / 1000
TRACED = 60  # values of the game during the training on the line
FAKE = ("bce", "minimax")  # losses whose logged value for generated points is -log(1 - D)
REMEDIES: dict[str, dict[str, Any]] = {
    "minimax loss": {"objective.adversarial.loss": "minimax"},
    "non-saturating loss": {},
    "least squares": {"objective.adversarial.loss": "least_squares"},
    "minibatch discrimination": {"discriminator.minibatch_kernels": 10},
    "feature matching": {"objective.adversarial.weight": 0.0, "objective.adversarial.feature_matching_weight": 1.0},
    "labels of 0.9": {"objective.adversarial.real_label": 0.9},
    "historical averaging": {"objective.history_weight": 1e-4},
    "WGAN-GP": {
        "objective.adversarial.loss": "wasserstein",
        "objective.adversarial.gradient_penalty_weight": 0.1,
        "objective.adversarial.discriminator_steps": 5,
    },
    "R1": {"objective.adversarial.r1_weight": 0.1, "objective.adversarial.r1_every": 1},
    "almost no noise": {"model.noise_channels": 1, "model.hidden": [4]},
}


def data_density(x: np.ndarray) -> np.ndarray:
    """Return the density of the data, two Gaussians: 0.6 N(-1.2, 0.5^2) + 0.4 N(1.5, 0.4^2)."""
    return 0.6 * gaussian(x, CENTERS[0], 0.5) + 0.4 * gaussian(x, CENTERS[1], 0.4)


def gaussian(x: np.ndarray, mean: float | np.ndarray, std: float) -> np.ndarray:
    """Return the density of a Gaussian."""
    density: np.ndarray = np.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
    return density


def smoothed(samples: np.ndarray, width: float = 0.12) -> np.ndarray:
    """Estimate a density on LINE from samples, by Gaussian kernels."""
    return np.asarray(gaussian(LINE[:, None], samples[None], width).mean(1))


def best_discriminator(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Return the optimal discriminator D*(x) = p / (p + q) (Goodfellow et al. 2014, proposition 1)."""
    return np.asarray(p / np.maximum(p + q, 1e-12))


def value(p: np.ndarray, q: np.ndarray, x: np.ndarray = LINE) -> float:
    """Return the value of the game, V(D*, G) = E_p log D* + E_q log(1 - D*) (theorem 1).

    It is -log 4 where q = p, and larger by twice the Jensen-Shannon divergence elsewhere.
    """
    best = best_discriminator(p, q).clip(1e-12, 1 - 1e-12)
    return float(np.trapezoid(p * np.log(best) + q * np.log(1 - best), x))


def network() -> nn.Sequential:
    """Build a small network from one value to one."""
    return nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


def sample_data(count: int) -> Tensor:
    """Draw from the data: `(count, 1)`."""
    left = torch.rand(count, 1) < 0.6
    return torch.where(left, CENTERS[0] + 0.5 * torch.randn(count, 1), CENTERS[1] + 0.4 * torch.randn(count, 1))


@dataclass(frozen=True)
class LineTraining:
    """A GAN that was trained in one dimension.

    Attributes:
        shown: (step, samples of the generator, D on LINE) at a few steps.
        trace: Step -> value of the game, throughout the training.
        of_data: The value that samples of the data themselves get from the same estimate of their density.
    """

    shown: list[tuple[int, np.ndarray, np.ndarray]]
    trace: dict[int, float]
    of_data: float


def learn_on_the_line(steps: int, seed: int = 0) -> LineTraining:
    """Train a GAN in one dimension."""
    torch.manual_seed(seed)
    p = data_density(LINE)
    of_data = value(p, smoothed(sample_data(SAMPLES)[:, 0].double().numpy()))
    generator, discriminator, loss = network(), network(), ADVERSARIAL_LOSSES["bce"]
    assert loss.fake is not None
    networks = generator, discriminator
    optimizers = [eager(torch.optim.Adam)(module.parameters(), 2e-3, betas=(0.5, 0.99)) for module in networks]
    found, trace, shown = [], {}, {share * steps // 1000 for share in SHOWN_STEPS}
    grid = torch.from_numpy(LINE).float()[:, None]
    for step in range(steps + 1):
        if step in shown or step % max(1, steps // TRACED) == 0:
            with torch.no_grad():
                samples = generator(torch.randn(SAMPLES, 1))[:, 0].double().numpy()
                trace[step] = value(p, smoothed(samples))
                if step in shown:
                    found.append((step, samples, discriminator(grid).sigmoid()[:, 0].double().numpy()))
        real, fake = sample_data(256), generator(torch.randn(256, 1))
        optimizers[1].zero_grad()
        (loss.real(discriminator(real), 1.0) + loss.fake(discriminator(fake.detach()))).backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        loss.generator(discriminator(fake)).backward()
        optimizers[0].step()
    return LineTraining(found, trace, of_data)


def loss_gradients() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return, for both generator losses, D of a generated image and |d loss / d logit|, by automatic gradient."""
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "minimax: log(1 - D)": minimax_loss,
        "non-saturating: -log D": lambda logits: adversarial_loss(logits, 1),
    }
    found = {}
    for name, loss in losses.items():
        logits = torch.linspace(-8, 8, 161, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(logits) * len(logits), logits)
        found[name] = logits.detach().sigmoid().numpy(), gradient.abs().numpy()
    return found


def closest_gaussian(reverse: bool) -> tuple[float, float, float]:
    """Find the Gaussian q closest to the data p by a grid search; return its mean, standard deviation and divergence.

    Args:
        reverse: Whether to minimize KL(q | p) instead of KL(p | q).
    """
    p, best = data_density(LINE) + 1e-12, (0.0, 0.0, math.inf)
    for mean in np.arange(-2.5, 2.51, 0.1):
        for std in np.arange(0.2, 2.51, 0.1):
            q = gaussian(LINE, mean, std) + 1e-12
            one, other = (q, p) if reverse else (p, q)
            divergence = float(np.trapezoid(one * np.log(one / other), LINE))
            if divergence < best[2]:
                best = float(mean), float(std), divergence
    return best


@dataclass(frozen=True)
class Variant:
    """A GAN that was trained on eight Gaussians.

    Attributes:
        covered: Number of Gaussians with a point within three standard deviations.
        good: Share of points that are within three standard deviations of one.
        points: Points of the generator, `(N, 2)`.
        accuracy: Mean accuracy of the discriminator during training; None for a critic, which has none.
        d_of_fake: Mean of D for generated points during training, and its lowest logged value; None where D is no
            probability.
    """

    covered: int
    good: float
    points: np.ndarray
    accuracy: float | None
    d_of_fake: tuple[float, float] | None


def try_remedies(folder: Path, steps: int) -> dict[str, Variant]:
    """Train every variant on eight Gaussians."""
    found = {}
    for name, settings in REMEDIES.items():
        run = folder / name.replace(" ", "-")
        shared = {"data.world.name": "eight_gaussians", "training.steps": steps, "training.validate_every": 0,
                  "training.precision": "float32", "training.log_every": 50, "model.hidden": [64, 64],
                  "discriminator.hidden": [64, 64], "training.ema_decay": 0.99}  # fmt: skip
        config = load_config("gaussians_gan.yaml", {**shared, **settings, "run": str(run)})
        predictor = train(config).predictor("last")
        drawn = draw_points(predictor.generator, 1000)
        covered = coverage(drawn, POINTS["eight_gaussians"])
        loss, lines = config.objective.adversary.loss, read_metrics(run)
        accuracy = [line["discriminator/accuracy"] for line in lines if "discriminator/accuracy" in line]
        fake = [1 - math.exp(-line["discriminator/fake"]) for line in lines if "discriminator/fake" in line]
        found[name] = Variant(
            covered.modes_covered, covered.high_quality_share, drawn,
            fmean(accuracy) if accuracy and loss != "wasserstein" else None,
            (fmean(fake), min(fake)) if fake and loss in FAKE else None,
        )  # fmt: skip
    return found
