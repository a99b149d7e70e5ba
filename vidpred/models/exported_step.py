"""The contract of what is exported: a module with named tensors in and out."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

Size = int | str  # a number, or the name of a dimension of any size


class Port(NamedTuple):
    """An input or output: name, shape, element type, lowest and highest value (None: any), and meaning."""

    name: str
    shape: tuple[Size, ...]
    dtype: str
    range: list[Any] | None
    meaning: str


@dataclass(frozen=True)
class Sizes:
    """Sizes of an example's tensors."""

    batch: int
    height: int
    width: int


class ExportedStep(nn.Module):
    """Base class of what is exported; `as_onnx` is whether ONNX is possible.

    `forward(*inputs)` takes tensors in the order of `inputs` and returns a tuple in the order of `outputs`.
    """

    inputs: list[Port]
    outputs: list[Port]
    as_onnx = True

    @abstractmethod
    def example(self, sizes: Sizes, seed: int = 0) -> tuple[Tensor, ...]:
        """Return random inputs of these sizes, in the order of `inputs`, a function of the seed."""
