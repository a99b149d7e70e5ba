"""A small GAN on the real line, and the densities, discriminators and divergences there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from vidpred.losses.gan_losses import ADVERSARIAL_LOSSES
from vidpred.models.eager_optimizers import eager

LINE = np.linspace(-4, 4, 401)
CENTERS = -1.2, 1.5  # of the data's two Gaussians
SAMPLES = 4000  # for an estimate of a density
SHOWN_STEPS = (0, 50, 200, 1000)  # of the GAN on the line, as shares of its steps / 1000
TRACED = 60  # values of the game during the training on the line


def data_density(x: np.ndarray) -> np.ndarray:
    """Return the density of the data, two Gaussians: 0.6 N(-1.2, 0.5^2) + 0.4 N(1.5, 0.4^2)."""
    return 0.6 * gaussian(x, CENTERS[0], 0.5) + 0.4 * gaussian(x, CENTERS[1], 0.4)


def gaussian(x: np.ndarray, mean: float | np.ndarray, std: float) -> np.ndarray:
    """Return the density of a Gaussian at x, in the shape that x and mean broadcast to."""
    density: np.ndarray = np.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
    return density


def smoothed(samples: np.ndarray, width: float = 0.12) -> np.ndarray:
    """Estimate the density of samples `(n,)` at the points of LINE, by Gaussian kernels of this width."""
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
    """Draw `count` values from the data, `(count, 1)`; see `data_density`."""
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
    """Train a GAN on the data for `steps` steps; return its samples and the value of the game on the way."""
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
