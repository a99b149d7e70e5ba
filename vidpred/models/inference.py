"""Precisions for inference and training: where bfloat16 is native."""

from __future__ import annotations

from pathlib import Path

import torch


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
