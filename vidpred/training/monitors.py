"""Cheap measurements of a training step that tell a sick run from a healthy one. They change nothing: no weight, no
gradient, no random number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from vidpred.data.batch import Batch
from vidpred.models.base import Generator
from vidpred.models.conditions import Conditions
from vidpred.models.noise import seeded_noise
from vidpred.models.rollout import unroll
from vidpred.training.adversarial_losses import Losses
from vidpred.training.objectives import Step

MOVED = 1 / 32  # by how much of the range a pixel of the truth changes where it counts as moving
TINY = 1e-12
DRAWN = 4  # clips of which two futures are drawn
LOWEST, HIGHEST = ("input_min", "prediction_min"), ("input_max", "prediction_max")  # over processes; others: the mean


def is_due(number: int, every: int, steps: int, generator_every: int) -> bool:
    """Whether step `number` (from 0) of `steps` is measured: the generator's first, its last, and its first one at or
    after every multiple of `every`. generator_every: it learns in every so-manieth step. every = 0: never."""
    done = number + 1
    if not every or done % generator_every:
        return False
    before = done - generator_every
    return before <= 0 or done + generator_every > steps or done // every > before // every


def measure(step: Step, losses: Losses, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """What `summarise` needs of one step on one process, as float32 scalars.

    losses: the generator's, with their graph, which is kept. parameters: the generator's.
    """
    found = {f"gradient_{name}": gradient_norm(loss, parameters) for name, loss in losses.weighted().items()}
    with torch.no_grad():
        # Of several draws a sample, the first: they lie one after the other.
        first_draws = [images[: len(step.batch.context)] for images in step.predictions]
        found |= measure_images(step.batch.context, step.batch.future, first_draws)
    return {name: value.detach().float() for name, value in found.items()}


def gradient_norm(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """The Euclidean norm of a loss's gradient; 0 where none arrives. Leaves `.grad` as it is and keeps the graph."""
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    if not loss.requires_grad or not learning:
        return loss.new_zeros(())
    gradients = torch.autograd.grad(loss, learning, retain_graph=True, allow_unused=True)
    arrived = [gradient for gradient in gradients if gradient is not None]
    return torch.nn.utils.get_total_norm(arrived) if arrived else loss.new_zeros(())


def measure_images(context: Tensor, truth: Tensor, predictions: Sequence[Tensor]) -> dict[str, Tensor]:
    """Ranges, spread, motion and edges. context `(B, T, C, H, W)`, truth `(B, K, C, H, W)`; predictions of every scale,
    coarse to fine, of which the finest is compared with the truth."""
    context, truth, prediction = context.float(), truth.float(), predictions[-1].float()
    last = context[:, -1:] if context.shape[1] else None
    inputs = torch.cat([context.flatten(), truth.flatten()])
    broken = [(~image.isfinite()).sum() for image in (inputs, *predictions)]
    motion = {} if last is None else {
        "motion_prediction": (prediction - last).abs().mean(), "motion_truth": (truth - last).abs().mean()
    }  # fmt: skip
    # Without known frames nothing moves: edges are looked at everywhere.
    moving = torch.ones_like(truth[:, :, :1]) if last is None else (truth - last).abs().amax(2, keepdim=True) > MOVED
    later = {} if last is None or truth.shape[1] == 1 else {
        "last_energy_prediction": gradient_energy(prediction[:, -1:], moving[:, -1:].float()),
        "last_energy_truth": gradient_energy(truth[:, -1:], moving[:, -1:].float()),
    }  # fmt: skip
    return {
        "non_finite": torch.stack(broken).sum(),
        "input_min": inputs.min(),
        "input_max": inputs.max(),
        "input_variance": inputs.var(correction=0),
        "input_extremes": ((inputs == 0) | (inputs == 1)).float().mean(),
        "prediction_min": prediction.min(),
        "prediction_max": prediction.max(),
        "spread_prediction": spread(prediction),
        "spread_truth": spread(truth),
        **motion,
        "energy_prediction": gradient_energy(prediction, moving.float()),
        "energy_truth": gradient_energy(truth, moving.float()),
        **later,
    }


