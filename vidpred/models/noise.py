"""Noise for generators that sample: one vector is one outcome, the same at every scale, pixel and step ahead."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vidpred.models.base import Generator, NoiseName

# Standard normal numbers -> noise. All are symmetric about 0, so that -z is as likely as z (antithetic pairs).
NOISES: dict[NoiseName, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda normal: normal,
    "uniform": lambda normal: torch.erf(normal / 2**0.5),  # twice the cumulative probability, less 1
    "binary": lambda normal: 1.0 - 2.0 * (normal < 0).float(),
}


def draw_noise(generator: Generator, count: int) -> Tensor:
    """Draw noise for `count` samples from torch's random stream: `(count, noise_channels)` float32 on the CPU."""
    return _shape(generator, torch.randn(count, generator.noise_channels, device="cpu"))


def antithetic_noise(generator: Generator, count: int, draws: int) -> Tensor:
    """`draws` draws for each of `count` samples, `(draws, count, noise_channels)`: z_1, ..., z_n, then -z_1, -z_2, ...

    Both members of a pair are as likely; together they are never on one side (Hammersley & Morton 1956, "A new Monte
    Carlo technique: antithetic variates"). With an odd number of draws the last z has no partner.
    """
    drawn = draw_noise(generator, count * -(-draws // 2)).unflatten(0, (-1, count))
    return torch.cat([drawn, -drawn])[:draws]


def seeded_noise(generator: Generator, count: int, *key: int) -> Tensor:
    """Like `draw_noise`, but a function of the key (integers >= 0: a seed, a sample's number) alone."""
    normal = np.random.default_rng(key).standard_normal((count, generator.noise_channels), dtype=np.float32)
    return _shape(generator, torch.from_numpy(normal))


def _shape(generator: Generator, normal: Tensor) -> Tensor:
    return NOISES[generator.noise](normal)
