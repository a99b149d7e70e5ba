"""Changes that keep a clip a possible clip, the same for all of its frames."""

from __future__ import annotations

import numpy as np

from vidpred.data.settings import DataSettings


def augment(frames: np.ndarray, settings: DataSettings, random: np.random.Generator) -> np.ndarray:
    """`(n, H, W, C)` uint8 -> the same kind: mirrored, turned, played backwards, in other colours, as the settings say.

    Each is tossed for by itself and drawn from `random` only where it is asked for. Transposed frames swap H and W.
    """
    if settings.flip and random.random() < 0.5:
        frames = frames[:, :, ::-1]
    if settings.flip_vertical and random.random() < 0.5:
        frames = frames[:, ::-1]
    if settings.transpose and random.random() < 0.5:
        frames = frames.transpose(0, 2, 1, 3)
    if settings.reverse and random.random() < 0.5:
        frames = frames[::-1]
    if settings.colour:
        frames = recolour(frames, settings.colour, random)
    return frames


def recolour(frames: np.ndarray, strength: float, random: np.random.Generator) -> np.ndarray:
    """Every channel v in [0, 1] becomes gain_c * v ^ gamma, the gains and the gamma within exp(-strength) and
    exp(strength), evenly in their logarithms."""
    gains = np.exp(random.uniform(-strength, strength, frames.shape[-1]))
    gamma = np.exp(random.uniform(-strength, strength))
    values = np.linspace(0, 1, 256)[:, None] ** gamma * gains  # (256, C)
    table = np.round(values.clip(0, 1) * 255).astype(np.uint8)
    return table[frames, np.arange(frames.shape[-1])]
