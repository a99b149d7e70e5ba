"""Counter-based random numbers: a function of (seed, position, draw), computed for many positions at once.

The numbers do not depend on earlier draws, on the process, or on the order of drawing.
"""

from __future__ import annotations

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(values: np.ndarray) -> np.ndarray:
    """Apply SplitMix64's output function (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").

    Args:
        values: uint64 of any shape.
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def uniform(seed: int, positions: np.ndarray, draws: int) -> np.ndarray:
    """Draw uniform numbers from an independent stream per position.

    Each stream is SplitMix64 started from a hash of (seed, position).

    Args:
        seed: Seed of all streams.
        positions: Integers >= 0.
        draws: Numbers per position.

    Returns:
        `(len(positions), draws)` float64 in [0, 1).
    """
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is intended
        key = mix(np.array([seed], np.uint64) * GOLDEN + GOLDEN)
        starts = mix((positions.astype(np.uint64) + np.uint64(1)) * GOLDEN ^ key)
        steps = np.arange(1, draws + 1, dtype=np.uint64) * GOLDEN
        words = mix(starts[:, None] + steps[None])
    return (words >> np.uint64(11)) * 2.0**-53
