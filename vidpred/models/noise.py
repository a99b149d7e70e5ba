"""Noise for generators that sample: one vector is one outcome, the same at every scale, pixel and future frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vidpred.models.base import Generator, NoiseName

# Standard normal values -> noise. All are symmetric about 0, so that -z is as likely as z (antithetic pairs).
NOISES: dict[NoiseName, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda normal: normal,
    "uniform": lambda normal: torch.erf(normal / 2**0.5),  # twice the cumulative probability minus 1
    "binary": lambda normal: 1.0 - 2.0 * (normal < 0).float(),
}


def draw_noise(generator: Generator, count: int) -> Tensor:
    """Draw noise for `count` samples from torch's random stream: `(count, noise_channels)` float32 on the CPU."""
    return _shape(generator, torch.randn(count, generator.noise_channels, device="cpu"))


def antithetic_noise(generator: Generator, count: int, num_samples: int) -> Tensor:
    """Draw `num_samples` antithetic noise vectors for each of `count` samples: z_1, ..., z_n, then -z_1, -z_2, ...

    The members of a pair are equally likely and never on the same side (Hammersley & Morton 1956, "A new Monte Carlo
    technique: antithetic variates"). With an odd number of samples, the last z has no partner.

    Returns:
        `(num_samples, count, noise_channels)` float32.
    """
    drawn = draw_noise(generator, count * -(-num_samples // 2)).unflatten(0, (-1, count))
    return torch.cat([drawn, -drawn])[:num_samples]


def seeded_noise(generator: Generator, count: int, *key: int) -> Tensor:
    """Draw noise like `draw_noise`, as a function of a key alone (integers >= 0: a seed, a sample's number)."""
    normal = np.random.default_rng(key).standard_normal((count, generator.noise_channels), dtype=np.float32)
    return _shape(generator, torch.from_numpy(normal))


def _shape(generator: Generator, normal: Tensor) -> Tensor:
    return NOISES[generator.noise](normal)
