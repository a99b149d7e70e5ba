"""What `vidpred lecture` computes about losses and modes, as numbers; what is on the real line: `lecture_line`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidpred.checkpoint import read_metrics
from vidpred.config import load_config
from vidpred.data.worlds.points import POINTS
from vidpred.evaluation.modes import draw_points, measure_coverage
from vidpred.losses.gan_losses import minimax_loss
from vidpred.losses.reconstruction import adversarial_loss
from vidpred.run import train

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
    """Train every variant of the GAN on eight Gaussians for `steps` steps; return the results by name."""
    found = {}
    for name, settings in REMEDIES.items():
        run = folder / name.replace(" ", "-")
        shared = {"data.world.name": "eight_gaussians", "training.steps": steps, "training.validate_every": 0,
                  "training.precision": "float32", "training.log_every": 50, "model.hidden": [64, 64],
                  "discriminator.hidden": [64, 64], "training.ema_decay": 0.99}  # fmt: skip
        config = load_config("gaussians_gan.yaml", {**shared, **settings, "run": str(run)})
        predictor = train(config).predictor("last")
        drawn = draw_points(predictor.generator, 1000)
        covered = measure_coverage(drawn, POINTS["eight_gaussians"])
        loss, lines = config.objective.adversary.loss, read_metrics(run)
        accuracy = [line["discriminator/accuracy"] for line in lines if "discriminator/accuracy" in line]
        fake = [1 - math.exp(-line["discriminator/fake"]) for line in lines if "discriminator/fake" in line]
        found[name] = Variant(
            covered.modes_covered, covered.high_quality_share, drawn,
            fmean(accuracy) if accuracy and loss != "wasserstein" else None,
            (fmean(fake), min(fake)) if fake and loss in FAKE else None,
        )  # fmt: skip
    return found
