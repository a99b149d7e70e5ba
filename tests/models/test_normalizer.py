"""Normalization of actions and states."""

from __future__ import annotations

import numpy as np
import torch

from vidpred.data.prepared.format import value_statistics
from vidpred.models.normalizer import Normalizer


def test_values_are_in_standard_deviations_and_constant_ones_keep_their_unit() -> None:
    rows = np.stack([np.arange(100.0), np.full(100, 0.1), np.full(100, 1e4)], 1).astype(np.float32)
    statistics = value_statistics([rows])
    scale = Normalizer(3)
    for stds in (statistics["deviation"], [statistics["deviation"][0], 0.0, 1e-12]):  # 0, and a rounding error
        scale.fit(statistics["mean"], stds)
        scaled = scale(torch.from_numpy(rows))
        torch.testing.assert_close(scaled[:, 0].std(correction=0), torch.ones(()))
        torch.testing.assert_close(scaled[:, 1:], torch.zeros(100, 2), atol=1e-6, rtol=0)
        torch.testing.assert_close(scale(torch.tensor([0.0, 0.6, 1e4])), torch.tensor([scaled[0, 0], 0.5, 0.0]))
        torch.testing.assert_close(scale.undo(scaled), torch.from_numpy(rows))
