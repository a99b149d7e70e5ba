"""The first import of torch: without garbage collection, and with OpenMP's threads asleep while they wait."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from vidpred.processes.memory import without_collection

# OpenMP's threads sleep while they wait. A step of forking_ball_adversarial.yaml on two threads and two cores took 0.19
# s alone; next to one busy process 0.42 s like this, and 5.5 s with busy waiting, for a thread that is not scheduled.
WAITING_THREADS = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
FEW_LINES = {"TQDM_MININTERVAL": "30", "TQDM_MAXINTERVAL": "30"}  # seconds between lines of progress bars in logs


def import_first(module: str) -> None:
    """Import a module without garbage collection, and exempt what exists then from all later ones.

    Collections take a quarter of the processor time of importing torch, and as much again when the process ends. It
    affects the whole process, so programs call it, not libraries; where the module is loaded, it does nothing.
    """
    if module not in sys.modules:
        with without_collection():
            importlib.import_module(module)
            gc.freeze()


def import_home(module: str) -> ModuleType:
    """Import a module of the library without garbage collection; if it loads OpenMP, its threads sleep while they wait.

    Afterwards collection and environment are as before.
    """
    with without_collection(), _sleeping_threads():
        return importlib.import_module(module)


@contextmanager
def _sleeping_threads() -> Iterator[None]:
    """Set what OpenMP reads when it is loaded, unless it is set."""
    added = {name: value for name, value in WAITING_THREADS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
