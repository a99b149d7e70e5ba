"""Configuration of all tests."""

from __future__ import annotations

import pytest

LONGEST = ("test_readme.py", "test_trainer.py", "test_run_demo.py")  # tests of about a minute


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Use one thread, and start the longest tests first, so that no process idles at the end.

    The process that distributes tests collects none, and does without torch, whose import takes seconds.
    """
    import torch

    torch.set_num_threads(1)
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
