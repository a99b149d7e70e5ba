"""The precision that the machine computes natively."""

from __future__ import annotations

from pathlib import Path

import torch

from vidpred.errors import ConfigError


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
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if cpu_has_bfloat16() else "float32"


def cpu_has_bfloat16() -> bool:
    """Return whether Linux reports bfloat16 arithmetic for the processor; False on other systems."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 2)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
