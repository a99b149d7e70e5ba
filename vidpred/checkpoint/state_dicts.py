"""Weights and optimizer states: checked, then restored."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vidpred.errors import StorageError


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy all weights into a module, whose names must match; for arguments and errors see `check_weights`."""
    check_weights(module, tensors, where)
    module.load_state_dict(dict(tensors))


def check_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Check that weights are those of a network, which may be on the meta device.

    Args:
        module: The network.
        tensors: Its weights by name.
        where: The source of the weights, for the message.

    Raises:
        StorageError: A parameter is missing, has another shape or type, or is not finite; the message names it.
    """
    own = module.state_dict()
    for name in [*own, *(name for name in tensors if name not in own)]:
        if name not in tensors or name not in own:
            side = "checkpoint" if name not in tensors else "model"
            raise StorageError(f"the {side} has no parameter {name} [{where}]; the checkpoint is of another model")
        if own[name].shape != tensors[name].shape:
            shapes = f"{tuple(tensors[name].shape)} in the checkpoint, {tuple(own[name].shape)} in the model"
            raise StorageError(f"parameter {name} is {shapes} [{where}]; the checkpoint is of another model")
        if own[name].is_floating_point() != tensors[name].is_floating_point() or tensors[name].is_complex():
            raise StorageError(
                f"parameter {name} is {tensors[name].dtype} [{where}]; the checkpoint is of another model"
            )
        if not _is_finite(tensors[name]) and (own[name].is_meta or _is_finite(own[name])):
            raise StorageError(f"parameter {name} has values that are not finite [{where}]; use another checkpoint")


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state as tensors "index.name"; its hyperparameters are in the config."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], where: str = "") -> None:
    """Restore an optimizer's state from `pack_optimizer`.

    Every tensor gets the memory layout of its parameter: fused optimizers traverse both in memory order, so a
    contiguous state of a channels-last parameter would pair the wrong elements.

    Args:
        optimizer: The optimizer.
        tensors: Its state.
        where: The source of the state, for the message.

    Raises:
        StorageError: The state does not belong to this optimizer, or is not finite.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = _state_names(optimizer)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        number = int(index) if re.fullmatch("[0-9]{1,9}", index) else len(parameters)
        shape = torch.Size() if name == "step" else parameters[number].shape if number < len(parameters) else None
        if name not in names or value.shape != shape or not value.is_floating_point() or not _is_finite(value):
            raise StorageError(f"the state {key} does not fit the optimizer [{where}]; use another checkpoint")
        if value.dim():
            value = torch.empty_like(parameters[number], dtype=value.dtype).copy_(value)
        state.setdefault(number, {})[name] = value
    if any(part.keys() != names for part in state.values()):
        raise StorageError(f"a part of the optimizer's state is missing [{where}]; use another checkpoint")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _state_names(optimizer: torch.optim.Optimizer) -> set[str]:
    """Return what an optimizer stores for each parameter that it has updated."""
    momentum = {"momentum_buffer"} if optimizer.defaults.get("momentum") else set()
    if isinstance(optimizer, torch.optim.SGD):
        return momentum
    averages = {"square_avg"} if isinstance(optimizer, torch.optim.RMSprop) else {"exp_avg", "exp_avg_sq"}
    return {"step", *averages, *momentum}


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
