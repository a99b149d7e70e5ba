"""Optimizers by name, and the schedule of their learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vidpred.models.eager_optimizers import eager
from vidpred.training.settings import OptimizerSettings, ScheduleSettings, TrainingSettings

RATE_JUMP = 0.02  # change of a learning rate's factor that is reported


def build_optimizer(settings: OptimizerSettings, module: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer of one network, fused so that a step is one pass over the weights."""
    parameters = list(module.parameters())
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.name == "sgd":
        return eager(torch.optim.SGD)(parameters, rate, momentum=settings.momentum, weight_decay=decay, fused=True)
    if settings.name == "rmsprop":  # has no fused form
        return eager(torch.optim.RMSprop)(parameters, rate, momentum=settings.momentum, weight_decay=decay)
    kind: type[torch.optim.Adam] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.name]
    return eager(kind)(parameters, rate, betas=settings.betas, weight_decay=decay, fused=True)


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


class Schedule:
    """The learning rates and the growth of a run by step, without jumps where the run was extended.

    A schedule spans all steps, so more steps (`training.steps`) would raise rates that had begun to fall, and shrink
    networks that had grown. In an extended run, a factor therefore never exceeds the last one before the extension, and
    the growth never falls below it.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self.steps = settings.steps
        self.shapes = {
            "generator": settings.schedule,
            "discriminator": settings.discriminator_schedule or settings.schedule,
        }
        self.limits = dict.fromkeys(self.shapes, 1.0)  # of the factors
        self.reached = 0.0  # share of the growth

    def factor(self, network: str, step: int) -> float:
        """Return the factor of a network's learning rate in step number `step` (from 0)."""
        return min(schedule_factor(self.shapes[network], step, self.steps), self.limits[network])

    def growth(self, step: int) -> float:
        """Return the share of the training, in [0, 1], that a growing network is at in step number `step` (from 0)."""
        return max(step / self.steps, self.reached)

    def state(self) -> dict[str, Any]:
        """Return the planned steps, the bounds of the factors and the growth, for a checkpoint."""
        return {"steps": self.steps, "limits": self.limits, "growth": self.reached}

    def load_state(self, state: Mapping[str, Any], done: int) -> str:
        """Continue the schedule of a checkpoint.

        Args:
            state: What the checkpoint stored; a checkpoint of an earlier version stored nothing, or its steps only.
            done: Its number of steps done.

        Returns:
            What another number of steps does to the generator's rate, as a phrase; "" if nothing.
        """
        before, now = state.get("steps", self.steps), self.steps
        stored = state.get("limits", {})
        self.limits = {network: stored.get(network, limit) for network, limit in self.limits.items()}
        self.reached = state.get("growth", 0.0)
        self.steps = before
        old = {network: self.factor(network, done - 1) for network in self.shapes}
        grown = self.growth(done)
        self.steps = now
        if now > before:
            self.reached = grown
            for network, shape in self.shapes.items():
                if done >= shape.warmup_steps:
                    self.limits[network] = old[network]
        new = self.factor("generator", done)
        if now > before and new == old["generator"] < 1:
            return f"the factor of the learning rate stays at {new:.2g} until the schedule of {now} steps is below it"
        if now < before and abs(new - old["generator"]) > RATE_JUMP:
            return f"the factor of the learning rate goes from {old['generator']:.2g} to {new:.2g}"
        return ""
