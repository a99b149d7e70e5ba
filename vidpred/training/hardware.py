"""The precision that the machine computes natively."""

from __future__ import annotations

import torch

from vidpred.errors import ConfigError
from vidpred.models.inference import has_fast_bfloat16


def choose_precision(precision: str, device: torch.device) -> str:
    """Resolve `auto`: bfloat16 if convolutions in it are fast (CUDA; CPUs with AMX or AVX512-BF16), else float32.

    Raises:
        ConfigError: The precision is float16, and the device is no GPU.
    """
    if precision == "float16" and device.type != "cuda":
        raise ConfigError(
            f"[training.precision=float16] needs a GPU, and this run uses the {device.type.upper()}; "
            "set training.precision=auto"
        )
    if precision != "auto":
        return precision
    return "bfloat16" if has_fast_bfloat16(device) else "float32"
