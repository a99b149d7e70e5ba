"""Optimizers by name, and the schedule of their learning rates."""

from __future__ import annotations

import math

import torch
from torch import nn

from vidpred.training.settings import OptimizerSettings, ScheduleSettings


def build_optimizer(settings: OptimizerSettings, module: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer of one network, fused so that a step is one pass over the weights."""
    parameters = list(module.parameters())
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=settings.momentum, weight_decay=decay, fused=True)
    if settings.name == "rmsprop":  # has no fused form
        return torch.optim.RMSprop(parameters, rate, momentum=settings.momentum, weight_decay=decay)
    kind: type[torch.optim.Adam] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.name]
    return kind(parameters, rate, betas=settings.betas, weight_decay=decay, fused=True)


def schedule_factor(settings: ScheduleSettings, step: int, steps: int) -> float:
    """Return the factor of the learning rate in step number `step` (from 0) of `steps`."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.shape == "constant" or step < (start := settings.hold * steps):
        return 1.0
    done = (step - start) / max(1.0, steps - start)
    if settings.shape == "cosine":
        done = (1 - math.cos(done * math.pi)) / 2
    return 1 + (settings.final - 1) * done
