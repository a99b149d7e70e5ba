"""Forward passes for inference that are faster than the models' own, by model and precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vidpred.models.film_unet import FastFilmUnet, FilmUnet

Forward = Callable[..., list[Tensor]]
# In bfloat16 on a CPU: from a generator to its forward pass with the weights that it has then.
FAST_ON_CPU: Mapping[type[nn.Module], Callable[[Any], Forward]] = {FilmUnet: FastFilmUnet}


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes bfloat16 natively, so that it is faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and cpu_has_bfloat16()


def cpu_has_bfloat16() -> bool:
    """Return whether Linux reports bfloat16 arithmetic for the processor; False on other systems."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 2)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def fast_forward(generator: nn.Module, dtype: torch.dtype) -> Forward | None:
    """Return a faster forward pass for inference, or None if there is none for the model, precision and device."""
    device = next(generator.parameters()).device
    fast = FAST_ON_CPU.get(type(generator))
    if fast is None or dtype != torch.bfloat16 or device.type != "cpu" or not has_fast_bfloat16(device):
        return None
    return fast(generator)
