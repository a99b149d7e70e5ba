"""Freed memory stays in the process of `vidpred plan`."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import statistics
import torch
from vidpred.processes.memory import keep_freed_memory
if not keep_freed_memory():
    raise SystemExit(print(-1))
def step():
    return [torch.ones(size * 2**18).add_(1) for size in (3, 19, 5, 11)]
for _ in range(5):
    step()
faults = []
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(round(statistics.median(faults)))  # the heap may still grow once
"""


@pytest.mark.slow
def test_tensors_of_every_step_cost_no_page_faults() -> None:
    """Without `keep_freed_memory` every page may cost one at every step, or none: that depends on the heap's order."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    faults = int(done.stdout)
    if faults < 0:
        pytest.skip("the C library is not glibc")
    pages = (3 + 19 + 5 + 11) * 2**20 // resource.getpagesize()
    assert faults < 0.01 * pages
