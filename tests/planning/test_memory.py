"""Freed memory stays in the process of `vidpred plan`."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from vidpred.processes.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    raise SystemExit(print(-1))
def step():
    return [torch.ones(size * 2**18).add_(1) for size in (3, 19, 5, 11)]
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
def test_tensors_of_every_step_cost_no_page_faults() -> None:
    found = {}
    for word in ("keep", "default"):
        done = subprocess.run([sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, check=True)
        found[word] = int(done.stdout)
    if found["keep"] < 0:
        pytest.skip("the C library is not glibc")
    assert 4 * found["keep"] < found["default"], found
