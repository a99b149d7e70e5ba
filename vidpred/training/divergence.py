"""Divergence: which network's values became non-finite first, the record of it, and the error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from vidpred.errors import DivergedError, StorageError, warn
from vidpred.files import write_file

FROM_SCORES = ("adversarial", "feature_matching", "classes")  # the generator's losses that the discriminator computes
WHAT = ("weights", "output", "loss or gradient")
SHOWN = 60  # characters of losses in the message


def first_cause(
    name: str, networks: Mapping[str, nn.Module], numbers: Mapping[str, Tensor], images: Iterable[Tensor]
) -> tuple[str, str] | None:
    """Return the network whose values became non-finite first, and which of `WHAT` that is; None if all are finite.

    Weights come before the generator's images, these before the discriminator's scores, and these before losses.

    Args:
        name: The network whose update was prevented.
        networks: All networks by name.
        numbers: Its losses and the norm of its gradient.
        images: The generator's images.
    """
    for other, module in networks.items():
        if not all(map(_is_finite, module.parameters())):
            return other, WHAT[0]
    if not all(map(_is_finite, images)):
        return "generator", WHAT[1]
    scores = [value for key, value in numbers.items() if key in FROM_SCORES]
    if name == "generator" and not all(map(_is_finite, scores)):
        return "discriminator", WHAT[1]
    losses = [value for key, value in numbers.items() if key != "gradient norm"]  # which all processes share
    return None if all(map(_is_finite, losses)) else (name, WHAT[2])


def agree_on_cause(
    cause: tuple[str, str] | None, name: str, networks: Sequence[str], accelerator: Accelerator
) -> tuple[str, str]:
    """Return the cause, (network, what), that the first process with one has found.

    Args:
        cause: What this process has found; None: nothing.
        name: Network of the update, whose loss or gradient is the cause if no process has found one.
        networks: Names of all networks, the same on all processes.
        accelerator: The processes.
    """
    number = 0 if cause is None else 1 + networks.index(cause[0]) * len(WHAT) + WHAT.index(cause[1])
    if accelerator.num_processes > 1:
        found = accelerator.gather(torch.tensor([number], device=accelerator.device)).tolist()
        number = next((other for other in found if other), 0)
    return (networks[(number - 1) // len(WHAT)], WHAT[(number - 1) % len(WHAT)]) if number else (name, WHAT[2])


def mean_of(numbers: Mapping[str, Tensor], accelerator: Accelerator) -> dict[str, float]:
    """Return the means of scalars over processes by name: what is not finite on one is not finite in the mean.

    A scalar that some processes lack, such as an accuracy without labeled samples, is averaged over the others.
    """
    values = torch.stack([value.detach().float().to(accelerator.device) for value in numbers.values()])
    own: dict[str, float] = dict(zip(numbers, values.tolist(), strict=True))
    if accelerator.num_processes == 1:
        return own
    found: list[dict[str, float]] = gather_object([own])
    having = {name: [one[name] for one in found if name in one] for name in dict.fromkeys(chain(*found))}
    return {name: sum(several) / len(several) for name, several in having.items()}


def diverged(
    cause: tuple[str, str], step: int, numbers: Mapping[str, float], positions: Sequence[int], file: Path
) -> DivergedError:
    """Write a record of a divergence, and return the error for it.

    Args:
        cause: The network, and which of `WHAT` is not finite.
        step: The step, from 1.
        numbers: Losses and the norm of the gradient.
        positions: Positions of the samples of this process.
        file: The file to write.
    """
    network, what = cause
    record = {
        "step": step,
        "network": network,
        "what": what,
        "gradient_norm": str(numbers["gradient norm"]),
        "losses": {key: str(value) for key, value in numbers.items() if key != "gradient norm"},
        "positions": list(positions),
    }
    try:
        write_file(file, json.dumps(record, indent=1), "the run ends anyway")
    except StorageError as error:
        warn(error)
    return DivergedError(
        f"{network}'s {what} {'are' if what == 'weights' else 'is'} not finite at step {step} [{_shown(numbers)}]; "
        f"lower training.{network}.learning_rate or set training.grad_clip_norm=1"
    )


def _is_finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value.detach()).all())


def _shown(values: Mapping[str, float]) -> str:
    """Return numbers as text of limited length, those that are not finite first."""
    ordered = sorted(values.items(), key=lambda item: abs(item[1]) < float("inf"))
    text = ""
    for key, value in ordered:
        more = f"{', ' if text else ''}{key}={value:.3g}"
        if len(text) + len(more) > SHOWN:
            break
        text += more
    return text
