"""Noise for generators that sample: one vector is one outcome, the same at every scale, pixel and step ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

NoiseName = Literal["gaussian", "uniform", "binary"]
# Standard normal numbers -> noise. All are symmetric about 0, so that -z is as likely as z (antithetic pairs).
NOISES: dict[NoiseName, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda normal: normal,
    "uniform": lambda normal: torch.erf(normal / 2**0.5),  # twice the cumulative probability, less 1
    "binary": lambda normal: 1.0 - 2.0 * (normal < 0).float(),
}


def noise_channels(generator: nn.Module) -> int:
    """How many numbers a draw has; 0: the generator takes no noise and has one prediction only."""
    return int(getattr(generator, "noise_channels", 0))


def draw_noise(generator: nn.Module, count: int) -> Tensor:
    """`count` independent draws from torch's random stream, `(count, noise_channels)` float32 on the CPU.

    generator: a module with `noise_channels` and, unless its noise is gaussian, `noise` (a name in `NOISES`).
    """
    return _shape(generator, torch.randn(count, noise_channels(generator), device="cpu"))


def antithetic_noise(generator: nn.Module, count: int, draws: int) -> Tensor:
    """`draws` draws for each of `count` samples, `(draws, count, noise_channels)`: z_1, ..., z_n, then -z_1, -z_2, ...

    Both members of a pair are as likely; together they are never on one side (Hammersley & Morton 1956, "A new Monte
    Carlo technique: antithetic variates"). With an odd number of draws the last z has no partner.
    """
    drawn = draw_noise(generator, count * -(-draws // 2)).unflatten(0, (-1, count))
    return torch.cat([drawn, -drawn])[:draws]


def seeded_noise(generator: nn.Module, count: int, *key: int) -> Tensor:
    """Like `draw_noise`, but a function of the key (integers >= 0: a seed, a sample's number) alone."""
    normal = np.random.default_rng(key).standard_normal((count, noise_channels(generator)), dtype=np.float32)
    return _shape(generator, torch.from_numpy(normal))


def _shape(generator: nn.Module, normal: Tensor) -> Tensor:
    return NOISES[getattr(generator, "noise", "gaussian")](normal)