def measure_samples(generator: Generator, batch: Batch, times: int) -> dict[str, Tensor]:
    """How far two opposite draws of a clip's future lie apart, and how far they are from the truth: mean squared
    distances. Nothing for a generator without noise.

    The draws are the same in every measurement. times: how often the generator is applied (`data.unroll`).
    """
    if not generator.noise_channels:
        return {}
    context, truth = batch.context[:DRAWN], batch.future[:DRAWN].float()
    conditions = Conditions.from_batch(batch, DRAWN)
    noise = seeded_noise(generator, len(context), 0).to(context)
    learning = generator.training
    generator.eval()
    try:
        with torch.no_grad():
            one, other = (
                unroll(generator, generator, context, replace(conditions, noise=draw), times)[-1].float()
                for draw in (noise, -noise)
            )
    finally:
        generator.train(learning)
    errors = [(draw - truth).square().mean() for draw in (one, other)]
    return {"draws_apart": (one - other).square().mean(), "draws_error": torch.stack(errors).mean()}


def spread(images: Tensor) -> Tensor:
    """The mean squared distance of two different samples of a batch `(B, ...)`, a mean over their values: twice the
    unbiased variance. 0 for a batch of one."""
    return 2 * images.var(0).mean() if len(images) > 1 else images.new_zeros(())


def gradient_energy(images: Tensor, weights: Tensor) -> Tensor:
    """The sum of squared differences of neighbouring pixels of `(B, K, C, H, W)`, one of which at least lies where
    `weights` `(B, K, 1, H, W)` is 1. Squared, because two half-bright ghosts have the absolute differences of one whole
    ball."""
    total = images.new_zeros(())
    for axis in (-1, -2):
        size = images.shape[axis]
        either = torch.maximum(weights.narrow(axis, 1, size - 1), weights.narrow(axis, 0, size - 1))
        total = total + (images.diff(dim=axis).square() * either).sum()
    return total


def summarise(names: Sequence[str], values: Tensor) -> dict[str, float]:
    """The log's `monitor/...` numbers from what all processes measured, `(processes, len(names))`.

    gradient_TERM: norm of a weighted loss term's gradient at the generator (the mean over processes). diversity: the
    root mean squared distance between the predictions of a batch, as a share of that between the true frames. motion:
    mean |prediction - last known frame| as a share of the truth's. sharpness: squared-gradient energy where the truth
    moves, as a share of the truth's; sharpness_last: that of the last predicted frame alone. input_min, _max, _std,
    _extremes (share of values that are exactly 0 or 1), prediction_min, _max: in the range that training sees, which
    should be [0, 1]. non_finite: how many values. draws: the root mean squared distance between two draws of one
    future, as a share of that between a draw and the truth.
    Numbers that are not finite and shares of nothing are left out.
    """
    found = {
        name: column.min() if name in LOWEST else column.max() if name in HIGHEST else column.mean()
        for name, column in zip(names, values.unbind(1), strict=True)
    }
    plain = {name: float(value) for name, value in found.items()}
    plain["input_std"] = plain.pop("input_variance") ** 0.5
    plain["non_finite"] *= len(values)
    parts = {"diversity": "spread", "motion": "motion", "sharpness": "energy", "sharpness_last": "last_energy"}
    for name, part in parts.items():
        prediction, truth = plain.pop(f"{part}_prediction", 0.0), plain.pop(f"{part}_truth", 0.0)
        if truth > TINY:
            plain[name] = (prediction / truth) ** (0.5 if name == "diversity" else 1)
    apart, error = plain.pop("draws_apart", 0.0), plain.pop("draws_error", 0.0)
    if error > TINY:
        plain["draws"] = (apart / error) ** 0.5
    return {f"monitor/{name}": value for name, value in plain.items() if _finite(value)}


def _finite(value: float | complex) -> bool:
    return isinstance(value, float) and abs(value) != float("inf") and value == value


def as_table(measured: Mapping[str, Tensor]) -> tuple[list[str], Tensor]:
    """Names and one row of values, to be gathered over processes."""
    return list(measured), torch.stack(list(measured.values()))[None]
