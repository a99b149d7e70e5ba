"""Configuration of all tests."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


LONGEST = ("test_readme.py", "test_trainer.py", "test_run_demo.py")  # tests of about a minute


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, so that no process idles at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
