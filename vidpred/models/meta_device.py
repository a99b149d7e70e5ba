"""Networks without memory, of which only the shapes matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class _NoDraws(TorchFunctionMode):
    """A mode in which weights keep no values drawn from a normal distribution."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func in (nn.init.normal_, torch.Tensor.normal_):
            return named["tensor"] if "tensor" in named else args[0]
        return func(*args, **named)


@contextmanager
def meta_device() -> Iterator[None]:
    """Build networks on the meta device, where torch imports its compiler, for seconds, to draw normal values."""
    with torch.device("meta"), _NoDraws():
        yield
