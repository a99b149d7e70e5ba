"""Shared by all tests: bounded threads, a folder of small real-looking videos."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
