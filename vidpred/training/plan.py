"""What a run will be, before it is one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidpred.data.settings import DataSettings
from vidpred.models.build import count_parameters
from vidpred.models.conditions import Conditions, action_size, state_size
from vidpred.models.equalised import EqualisedConv, EqualisedLinear
from vidpred.training.settings import TrainingSettings

# What keeps most of the activations.
LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, EqualisedConv, EqualisedLinear)


def describe_plan(
    generator: nn.Module,
    discriminator: nn.Module | None,
    training: TrainingSettings,
    data: DataSettings,
    size: tuple[int, int],
    device: torch.device,
    precision: str,
    draws: int = 1,
) -> list[str]:
    """Lines on sizes, parameters, steps and memory. The networks are on the meta device; size is (height, width), draws
    the futures drawn for each sample."""
    networks = {"generator": generator, **({"discriminator": discriminator} if discriminator else {})}
    lines = [
        f"samples     {data.context_frames} frames in, {data.future_frames} out (lead {data.step}, every "
        f"{data.frame_skip}. frame), {data.channels} channels, {size[1]}x{size[0]} pixels"
    ]
    for name, network in networks.items():
        optimizer = getattr(training, name)
        lines.append(
            f"{name:<13} {count_parameters(network):,} parameters, {optimizer.name} {optimizer.learning_rate:g}"
        )
    lines.append(f"training    {training.steps} steps of {training.batch_size} samples, {precision} on {device}")
    memory = estimate_memory(networks, training, data, size, precision, draws)
    lines.append(f"memory      about {memory / 2**20:,.0f} MB for weights, optimizers and activations")
    return lines


def estimate_memory(
    networks: dict[str, nn.Module],
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
    weights = 0
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
    known = data.history_frames + data.pred_frames - 1
    conditions = Conditions(
        actions=torch.empty(len(context), known, action_size(networks["generator"]), device="meta"),
        states=torch.empty(*context.shape[:2], state_size(networks["generator"]), device="meta"),
    )
    pictures = networks["generator"](context, **conditions.arguments(networks["generator"], 0, known))
    if "discriminator" in networks:
        for _ in range(3):  # true and predicted frames in its own phase, predicted ones in the generator's
            networks["discriminator"](context, pictures)
    for handle in handles:
        handle.remove()
    return weights + counted * bytes_each
