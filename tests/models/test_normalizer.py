"""Units of actions and states."""

from __future__ import annotations

import numpy as np
import torch

from vidpred.data.prepared.format import value_statistics
from vidpred.models.normalizer import Normalizer


def test_values_are_told_in_deviations_and_those_that_never_change_in_their_own_unit() -> None:
    rows = np.stack([np.arange(100.0), np.full(100, 0.1), np.full(100, 1e4)], 1).astype(np.float32)
    known = value_statistics([rows])
    scale = Normalizer(3)
    for deviations in (known["deviation"], [known["deviation"][0], 0.0, 1e-12]):  # nothing, and what rounding leaves
        scale.fit(known["mean"], deviations)
        scaled = scale(torch.from_numpy(rows))
        torch.testing.assert_close(scaled[:, 0].std(correction=0), torch.ones(()))
        torch.testing.assert_close(scaled[:, 1:], torch.zeros(100, 2), atol=1e-6, rtol=0)
        torch.testing.assert_close(scale(torch.tensor([0.0, 0.6, 1e4])), torch.tensor([scaled[0, 0], 0.5, 0.0]))
        torch.testing.assert_close(scale.undo(scaled), torch.from_numpy(rows))
