"""The figures of a lecture on GANs, computed.

Writes lecture.html: a GAN on the real line with its optimal discriminator; the gradient of both generator losses; the
number of eight Gaussians that several GAN variants cover; the value -log 4 at the equilibrium; both directions of the
Kullback-Leibler divergence. Takes under three minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vidpred.config import load_config
from vidpred.data.worlds.points import POINTS
from vidpred.evaluation.modes import coverage, draw_points
from vidpred.losses.gan_losses import ADVERSARIAL_LOSSES, minimax_loss
from vidpred.losses.reconstruction import adversarial_loss
from vidpred.media.html_page import Page
from vidpred.run import train

LINE = np.linspace(-4, 4, 401)
EXTENT = 3.3  # of the plane in plots, from the center
SHOWN_STEPS = (0, 50, 200, 1000)  # of the GAN on the line, as shares of its steps / 1000
COLUMNS = 5  # plots side by side
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
    return 0.6 * gaussian(x, -1.2, 0.5) + 0.4 * gaussian(x, 1.5, 0.4)


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


def learn_on_the_line(steps: int, seed: int = 0) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Train a GAN in one dimension; return (step, samples of the generator, D on LINE) at a few steps."""
    torch.manual_seed(seed)
    generator, discriminator, loss = network(), network(), ADVERSARIAL_LOSSES["bce"]
    networks = generator, discriminator
    optimizers = [torch.optim.Adam(module.parameters(), 2e-3, betas=(0.5, 0.99)) for module in networks]
    found, shown = [], {share * steps // 1000 for share in SHOWN_STEPS}
    grid = torch.from_numpy(LINE).float()[:, None]
    for step in range(steps + 1):
        if step in shown:
            with torch.no_grad():
                samples = generator(torch.randn(4000, 1))[:, 0].double().numpy()
                found.append((step, samples, discriminator(grid).sigmoid()[:, 0].double().numpy()))
        left = torch.rand(256, 1) < 0.6
        real = torch.where(left, -1.2 + 0.5 * torch.randn(256, 1), 1.5 + 0.4 * torch.randn(256, 1))
        fake = generator(torch.randn(256, 1))
        optimizers[1].zero_grad()
        (loss.real(discriminator(real), 1.0) + loss.fake(discriminator(fake.detach()))).backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        loss.generator(discriminator(fake)).backward()
        optimizers[0].step()
    return found


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


def try_remedies(folder: Path, steps: int) -> dict[str, tuple[int, float, np.ndarray]]:
    """Train every variant; return the covered Gaussians of eight, the share of good points, and the points."""
    found = {}
    for name, settings in REMEDIES.items():
        run = folder / name.replace(" ", "-")
        shared = {"data.world.name": "eight_gaussians", "training.steps": steps, "training.validate_every": 0,
                  "training.precision": "float32", "training.log_every": 50, "model.hidden": [64, 64],
                  "discriminator.hidden": [64, 64], "training.ema_decay": 0.99}  # fmt: skip
        predictor = train(load_config("gaussians_gan.yaml", {**shared, **settings, "run": str(run)})).predictor("last")
        drawn = draw_points(predictor.generator, 1000)
        covered = coverage(drawn, POINTS["eight_gaussians"])
        found[name] = covered.modes_covered, covered.high_quality_share, drawn
    return found


def draw(path: Path, plots: int, plot: Callable[[Any, int], None]) -> Path:
    """Draw rows of plots, each by `plot(axes, number)`."""
    from matplotlib.figure import Figure

    columns, rows = min(plots, COLUMNS), -(-plots // COLUMNS)
    figure = Figure(figsize=(3.2 * columns, 2.9 * rows), dpi=110, layout="constrained")
    for number in range(plots):
        plot(figure.add_subplot(rows, columns, number + 1), number)
    figure.savefig(path)
    return path


def line_section(page: Page, folder: Path, steps: int) -> dict[str, float]:
    """Write the section on the GAN on the line; return the game's value by step, and at the equilibrium."""
    p, learned = data_density(LINE), learn_on_the_line(steps)
    values = {str(step): value(p, smoothed(samples)) for step, samples, _ in learned}

    def line(axes: Any, number: int) -> None:
        step, samples, scores = learned[number]
        q = smoothed(samples)
        axes.plot(LINE, p, label="data p")
        axes.plot(LINE, q, label="model q")
        axes.plot(LINE, scores, "--", label="D")
        axes.plot(LINE, best_discriminator(p, q), ":", label="p / (p + q)")
        axes.set(title=f"step {step}, V = {values[str(step)]:.2f}", ylim=(0, 1.3))
        if number == 0:
            axes.legend(fontsize=7)

    page.heading("Learning, on the real line")
    page.image(draw(folder / "line.png", len(learned), line), "Data, model, the discriminator and the optimal one.")
    values["equilibrium"] = value(p, p)
    by_step = ", ".join(f"{found:.3f} at step {step}" for step, found in values.items() if step != "equilibrium")
    page.text(
        f"The value of the game with the optimal discriminator: {by_step}. Where model and data agree it is "
        f"{values['equilibrium']:.4f}; -log 4 = {-math.log(4):.4f}."
    )
    return values


def gradient_section(page: Page, folder: Path) -> None:
    """Write the section on the gradients of the generator losses."""
    gradients = loss_gradients()

    def slopes(axes: Any, number: int) -> None:
        for name, (scores, gradient) in gradients.items():
            axes.plot(scores, gradient, label=name)
        axes.set(xlabel="D of a generated image", ylabel="|gradient| at the logit")
        axes.legend(fontsize=7)

    page.heading("Why not the minimax loss")
    page.image(draw(folder / "gradients.png", 1, slopes), "Where D is near 0, the minimax loss has almost no gradient")


def divergence_section(page: Page, folder: Path) -> dict[str, tuple[float, float, float]]:
    """Write the section on the Kullback-Leibler divergence; return the closest Gaussians."""
    found = {"KL(p | q)": closest_gaussian(False), "KL(q | p)": closest_gaussian(True)}

    def closest(axes: Any, number: int) -> None:
        name, (mean, std, divergence) = list(found.items())[number]
        axes.plot(LINE, data_density(LINE), label="data p")
        axes.plot(LINE, gaussian(LINE, mean, std), label="closest q")
        axes.set(title=f"{name} = {divergence:.2f}")
        axes.legend(fontsize=7)

    page.heading("Two directions of one divergence")
    page.image(
        draw(folder / "divergences.png", 2, closest), "One covers both modes and the gap; the other picks one mode"
    )
    return found


def modes_section(page: Page, folder: Path, steps: int) -> dict[str, dict[str, float]]:
    """Write the section on covered modes; return covered Gaussians and the share of good points by variant."""
    tried = try_remedies(folder / "runs", steps)

    def scatter(axes: Any, number: int) -> None:
        name, (covered, _, drawn) = list(tried.items())[number]
        axes.scatter(*POINTS["eight_gaussians"].centers.T, s=60, facecolors="none", edgecolors="tab:green")
        axes.scatter(*drawn.T, s=2)
        axes.set(xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT))
        axes.set_title(f"{name}: {covered} of 8", fontsize=8)

    page.heading("Missing modes")
    page.image(draw(folder / "modes.png", len(tried), scatter), f"Eight Gaussians, {steps} steps each, one seed")
    rows = [[name, str(covered), f"{good:.1%}"] for name, (covered, good, _) in tried.items()]
    page.table(["", "Gaussians covered", "good points"], rows, "1,000 points; good: within 3 standard deviations")
    return {name: {"covered": covered, "good": good} for name, (covered, good, _) in tried.items()}


def write_page(folder: Path, steps: int, point_steps: int) -> dict[str, Any]:
    """Compute all numbers, write the page and return the numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    page = Page("What a GAN learns", "Every number and image on this page was computed by this script.")
    values = line_section(page, folder, steps)
    gradient_section(page, folder)
    divergences = divergence_section(page, folder)
    remedies = modes_section(page, folder, point_steps)
    page.write(folder / "lecture.html", "python -m demos.gan_lecture")
    return {"values": values, "divergences": divergences, "remedies": remedies}


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/lecture"), help="Folder of page and runs.")
    parser.add_argument("--steps", type=int, default=1500, help="Steps of the GAN on the line.")
    parser.add_argument("--point-steps", type=int, default=2500, help="Steps of each GAN on eight Gaussians.")
    options = parser.parse_args()
    torch.set_num_threads(1)  # networks this small are slower with several threads
    numbers = write_page(options.output, options.steps, options.point_steps)
    (options.output / "lecture.json").write_text(json.dumps(numbers, indent=1))
    print(f"look at {options.output / 'lecture.html'}")


if __name__ == "__main__":
    main()
