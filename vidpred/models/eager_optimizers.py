"""torch's optimizers without the import of its compiler."""

from __future__ import annotations

import inspect
import sys
from typing import TypeVar

import torch
from torch.nn.parallel import DistributedDataParallel

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)

METHODS_NOT_COMPILED = (
    torch.optim.Optimizer.add_param_group, torch.optim.Optimizer.zero_grad, torch.optim.Optimizer.state_dict,
    torch.optim.Optimizer.load_state_dict, DistributedDataParallel._inside_ddp_forward,
)  # fmt: skip


def eager(kind: type[Kind]) -> type[Kind]:
    """Return a class of optimizers that does not import torch's compiler, which takes as long as importing torch.

    torch excludes some methods from compiled code by a wrapper that imports the compiler at its first call, unless the
    wrapped function has an attribute `__dynamo_disable`; around `step` the wrapper only sets the gradient mode. A
    version of torch with other wrappers imports the compiler, with the same results.
    """
    if "torch._dynamo" in sys.modules:
        return kind
    for method in METHODS_NOT_COMPILED:
        function = inspect.unwrap(method)
        if function is not method:
            setattr(function, "__dynamo_disable", function)
    return type(kind.__name__, (kind,), {"step": torch.no_grad()(inspect.unwrap(kind.step))})
