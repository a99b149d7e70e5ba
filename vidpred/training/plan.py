"""What a run will be, before it is one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.base import Discriminator, Generator
from vidpred.models.build import count_parameters
from vidpred.models.conditions import Conditions
from vidpred.models.equalized_lr import EqualizedConv, EqualizedLinear
from vidpred.training.settings import TrainingSettings

# What keeps most of the activations.
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, EqualizedConv, EqualizedLinear)


def networks_of(generator: Generator, discriminator: Discriminator | None) -> dict[str, nn.Module]:
    """Return the networks by name; without the discriminator where there is none."""
    return {"generator": generator} | ({"discriminator": discriminator} if discriminator else {})


def describe_plan(
    generator: Generator,
    discriminator: Discriminator | None,
    training: TrainingSettings,
    data: DataSettings,
    size: tuple[int, int],
    device: torch.device,
    precision: str,
    draws: int = 1,
) -> list[str]:
    """Lines on sizes, parameters, steps and memory. The networks are on the meta device; size is (height, width), draws
    the futures drawn for each sample."""
    networks = networks_of(generator, discriminator)
    lines = [
        f"samples     {data.context_frames} frames in, {data.future_frames} out (lead {data.lead}, every "
        f"{data.frame_skip}. frame), {data.channels} channels, {size[1]}x{size[0]} pixels"
    ]
    for name, network in networks.items():
        optimizer = getattr(training, name)
        lines.append(
            f"{name:<13} {count_parameters(network):,} parameters, {optimizer.name} {optimizer.learning_rate:g}"
        )
    lines.append(f"training    {training.steps} steps of {training.batch_size} samples, {precision} on {device}")
    memory = estimate_memory(generator, discriminator, training, data, size, precision, draws)
    lines.append(f"memory      about {memory / 2**20:,.0f} MB for weights, optimizers and activations")
    return lines


def estimate_memory(
    generator: Generator,
    discriminator: Discriminator | None,
    training: TrainingSettings,
    data: DataSettings,
    size: tuple[int, int],
    precision: str,
    draws: int = 1,
) -> int:
    """Bytes: weights, gradients and optimizer state in float32, and what every layer keeps for the backward pass.

    Activations are counted by running the networks on the meta device, which computes shapes only.
    """
    bytes_each = 2 if precision == "bfloat16" else 4
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
    context = torch.empty(draws * training.batch_size, data.context_frames, data.channels, *size, device="meta")
    known = data.history_len + data.pred_frames - 1
    conditions = Conditions(
        actions=torch.empty(len(context), known, generator.action_size, device="meta"),
        states=torch.empty(*context.shape[:2], generator.state_size, device="meta"),
    )
    images = generator(context, **conditions.generator_kwargs(generator, 0, known))
    if discriminator is not None:
        for _ in range(3):  # true and predicted frames in its own phase, predicted ones in the generator's
            discriminator(context, images)
    for handle in handles:
        handle.remove()
    return weights + counted * bytes_each
