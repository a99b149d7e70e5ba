"""A summary of a run before it starts: sizes, parameters and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.errors import counted
from vidpred.models.base import Discriminator, Generator
from vidpred.models.build import count_parameters
from vidpred.models.conditions import Conditions
from vidpred.models.equalized_lr import EqualizedConv, EqualizedLinear
from vidpred.processes.memory import free_memory_bytes
from vidpred.training.settings import TrainingSettings

# The layers that keep most of the activations.
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, EqualizedConv, EqualizedLinear)


def networks_of(generator: Generator, discriminator: Discriminator | None) -> dict[str, nn.Module]:
    """Return the networks under the names "generator" and, if there is one, "discriminator"."""
    return {"generator": generator} | ({"discriminator": discriminator} if discriminator else {})


def describe_plan(
    generator: Generator,
    discriminator: Discriminator | None,
    training: TrainingSettings,
    data: DataSettings,
    size: tuple[int, int],
    device: torch.device,
    precision: str,
    num_samples: int = 1,
) -> list[str]:
    """Return lines on sizes, parameters, steps and memory.

    Args:
        generator: The generator, on the meta device.
        discriminator: The discriminator, on the meta device; None: none.
        training: Settings of the training.
        data: Settings of the data.
        size: (height, width) of the frames.
        device: Device of the run.
        precision: "float32", "bfloat16" or "float16".
        num_samples: Number of futures drawn per clip.
    """
    networks = networks_of(generator, discriminator)
    frames = (
        f"{data.context_frames} frames in, {data.future_frames} out (lead {data.lead}, frame_skip {data.frame_skip}), "
    )
    lines = [
        "samples     points of two coordinates"
        if data.has_points
        else f"samples     {frames if data.context_frames else 'images of '}{counted(data.channels, 'channel')}, "
        f"{size[1]}x{size[0]} pixels"
    ]
    for name, network in networks.items():
        optimizer = getattr(training, name)
        lines.append(
            f"{name:<13} {count_parameters(network):,} parameters, {optimizer.name} {optimizer.learning_rate:g}"
        )
    batches = training.gradient_accumulation_steps
    samples = f"{batches} x {training.batch_size}" if batches > 1 else f"{training.batch_size}"
    lines.append(f"training    {training.steps} steps of {samples} samples, {precision} on {device}")
    memory = estimate_memory(generator, discriminator, training, data, size, precision, num_samples)
    lines.append(f"memory      about {memory / 2**20:,.0f} MB for weights, optimizers and activations")
    return lines


def estimate_memory(
    generator: Generator,
    discriminator: Discriminator | None,
    training: TrainingSettings,
    data: DataSettings,
    size: tuple[int, int],
    precision: str,
    num_samples: int = 1,
) -> int:
    """Return the bytes of weights, gradients and optimizer state in float32, and of the activations.

    Activations are counted by running the networks on the meta device, which computes shapes only; for the arguments
    see `describe_plan`.
    """
    bytes_each = 4 if precision == "float32" else 2
    weights, networks = 0, networks_of(generator, discriminator)
    for name, network in networks.items():
        momentum = int(getattr(training, name).momentum > 0)
        copies = {"sgd": 2 + momentum, "rmsprop": 3 + momentum, "adam": 4, "adamw": 4}[getattr(training, name).name]
        weights += count_parameters(network) * 4 * (copies + (name == "generator"))  # the generator is averaged, too
    counted = 0

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        nonlocal counted
        counted += output.numel()

    layers = [m for network in networks.values() for m in network.modules() if isinstance(m, LAYERS)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    context = torch.empty(num_samples * training.batch_size, data.context_frames, data.channels, *size, device="meta")
    num_actions = data.history_len + data.pred_frames - 1
    conditions = Conditions(
        actions=torch.empty(len(context), num_actions, generator.action_size, device="meta"),
        states=torch.empty(*context.shape[:2], generator.state_size, device="meta"),
    )
    images = generator(context, **conditions.generator_kwargs(generator, 0, num_actions))
    if discriminator is not None:
        for _ in range(3):  # true and predicted frames in its own phase, predicted ones in the generator's
            discriminator(context, images)
    for handle in handles:
        handle.remove()
    return weights + counted * bytes_each


def describe_times(
    steps: Sequence[float], saving: tuple[float, float], training: TrainingSettings, done: int, every: int, cycle: int
) -> list[str]:
    """Return lines on the measured speed and the estimated total.

    Args:
        steps: Seconds of consecutive steps, the first of which also set up the device.
        saving: Seconds of a validation and of a checkpoint.
        training: Settings of the training.
        done: Number of steps done already.
        every: Steps between checkpoints.
        cycle: Steps after which the kinds of steps repeat.
    """
    measured = steps[1:] or steps
    measured = measured[: len(measured) // cycle * cycle] or measured  # whole cycles
    step, (validation, checkpoint) = fmean(measured), saving
    left = training.steps - done
    validations = -(-left // training.validate_every) if training.validate_every else 0
    total = left * step + validations * validation + -(-left // every) * checkpoint
    samples = training.batch_size * training.gradient_accumulation_steps / step
    extra = f", {validation:.2g} s a validation" if validation else ""
    rest = f" ({left:,} of {training.steps:,} steps are left)" if done else ""
    return [
        f"speed       {step:.2g} s a step ({samples:.3g} samples/s, {counted(len(measured), 'step')} measured on this "
        f"machine){extra}, {checkpoint:.2g} s a checkpoint",
        f"duration    about {duration(total)}{rest}",
    ]


def duration(seconds: float) -> str:
    """Return a time in two units: "40 s", "5 min", "3 h 20 min", "2 d 5 h"."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def free_memory(device: torch.device) -> int | None:
    """Return the free bytes of a device's memory; None if unknown."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory_bytes()
