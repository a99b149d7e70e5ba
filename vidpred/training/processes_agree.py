"""Processes of one run that wait for each other, and fail together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from accelerate import Accelerator

from vidpred.errors import MainProcessError, VidpredError

PEER_TIMEOUT = timedelta(minutes=30)


@contextmanager
def main_process_first(accelerator: Accelerator) -> Iterator[None]:
    """Within, the main process goes first and the others wait for it; its failure does not leave them waiting."""
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
    try:
        yield
    finally:
        if accelerator.is_main_process:
            accelerator.wait_for_everyone()


@contextmanager
def all_or_none(accelerator: Accelerator) -> Iterator[None]:
    """Where the block fails on one process, it fails on all of them: none is left waiting for the others."""
    failure: VidpredError | None = None
    try:
        yield
    except VidpredError as error:
        failure = error
    code = torch.tensor(failure.exit_code if failure else 0, device=accelerator.device)
    if accelerator.num_processes > 1:
        code = accelerator.gather(code[None]).max()
    if failure is not None:
        raise failure
    if int(code):
        raise MainProcessError(int(code))
