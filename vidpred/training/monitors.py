"""Cheap measurements of a training step for its diagnosis, which change no weight, gradient or random number."""

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

MOVED = 1 / 32  # change of a true pixel's value, in [0, 1], above which it counts as moving
TINY = 1e-12
COMPARED = 64  # images of a batch that are compared with each other
DRAWN = 4  # clips for which two futures are drawn
LOWEST, HIGHEST = ("input_min", "prediction_min"), ("input_max", "prediction_max")  # over processes; others: the mean


def is_due(number: int, every: int, steps: int, generator_every: int) -> bool:
    """Return whether a step is measured: the generator's first, its last, and the first after each multiple of `every`.

    Args:
        number: The step, from 0.
        every: Steps between measurements; 0: never.
        steps: Number of steps of the run.
        generator_every: The generator is updated every n-th step.
    """
    done = number + 1
    if not every or done % generator_every:
        return False
    before = done - generator_every
    return before <= 0 or done + generator_every > steps or done // every > before // every


def measure(step: Step, losses: Losses, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """Measure one step on one process, as float32 scalars for `summarize`.

    Args:
        step: The step.
        losses: The generator's losses, with their graph, which is kept.
        parameters: The generator's parameters.
    """
    gradients = {name: gradients_of(loss, parameters, step.loss_scale) for name, loss in losses.weighted().items()}
    found = {f"gradient_{name}": norm_of(of_loss) for name, of_loss in gradients.items()}
    found["dead_units"] = dead_units(list(gradients.values()))
    with torch.no_grad():
        first_samples = [images[: len(step.batch.context)] for images in step.predictions]
        found |= measure_images(step.batch.context, step.batch.future, first_samples)
    device = step.batch.context.device
    return {name: value.detach().float().to(device) for name, value in found.items()}


def gradients_of(loss: Tensor, parameters: Sequence[nn.Parameter], scale: float = 1.0) -> list[Tensor | None]:
    """Return a loss's gradient at each parameter that is trained, in order; None where there is none.

    `.grad` does not change and the graph is kept. They are computed times `scale`, as float16 needs it.
    """
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    if not loss.requires_grad or not learning:
        return [None] * len(learning)
    found = torch.autograd.grad(loss * scale, learning, retain_graph=True, allow_unused=True)
    return [None if gradient is None else gradient / scale for gradient in found]


def norm_of(gradients: Sequence[Tensor | None]) -> Tensor:
    """Return the Euclidean norm of all gradients together, a scalar; None counts as 0."""
    arrived = [gradient for gradient in gradients if gradient is not None]
    return torch.nn.utils.get_total_norm(arrived) if arrived else torch.zeros(())


def dead_units(gradients: Sequence[Sequence[Tensor | None]]) -> Tensor:
    """Return the largest share, over the layers, of units whose weights receive no gradient from any loss.

    Args:
        gradients: For each loss, the gradients at all parameters. The first dimension of a weight counts its units.
    """
    shares = []
    for of_layer in zip(*gradients, strict=True):
        arrived = [gradient for gradient in of_layer if gradient is not None and gradient.dim() > 1]
        if arrived:
            used = torch.stack([(gradient.flatten(1) != 0).any(1) for gradient in arrived]).any(0)
            shares.append(1 - used.float().mean())
    return torch.stack(shares).max() if shares else torch.zeros(())


def measure_images(context: Tensor, future: Tensor, predictions: Sequence[Tensor]) -> dict[str, Tensor]:
    """Measure ranges, spread, motion and edges.

    Args:
        context: `(B, T, C, H, W)`; T may be 0.
        future: The true future frames, `(B, K, C, H, W)`.
        predictions: The predictions of every scale, coarse to fine; the finest is compared with the true frames.
    """
    context, future, prediction = context.float(), future.float(), predictions[-1].float()
    last = context[:, -1:] if context.shape[1] else None
    inputs = torch.cat([context.flatten(), future.flatten()])
    broken = [(~image.isfinite()).sum() for image in (inputs, *predictions)]
    motion = {} if last is None else {
        "motion_prediction": (prediction - last).abs().mean(), "motion_truth": (future - last).abs().mean()
    }  # fmt: skip
    # Without context frames nothing moves: edges are measured everywhere.
    moving = torch.ones_like(future[:, :, :1]) if last is None else (future - last).abs().amax(2, keepdim=True) > MOVED
    apart = {} if last is not None else {"near_prediction": nearest(prediction), "near_truth": nearest(future)}
    later = {} if last is None or future.shape[1] == 1 else {
        "last_energy_prediction": gradient_energy(prediction[:, -1:], moving[:, -1:].float()),
        "last_energy_truth": gradient_energy(future[:, -1:], moving[:, -1:].float()),
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
        "spread_truth": spread(future),
        **motion,
        "energy_prediction": gradient_energy(prediction, moving.float()),
        "energy_truth": gradient_energy(future, moving.float()),
        **later,
        **apart,
    }


def measure_samples(generator: Generator, batch: Batch, times: int) -> dict[str, Tensor]:
    """Return mean squared distances between two samples with opposite noise, and from the true frames.

    The noise is the same in every measurement.

    Args:
        generator: The generator; one that trains without noise yields no numbers.
        batch: The batch, of which the first clips are used.
        times: How often the generator is applied (`data.unroll`).
    """
    if not generator.noise_channels or generator.noise_optional:
        return {}
    context, future = batch.context[:DRAWN], batch.future[:DRAWN].float()
    conditions = Conditions.from_batch(batch, DRAWN)
    noise = seeded_noise(generator, len(context), 0).to(context)
    learning = generator.training
    generator.eval()
    try:
        with torch.no_grad():
            one, other = (
                unroll(generator, generator, context, replace(conditions, noise=sample), times)[-1].float()
                for sample in (noise, -noise)
            )
    finally:
        generator.train(learning)
    errors = [(sample - future).square().mean() for sample in (one, other)]
    return {"draws_apart": (one - other).square().mean(), "draws_error": torch.stack(errors).mean()}


def spread(images: Tensor) -> Tensor:
    """Return the mean squared distance per value between two items of a batch `(B, ...)`; 0 for a batch of one.

    It is twice the unbiased variance.
    """
    return 2 * images.var(0).mean() if len(images) > 1 else images.new_zeros(())


def nearest(images: Tensor) -> Tensor:
    """Return the mean squared distance per value of an item of a batch `(B, ...)` from the nearest other item.

    Only the first `COMPARED` items are used. It is small for a generator of few modes, whose mean distance is not.
    """
    flat = images[:COMPARED].flatten(1)
    if len(flat) < 2:
        return images.new_zeros(())
    distances = torch.cdist(flat, flat).square() / flat.shape[1]
    return distances.fill_diagonal_(float("inf")).amin(1).mean()


def gradient_energy(images: Tensor, weights: Tensor) -> Tensor:
    """Sum the squared differences of neighboring pixels.

    They are squared because two half-bright ghosts have the absolute differences of one whole ball.

    Args:
        images: `(B, K, C, H, W)`.
        weights: `(B, K, 1, H, W)`, 0 or 1; a difference counts if either pixel has weight 1.
    """
    total = images.new_zeros(())
    for axis in (-1, -2):
        size = images.shape[axis]
        either = torch.maximum(weights.narrow(axis, 1, size - 1), weights.narrow(axis, 0, size - 1))
        total = total + (images.diff(dim=axis).square() * either).sum()
    return total


def summarize(names: Sequence[str], values: Tensor) -> dict[str, float]:
    """Compute the `monitor/...` numbers of the log from the measurements of all processes.

    Args:
        names: Names of the measurements.
        values: `(processes, len(names))`.

    Returns:
        The numbers by key, without those that are not finite or have a denominator of 0:

        gradient_TERM: norm of a weighted loss term's gradient at the generator, a mean over processes.
        dead_units: largest share, over the generator's layers, of units whose weights receive no gradient.
        diversity: root mean squared distance between the predictions of a batch, relative to the true frames.
        nearest: for images from noise, root mean squared distance to the nearest other sample, relative to true images.
        motion: mean |prediction - last context frame|, relative to the true frames.
        energy, energy_last: squared-gradient energy in moving regions, relative to the true frames; of all
        predicted frames and of the last one.
        input_min, _max, _std, _extremes (share of values that are exactly 0 or 1), prediction_min, _max: ranges in
        training, which should be within [0, 1].
        non_finite: number of values that are not finite.
        draws: root mean squared distance between two samples of one future, relative to their distance from the true
        frames.
    """
    found = {
        name: column.min() if name in LOWEST else column.max() if name in HIGHEST else column.mean()
        for name, column in zip(names, values.unbind(1), strict=True)
    }
    plain = {name: float(value) for name, value in found.items()}
    plain["input_std"] = plain.pop("input_variance") ** 0.5
    plain["non_finite"] *= len(values)
    parts = {"diversity": "spread", "motion": "motion", "energy": "energy", "energy_last": "last_energy",
             "nearest": "near"}  # fmt: skip
    for name, part in parts.items():
        prediction, future = plain.pop(f"{part}_prediction", 0.0), plain.pop(f"{part}_truth", 0.0)
        if future > TINY:
            plain[name] = (prediction / future) ** (0.5 if name in ("diversity", "nearest") else 1)
    apart, error = plain.pop("draws_apart", 0.0), plain.pop("draws_error", 0.0)
    if error > TINY:
        plain["draws"] = (apart / error) ** 0.5
    return {f"monitor/{name}": value for name, value in plain.items() if _finite(value)}


def _finite(value: float | complex) -> bool:
    return isinstance(value, float) and abs(value) != float("inf") and value == value


def as_table(measured: Mapping[str, Tensor]) -> tuple[list[str], Tensor]:
    """Return the names and a row `(1, n)` of values, to be gathered over processes."""
    return list(measured), torch.stack(list(measured.values()))[None]
