"""A small motion-aware generator."""

from __future__ import annotations

import torch

from vidpred.models.motion import MotionGenerator, MotionSettings

SMALL = {"gate_width": 8, "widths": (8, 8, 8), "head_width": 8}


def generator(
    context_frames: int = 3, pred_frames: int = 2, lead: int = 1, channels: int = 3, **settings: float
) -> MotionGenerator:
    torch.manual_seed(0)
    return MotionGenerator(MotionSettings(**SMALL, **settings), context_frames, pred_frames, lead, channels)


def shaken(model: MotionGenerator) -> MotionGenerator:
    """Give the output layers nonzero weights, as after training."""
    for layer in (model.gate[-1], model.detail[-1], *([model.refinement.last] if model.refinement else [])):
        torch.nn.init.normal_(layer.weight, std=0.3)
    return model
