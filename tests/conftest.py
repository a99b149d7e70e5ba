"""Configuration of all tests."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator

import pytest

from vidpred.processes.memory import without_collection

LONGEST = ("test_readme.py", "test_trainer.py", "test_run_demo.py")  # tests of about a minute


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import without garbage collection, and exempt what exists then from all later ones."""
    with without_collection():
        found = yield
    gc.freeze()
    return found


@pytest.fixture(autouse=True, scope="session")
def _no_flushing() -> Iterator[None]:
    """Flush no file to the disk in the process of the tests, which takes milliseconds a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Use one thread, and start the longest tests first, so that no process idles at the end.

    The process that distributes tests collects none, and does without torch, whose import takes seconds.
    """
    import torch

    torch.set_num_threads(1)
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
