"""Processes of one run that wait for each other and fail together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator

from vidpred.errors import MainProcessError, VidpredError


@contextmanager
def main_process_first(accelerator: Accelerator) -> Iterator[None]:
    """Run the block on the main process first, then on the others, even if it fails there."""
    if not accelerator.is_main_process:
        accelerator.wait_for_everyone()
    try:
        yield
    finally:
        if accelerator.is_main_process:
            accelerator.wait_for_everyone()


@contextmanager
def all_or_none(accelerator: Accelerator) -> Iterator[None]:
    """Let the block fail on all processes if it fails on one, so that none waits for the others.

    Raises:
        MainProcessError: The block failed on another process.
    """
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
