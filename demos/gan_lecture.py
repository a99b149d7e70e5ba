"""What lectures on GANs teach, computed: python -m demos.gan_lecture --output runs/lecture

Writes lecture.html: a GAN on the real line next to its best discriminator; the gradient of both generator
losses; how many of eight Gaussians several remedies cover; the value -log 4 at the equilibrium; both directions of the
Kullback-Leibler divergence. Under three minutes on two CPU cores.
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

from vidpred import load_config, train
from vidpred.data.worlds.points import POINTS
from vidpred.evaluation.modes import coverage, draw_points
from vidpred.losses.gan_losses import ADVERSARIAL_LOSSES, minimax_loss
from vidpred.losses.reconstruction import adversarial_loss
from vidpred.media.html_page import Page

LINE = np.linspace(-4, 4, 401)
SEEN = 3.3  # of the plane, from the middle
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
    "no noise to speak of": {"model.noise_channels": 1, "model.hidden": [4]},
}


def data_density(x: np.ndarray) -> np.ndarray:
    """Two Gaussians: 0.6 N(-1.2, 0.5^2) + 0.4 N(1.5, 0.4^2)."""
    return 0.6 * gaussian(x, -1.2, 0.5) + 0.4 * gaussian(x, 1.5, 0.4)


def gaussian(x: np.ndarray, mean: float | np.ndarray, deviation: float) -> np.ndarray:
    density: np.ndarray = np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))
    return density


def smoothed(samples: np.ndarray, width: float = 0.12) -> np.ndarray:
    """A density on LINE from samples, by Gaussian kernels."""
    return np.asarray(gaussian(LINE[:, None], samples[None], width).mean(1))


def best_discriminator(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """D*(x) = p / (p + q) (Goodfellow et al. 2014, proposition 1)."""
    return np.asarray(p / np.maximum(p + q, 1e-12))


def value(p: np.ndarray, q: np.ndarray, x: np.ndarray = LINE) -> float:
    """V(D*, G) = E_p log D* + E_q log(1 - D*): -log 4 where q = p, and above it by twice the Jensen-Shannon divergence
    elsewhere (theorem 1)."""
    best = best_discriminator(p, q).clip(1e-12, 1 - 1e-12)
    return float(np.trapezoid(p * np.log(best) + q * np.log(1 - best), x))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))


def learn_on_the_line(steps: int, seed: int = 0) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(step, samples of the generator, D on LINE) at a few steps of a GAN in one dimension."""
    torch.manual_seed(seed)
    generator, judge, loss = network(), network(), ADVERSARIAL_LOSSES["bce"]
    optimizers = [torch.optim.Adam(player.parameters(), 2e-3, betas=(0.5, 0.99)) for player in (generator, judge)]
    seen, shown = [], {share * steps // 1000 for share in SHOWN_STEPS}
    grid = torch.from_numpy(LINE).float()[:, None]
    for step in range(steps + 1):
        if step in shown:
            with torch.no_grad():
                samples = generator(torch.randn(4000, 1))[:, 0].double().numpy()
                seen.append((step, samples, judge(grid).sigmoid()[:, 0].double().numpy()))
        left = torch.rand(256, 1) < 0.6
        real = torch.where(left, -1.2 + 0.5 * torch.randn(256, 1), 1.5 + 0.4 * torch.randn(256, 1))
        fake = generator(torch.randn(256, 1))
        optimizers[1].zero_grad()
        (loss.real(judge(real), 1.0) + loss.fake(judge(fake.detach()))).backward()
        optimizers[1].step()
        optimizers[0].zero_grad()
        loss.generator(judge(fake)).backward()
        optimizers[0].step()
    return seen


def loss_gradients() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What reaches a generator's image: |d loss / d logit| by what D says, of both losses, by automatic gradient."""
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
    """The one Gaussian q that is closest to the data p: mean, deviation, divergence. KL(p | q) forward, KL(q | p)
    reverse; by a search over a grid."""
    p, best = data_density(LINE) + 1e-12, (0.0, 0.0, math.inf)
    for mean in np.arange(-2.5, 2.51, 0.1):
        for deviation in np.arange(0.2, 2.51, 0.1):
            q = gaussian(LINE, mean, deviation) + 1e-12
            one, other = (q, p) if reverse else (p, q)
            divergence = float(np.trapezoid(one * np.log(one / other), LINE))
            if divergence < best[2]:
                best = float(mean), float(deviation), divergence
    return best


def try_remedies(folder: Path, steps: int) -> dict[str, tuple[int, float, np.ndarray]]:
    """Gaussians covered of eight, the share of good points, and the points, for each remedy."""
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


def draw(path: Path, plots: int, paint: Callable[[Any, int], None]) -> Path:
    """Rows of plots."""
    from matplotlib.figure import Figure

    columns, rows = min(plots, COLUMNS), -(-plots // COLUMNS)
    figure = Figure(figsize=(3.2 * columns, 2.9 * rows), dpi=110, layout="constrained")
    for number in range(plots):
        paint(figure.add_subplot(rows, columns, number + 1), number)
    figure.savefig(path)
    return path


def line_section(page: Page, folder: Path, steps: int) -> dict[str, float]:
    """The GAN on the line; returns the game's value by step, and at the equilibrium."""
    p, learnt = data_density(LINE), learn_on_the_line(steps)
    values = {str(step): value(p, smoothed(samples)) for step, samples, _ in learnt}

    def line(axes: Any, number: int) -> None:
        step, samples, judged = learnt[number]
        q = smoothed(samples)
        axes.plot(LINE, p, label="data p")
        axes.plot(LINE, q, label="model q")
        axes.plot(LINE, judged, "--", label="D")
        axes.plot(LINE, best_discriminator(p, q), ":", label="p / (p + q)")
        axes.set(title=f"step {step}, V = {values[str(step)]:.2f}", ylim=(0, 1.3))
        if number == 0:
            axes.legend(fontsize=7)

    page.heading("Learning, on the real line")
    page.image(draw(folder / "line.png", len(learnt), line), "Data, model, the discriminator and the best one.")
    values["equilibrium"] = value(p, p)
    said = ", ".join(f"{found:.3f} at step {step}" for step, found in values.items() if step != "equilibrium")
    page.text(
        f"The value of the game with the best discriminator: {said}. Where model and data agree it is "
        f"{values['equilibrium']:.4f}; -log 4 = {-math.log(4):.4f}."
    )
    return values


def gradient_section(page: Page, folder: Path) -> None:
    gradients = loss_gradients()

    def slopes(axes: Any, number: int) -> None:
        for name, (judged, gradient) in gradients.items():
            axes.plot(judged, gradient, label=name)
        axes.set(xlabel="D of a generated image", ylabel="|gradient| at the logit")
        axes.legend(fontsize=7)

    page.heading("Why not the minimax loss")
    page.image(draw(folder / "gradients.png", 1, slopes), "Where the discriminator is sure, only one of them teaches")


def divergence_section(page: Page, folder: Path) -> dict[str, tuple[float, float, float]]:
    found = {"KL(p | q)": closest_gaussian(False), "KL(q | p)": closest_gaussian(True)}

    def closest(axes: Any, number: int) -> None:
        name, (mean, deviation, divergence) = list(found.items())[number]
        axes.plot(LINE, data_density(LINE), label="data p")
        axes.plot(LINE, gaussian(LINE, mean, deviation), label="closest q")
        axes.set(title=f"{name} = {divergence:.2f}")
        axes.legend(fontsize=7)

    page.heading("Two directions of one divergence")
    page.image(draw(folder / "divergences.png", 2, closest), "One covers both modes and what lies between; one picks")
    return found


def modes_section(page: Page, folder: Path, steps: int) -> dict[str, dict[str, float]]:
    tried = try_remedies(folder / "runs", steps)

    def scatter(axes: Any, number: int) -> None:
        name, (covered, _, drawn) = list(tried.items())[number]
        axes.scatter(*POINTS["eight_gaussians"].centers.T, s=60, facecolors="none", edgecolors="tab:green")
        axes.scatter(*drawn.T, s=2)
        axes.set(xlim=(-SEEN, SEEN), ylim=(-SEEN, SEEN))
        axes.set_title(f"{name}: {covered} of 8", fontsize=8)

    page.heading("Modes that are left out")
    page.image(draw(folder / "modes.png", len(tried), scatter), f"Eight Gaussians, {steps} steps each, one seed")
    rows = [[name, str(covered), f"{good:.1%}"] for name, (covered, good, _) in tried.items()]
    page.table(["", "Gaussians covered", "good points"], rows, "1,000 points; good: within 3 deviations")
    return {name: {"covered": covered, "good": good} for name, (covered, good, _) in tried.items()}


def write_page(folder: Path, steps: int, point_steps: int) -> dict[str, Any]:
    """Compute everything and write the page; returns its numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    page = Page("What a GAN learns", "Every number and image on this page was computed by this script.")
    values = line_section(page, folder, steps)
    gradient_section(page, folder)
    divergences = divergence_section(page, folder)
    remedies = modes_section(page, folder, point_steps)
    page.write(folder / "lecture.html", "python -m demos.gan_lecture")
    return {"values": values, "divergences": divergences, "remedies": remedies}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/lecture"), help="folder of page and runs")
    parser.add_argument("--steps", type=int, default=1500, help="of the GAN on the line")
    parser.add_argument("--point-steps", type=int, default=2500, help="of each GAN on eight Gaussians")
    options = parser.parse_args()
    torch.set_num_threads(1)  # networks this small are slower with several threads
    numbers = write_page(options.output, options.steps, options.point_steps)
    (options.output / "lecture.json").write_text(json.dumps(numbers, indent=1))
    print(f"look at {options.output / 'lecture.html'}")


if __name__ == "__main__":
    main()
